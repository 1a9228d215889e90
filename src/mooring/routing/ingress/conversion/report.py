"""What carries over, what changes, what cannot, for each part of each Ingress: under our two classes and as Gateway API?"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime

import msgspec
from msgspec import Struct

from mooring.model.ingress import CLASS_ANNOTATION, CONTROLLERS, Ingress, IngressBackend, IngressClass, IngressClassSpec
from mooring.model.meta import Meta
from mooring.routing.finding import Finding, Level, ObjectName
from mooring.routing.ingress.annotations.notes import PREFIX
from mooring.routing.ingress.classes import class_of
from mooring.routing.ingress.conversion import lacking
from mooring.routing.ingress.conversion.assumed import complete
from mooring.routing.ingress.conversion.front import GatewayName
from mooring.routing.ingress.conversion.gateway import convert
from mooring.routing.ingress.conversion.remark import Document, Mark, Remark, worst
from mooring.routing.ingress.conversion.remedies import remedy
from mooring.routing.ingress.conversion.sources import field_of, owner_of
from mooring.routing.ingress.objects import Name, Objects, Translation
from mooring.routing.table import Certificate, RouteTable

ENVOY, NGINX, GATEWAY = "mooring-envoy", "mooring-nginx", "Gateway API"
TARGETS = (ENVOY, NGINX, GATEWAY)

Lacks = Callable[[RouteTable], Iterable[tuple[str, str]]]
Build = Callable[[Objects, str, datetime], Translation]


class Part(Struct, frozen=True):
    """A rule, an annotation, a `tls` entry. `remarks`: by target, none where it carries over as it is."""

    what: str
    remarks: Mapping[str, tuple[Remark, ...]] = {}

    def mark(self, target: str) -> Mark:
        return worst([each.mark for each in self.remarks.get(target, ())])


class IngressReport(Struct, frozen=True):
    name: Name
    parts: tuple[Part, ...]

    def mark(self, target: str) -> Mark:
        return worst([each.mark(target) for each in self.parts])


class Report(Struct, frozen=True):
    """`everywhere`: what is to be said of all Ingresses, by target. `missing`: taken for granted, as in no file."""

    ingresses: tuple[IngressReport, ...]
    everywhere: Mapping[str, tuple[Remark, ...]] = {}
    missing: tuple[ObjectName, ...] = ()
    documents: tuple[Document, ...] = ()

    def mark(self, target: str) -> Mark:
        return worst([each.mark(target) for each in self.ingresses])


def report(
    objects: Objects,
    now: datetime,
    *,
    build: Build,
    lacks: Mapping[str, Lacks],
    certificate: Certificate,
    gateway_class: str = ENVOY,
) -> Report:
    """Of all Ingresses in `objects`, whatever their class: each class of theirs is moved for itself, as it was served."""
    reports: list[IngressReport] = []
    documents: list[Document] = []
    missing: list[ObjectName] = []
    everywhere: dict[str, dict[Remark, None]] = {}
    for class_name, ingresses in sorted(_by_class(objects.ingresses).items()):
        found = complete(msgspec.structs.replace(objects, ingresses=ingresses), certificate)
        missing += found.missing
        said: dict[str, list[Remark]] = {}
        for target in (ENVOY, NGINX):
            moved = _moved(found.objects, target)
            translation = build(moved, target, now)
            said[target] = [*_findings(translation.findings, found.missing)]
            if target == ENVOY:
                converted = convert(translation, moved, _gateway(class_name, ingresses, gateway_class))
                refused = [each for each in said[target] if each.mark == Mark.CANNOT and "metadata." in each.source]
                said[GATEWAY] = [*refused, *converted.remarks]
                documents += converted.documents
            said[target] += lacking.remarks(lacks[target](translation.table))
        for target, remarks in said.items():
            everywhere.setdefault(target, {}).update((each, None) for each in remarks if not owner_of(each.source)[1])
        reports += (_ingress(key, each, said) for key, each in sorted(ingresses.items()))
    told = {target: tuple(remarks) for target, remarks in everywhere.items() if remarks}
    return Report(tuple(reports), told, tuple(sorted(set(missing))), tuple(documents))


def _by_class(ingresses: Mapping[Name, Ingress]) -> dict[str, dict[Name, Ingress]]:
    found: dict[str, dict[Name, Ingress]] = {}
    for key, each in ingresses.items():
        found.setdefault(class_of(each), {})[key] = each
    return found


def _moved(objects: Objects, target: str) -> Objects:
    """The same with another class name, as a person would change it."""
    ingresses = {key: _of_class(each, target) for key, each in objects.ingresses.items()}
    known = IngressClass(Meta(name=target), IngressClassSpec(CONTROLLERS[target]))
    return msgspec.structs.replace(objects, ingresses=ingresses, classes={target: known})


def _of_class(ingress: Ingress, target: str) -> Ingress:
    annotations = {name: value for name, value in (ingress.metadata.annotations or {}).items() if name != CLASS_ANNOTATION}
    metadata = msgspec.structs.replace(ingress.metadata, annotations=annotations)
    spec = msgspec.structs.replace(ingress.spec, ingress_class_name=target)
    return msgspec.structs.replace(ingress, metadata=metadata, spec=spec)


def _gateway(class_name: str, ingresses: Iterable[Name], gateway_class: str) -> GatewayName:
    """In the namespace of most of its Ingresses: so few others must be granted."""
    namespaces = [namespace for namespace, _ in ingresses]
    place = min(set(namespaces), key=lambda each: (-namespaces.count(each), each))
    return GatewayName(place, class_name or "ingress", gateway_class)


# Remarks --------------------------------------------------------------------------------------------------------------------


def _findings(findings: Iterable[Finding], missing: Iterable[ObjectName]) -> Iterator[Remark]:
    assumed = {(each.namespace, each.name) for each in missing if each.kind == "Secret"}
    for each in findings:
        if each.about.kind == "Ingress" and not (_about_tls(each) and _names_one(each, assumed)):
            source = f"ingress {each.about.namespace}/{each.about.name} {each.field}"
            mild = each.level == Level.NORMAL or each.reason == "AnnotationInvalid"
            words = f"{each.message}; {each.effect}" if each.effect else each.message
            yield Remark(source, Mark.CHANGES if mild else Mark.CANNOT, words, "" if mild else remedy(each.field))


def _about_tls(finding: Finding) -> bool:
    """What is wrong with a certificate that stands for another says nothing."""
    return finding.field.startswith("spec.tls")


def _names_one(finding: Finding, assumed: set[Name]) -> bool:
    return any(finding.about.namespace == namespace and name in finding.message for namespace, name in assumed)


# Parts ----------------------------------------------------------------------------------------------------------------------


def _ingress(key: Name, ingress: Ingress, said: Mapping[str, Iterable[Remark]]) -> IngressReport:
    """Every remark of this Ingress goes to all parts that asked for it; one that names no part, to the Ingress as a whole."""
    fields = dict(_parts(ingress))
    found: dict[str, dict[str, dict[Remark, None]]] = {field: {} for field in fields}
    for target, remarks in said.items():
        for each in remarks:
            if owner_of(each.source) == key:
                for place in _places(each, fields):
                    found.setdefault(place, {}).setdefault(target, {})[msgspec.structs.replace(each, source="")] = None
    parts = [
        Part(fields.get(field, "the Ingress"), {target: tuple(remarks) for target, remarks in by_target.items()})
        for field, by_target in found.items()
    ]
    return IngressReport(key, tuple(parts))


def _places(remark: Remark, fields: Mapping[str, str]) -> list[str]:
    """The annotations that asked for it, where any did; else the field named, or the longest above it."""
    start = f"metadata.annotations[{PREFIX}"
    exact = {f"{start}{name}]" for name in remark.annotations}
    begun = tuple(start + name[:-1] for name in remark.annotations if name.endswith("*"))
    asked = [each for each in fields if each in exact or (begun and each.startswith(begun))]
    field = field_of(remark.source)
    return asked or [max((each for each in fields if field.startswith(each)), key=len, default="")]


def _parts(ingress: Ingress) -> Iterator[tuple[str, str]]:
    """(field, words for people)."""
    for at, rule in enumerate(ingress.spec.rules or ()):
        host = rule.host or "*"
        if rule.http is None:
            yield f"spec.rules[{at}]", host
        for number, path in enumerate(rule.http.paths if rule.http else ()):
            field = f"spec.rules[{at}].http.paths[{number}]"
            yield field, f"{host}{path.path or '/'} ({path.path_type}) -> {_backend(path.backend)}"
    if ingress.spec.default_backend:
        yield "spec.defaultBackend", f"default backend -> {_backend(ingress.spec.default_backend)}"
    for at, tls in enumerate(ingress.spec.tls or ()):
        yield f"spec.tls[{at}]", f"TLS for {', '.join(tls.hosts or ()) or 'its hosts'} by {tls.secret_name or 'no Secret'}"
    for name, value in sorted((ingress.metadata.annotations or {}).items()):
        if name.startswith(PREFIX):
            yield f"metadata.annotations[{name}]", f"{name.removeprefix(PREFIX)}: {_short(value)}"


def _backend(backend: IngressBackend) -> str:
    if backend.service:
        return f"{backend.service.name}:{backend.service.port.name or backend.service.port.number}"
    return f"{backend.resource.kind.lower()} {backend.resource.name}" if backend.resource else "nothing"


def _short(value: str) -> str:
    line = " ".join(value.split())
    return line if len(line) <= 48 else f"{line[:45]}..."
