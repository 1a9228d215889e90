"""An Ingress with annotations, and what is read of it: for the tests of this folder."""

from collections.abc import Mapping

from mooring.model.ingress import Ingress, IngressRule, IngressSpec
from mooring.model.meta import Meta
from mooring.model.service import Service
from mooring.routing.finding import Finding
from mooring.routing.ingress.annotations import read
from mooring.routing.ingress.annotations.notes import PREFIX
from mooring.routing.ingress.objects import Objects, Secret
from mooring.routing.ingress.wishes import Wishes

SHA = "{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g="  # of 'password'
OBJECTS = Objects(
    services={("shop", "pages"): Service(Meta("pages", "shop"))},
    secrets={
        ("shop", "users"): Secret(
            "Opaque", {"auth": f"# people\nann:{SHA}\n\nbob:$apr1$abcdefgh$1234567890123456789012:note\n".encode()}
        ),
        ("shop", "map"): Secret("Opaque", {"ann": SHA.encode(), "eve": b"{PLAIN}password"}),
        ("shop", "some-bad"): Secret(
            "Opaque", {"auth": f"ann:{SHA}\nbob:{{SSHA}}x\neve:{{PLAIN}}\nno colon\n\xff:x\n".encode("latin-1")}
        ),
        ("shop", "all-bad"): Secret("Opaque", {"auth": b"ann:plain text\n"}),
        ("shop", "empty"): Secret("Opaque", {}),
        ("other", "users"): Secret("Opaque", {"auth": f"ann:{SHA}\n".encode()}),
    },
    config_maps={
        ("shop", "answers"): {"Strict-Transport-Security": "max-age=1; preload", "X-Host": "$host"},
        ("shop", "bad-values"): {"Connection": "close", "X-A": "a\nb", "X-B": "$nobody", "X-C": "c"},
        ("shop", "bad-names"): {"X A": "a"},
    },
)


def ingress(annotations: Mapping[str, str], hosts: tuple[str, ...] = ("shop.example.org",)) -> Ingress:
    whole = {PREFIX + name: value for name, value in annotations.items()}
    rules = tuple(IngressRule(host) for host in hosts)
    return Ingress(Meta("web", "shop", annotations=whole), IngressSpec(rules=rules))


def reading(
    annotations: Mapping[str, str], objects: Objects = OBJECTS, hosts: tuple[str, ...] = ("shop.example.org",)
) -> tuple[Wishes, tuple[Finding, ...]]:
    return read(ingress(annotations, hosts), objects)


def told(findings: tuple[Finding, ...]) -> set[tuple[str, str]]:
    """(annotation, what kind of Finding without `Annotation`)"""
    return {
        (found.field.removeprefix(f"metadata.annotations[{PREFIX}").removesuffix("]"), found.reason.removeprefix("Annotation"))
        for found in findings
    }
