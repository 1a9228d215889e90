"""mooring convert: what becomes of Ingresses written for ingress-nginx, and the Gateway API objects for them."""

import json
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from mooring.cli import convert_text
from mooring.cli.main import CommandError
from mooring.cli.manifests import read_apart
from mooring.edges.pki import Pki
from mooring.model.ingress import CLASS_ANNOTATION, ingress
from mooring.routing.ingress.conversion.remark import Mark
from mooring.routing.ingress.conversion.report import GATEWAY, Report, report
from mooring.routing.ingress.documents import objects
from mooring.routing.table import Certificate

Document = dict[str, Any]
FORMS = ("report", "yaml", "json")
NAMESPACED = ("Ingress", "Service", "Secret", "ConfigMap")


def command(
    what: Annotated[str, typer.Argument(help="ingress")],
    sources: Annotated[list[str], typer.Option("--filename", "-f", help="A file, a directory, or - for standard input.")],
    recursive: Annotated[bool, typer.Option("--recursive", "-R", help="Directories below directories too.")] = False,
    namespace: Annotated[str, typer.Option("--namespace", "-n", help="Of objects that name none.")] = "default",
    class_name: Annotated[str, typer.Option("--class", help="Only Ingresses of this class [default: all].")] = "",
    gateway_class: Annotated[str, typer.Option("--gateway-class", help="The printed Gateway's class.")] = "mooring-envoy",
    form: Annotated[str, typer.Option("--output", "-o", help="report, yaml or json")] = "report",
) -> int:
    """Say what of Ingresses for ingress-nginx carries over, what changes, what cannot; or print Gateway API objects for them.

    Needs no cluster. Exit code 1 when something cannot: of the report, when neither class takes everything; of the objects,
    when they cannot say everything.
    """
    if what not in ("ingress", "ingresses", "ing"):
        raise CommandError(f"convert {what}: only Ingresses are converted", 2)
    if form not in FORMS:
        raise CommandError(f"unknown output {form!r}: {', '.join(FORMS)}", 2)
    documents, broken = read_apart(sources, recursive)
    broken += _unread(documents)
    for each in broken:
        print(f"mooring: {each}", file=sys.stderr)
    found = _report([*_chosen(documents, namespace, class_name)], gateway_class)
    if not found.ingresses:
        of_class = f" of class {class_name}" if class_name else ""
        raise CommandError(f"no Ingress{of_class} in " + ", ".join(sources))
    cannot = _show(found, form)
    return 1 if broken or cannot else 0


def _report(documents: list[Document], gateway_class: str) -> Report:
    from mooring.routing.ingress.build import build
    from mooring.routing.nginx.lacks import lacks as nginx_lacks
    from mooring.routing.xds.lacks import lacks as envoy_lacks

    return report(
        objects(documents),
        datetime.now(UTC),
        build=build,
        lacks={"mooring-envoy": envoy_lacks, "mooring-nginx": nginx_lacks},
        certificate=_placeholder(),
        gateway_class=gateway_class,
    )


def _show(found: Report, form: str) -> bool:
    """Whether something cannot."""
    if form == "report":
        print("\n".join(convert_text.lines(found)))
        return not convert_text.takers(found)
    if form == "json":
        print(json.dumps({"apiVersion": "v1", "kind": "List", "items": found.documents}, indent=4, ensure_ascii=False))
    else:
        import yaml

        # Parts that several objects share are written out in each.
        plain = json.loads(json.dumps(found.documents))
        print(yaml.safe_dump_all(plain, sort_keys=False, allow_unicode=True, width=128), end="")
    for line in convert_text.lost(found):
        print(f"mooring: {line}", file=sys.stderr)
    return found.mark(GATEWAY) == Mark.CANNOT


def _chosen(documents: list[Document], namespace: str, class_name: str) -> Iterator[Document]:
    """What bears on the Ingresses asked for, each with a namespace."""
    for each in documents:
        kind, metadata = each.get("kind"), each.get("metadata")
        if kind in NAMESPACED and isinstance(metadata, dict):
            if kind == "Ingress" and class_name not in ("", _class(each)):
                continue
            yield {**each, "metadata": {**metadata, "namespace": metadata.get("namespace") or namespace}}


def _class(document: Document) -> str:
    spec, annotations = document.get("spec") or {}, document["metadata"].get("annotations") or {}
    return str(spec.get("ingressClassName") or annotations.get(CLASS_ANNOTATION, ""))


def _unread(documents: list[Document]) -> list[CommandError]:
    """Ingresses that are none, or of a version that is gone since Kubernetes 1.22."""
    errors = []
    for each in documents:
        if not isinstance(each, dict) or each.get("kind") != "Ingress":
            continue
        metadata = each.get("metadata")
        name = metadata.get("name") if isinstance(metadata, dict) else None
        version = each.get("apiVersion")
        if version != "networking.k8s.io/v1":
            errors.append(
                CommandError(f"ingress {name}: {version} is not served since Kubernetes 1.22; write networking.k8s.io/v1")
            )
            continue
        try:
            ingress(each)
        except msgspec.ValidationError as error:
            errors.append(CommandError(f"ingress {name}: {error}"))
    return errors


def _placeholder() -> Certificate:
    """Stands for certificates that are in no file: one that holds together, so that nothing is said of it."""
    with tempfile.TemporaryDirectory(prefix="mooring-convert-") as folder:
        identity = Pki(Path(folder)).server(["placeholder.invalid"])
        return Certificate(identity.certificate, identity.key, "none of the files")
