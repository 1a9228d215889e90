"""mooring explain: what a Service or an Ingress is, what comes through it to whom, and what is wrong with it."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import typer

from mooring.app.connection import Connection, Refused
from mooring.app.explanation import explain
from mooring.cli import output
from mooring.cli.explain_page import page
from mooring.cli.get import pages
from mooring.cli.main import CommandError
from mooring.cli.selection import Selection
from mooring.cli.target import DataDir, Kubeconfig, Namespace, connection, local
from mooring.endpoints.pods import selects
from mooring.model.discovery import endpoint_slice
from mooring.model.kinds import CORE_EVENT, DEPLOYMENT, ENDPOINT_SLICE, ENDPOINTS, NODE, POD, SERVICE, SERVICE_CIDR, Kind
from mooring.model.service import Service, service
from mooring.services.problems import Case
from mooring.services.problems.addresses import external_addresses
from mooring.services.problems.problem import DOMAIN

Document = dict[str, Any]
Value = TypeVar("Value")
WORDS = {
    "service": "service",
    "services": "service",
    "svc": "service",
    "ingress": "ingress",
    "ingresses": "ingress",
    "ing": "ingress",
}


def command(
    what: Annotated[list[str], typer.Argument(help="service/NAME, ingress/NAME, or a Service's NAME")],
    namespace: Namespace = "",
    form: Annotated[str, typer.Option("--output", "-o", help="json or yaml")] = "",
    data_dir: DataDir = None,
    config: Kubeconfig = None,
) -> None:
    """Say what a Service or an Ingress is, what comes through it to whom, and every problem with its fix.

    Exit code 0 whenever there is such an object, whatever is wrong with it.
    """
    kind, name = named(what)
    server = connection(data_dir, config)
    namespace, colour = namespace or server.access.namespace, sys.stdout.isatty()
    if kind == "ingress":
        from mooring.cli import explain_ingress

        ingress = explain_ingress.explained(server, namespace, name)
        text, document = explain_ingress.page(ingress, colour), msgspec.to_builtins(ingress)
    else:
        found = explain(gather(server, namespace, name, _domain(data_dir, config)))
        text, document = page(found, colour), msgspec.to_builtins(found)
    if form:
        output.document(document, form)
    else:
        print(text)


def named(words: Sequence[str]) -> tuple[str, str]:
    """(service or ingress, name) in 'service/web', 'svc web', 'web' or 'ingress/shop'. Raises CommandError."""
    parts = words[0].split("/", 1) if len(words) == 1 else list(words)
    kind, name = parts if len(parts) == 2 else ("service", parts[0])
    if len(parts) > 2 or not name:
        raise CommandError("say which: `mooring explain service/NAME` or `mooring explain ingress/NAME`", 2)
    if kind.lower() not in WORDS:
        raise CommandError(
            f"explain {kind}: only Services and Ingresses are explained; `mooring describe {kind}/{name}` shows the object", 2
        )
    return WORDS[kind.lower()], name


def gather(server: Connection, namespace: str, name: str, domain: str) -> Case:
    """All that bears on one Service. Raises Refused when it is not there, or what matters most may not be read."""
    document = server.get(SERVICE.path(namespace, name))
    view = service(document)
    slices = _views(_items(server, ENDPOINT_SLICE, namespace), endpoint_slice)
    here = [] if view.spec.type == "ExternalName" else _items(server, POD, namespace)
    chosen = [each for each in here if selects(view.spec.selector, each["metadata"].get("labels"))]
    everywhere = not chosen and view.spec.type != "ExternalName"
    others = _items(server, POD) if everywhere else here
    services = _items(server, SERVICE)
    return Case(
        document=document,
        service=view,
        slices=tuple(each for each in slices if each.service == (namespace, name)),
        strays=tuple(each for each in slices if not each.service[1]),
        pods=tuple(chosen),
        others=tuple(each for each in others if each not in chosen),
        every_pod=everywhere,
        workloads=() if chosen else tuple(_items(server, DEPLOYMENT, namespace, needed=False)),
        endpoints=_endpoints(server, namespace, name),
        nodes=tuple(_items(server, NODE)),
        service_cidrs=tuple(_items(server, SERVICE_CIDR, needed=False)),
        rivals=_rivals(view, _views(services, service)),
        services=frozenset((each["metadata"]["namespace"], each["metadata"]["name"]) for each in services),
        events=tuple(_items(server, CORE_EVENT, namespace, needed=False)),
        domain=domain,
    )


def _items(server: Connection, kind: Kind, namespace: str = "", needed: bool = True) -> list[Document]:
    """All objects of a kind; none where it is not needed and the server does not have it, or does not show it."""
    found: list[Document] = []
    try:
        for answer in pages(server, Selection(kind), namespace, {}, "application/json"):
            found += answer.get("items") or ()
    except Refused as refusal:
        if needed or refusal.code not in (403, 404):
            raise
    return found


def _endpoints(server: Connection, namespace: str, name: str) -> Document | None:
    try:
        return server.get(ENDPOINTS.path(namespace, name))
    except Refused:
        return None


def _views(documents: list[Document], view: Callable[[Document], Value]) -> tuple[Value, ...]:
    """What can be read; a node leaves out the rest as well."""
    found = []
    for each in documents:
        try:
            found.append(view(each))
        except msgspec.ValidationError:
            continue
    return tuple(found)


def _rivals(subject: Service, services: Sequence[Service]) -> tuple[Service, ...]:
    """Those that may claim the same address: without external addresses on either side nobody can."""
    others = (each for each in services if each.metadata.uid != subject.metadata.uid)
    return tuple(each for each in others if external_addresses(subject) or external_addresses(each))


def _domain(data_dir: Path | None, config: Path | None) -> str:
    """A local cluster's settings tell it; of any other the usual one is assumed."""
    try:
        return local(data_dir, config)[0].cluster_domain
    except (CommandError, OSError):
        return DOMAIN
