"""mooring trace: what becomes of a packet, and why."""

import asyncio
from typing import Annotated, Any

import msgspec
import typer
from msgspec import Struct

from mooring.cli import output
from mooring.cli.main import CommandError
from mooring.cli.target import DataDir, Kubeconfig, Namespace, access, local
from mooring.dataplane.trace import Outcome, Packet, Trace, trace
from mooring.edges.http.client import ApiClient
from mooring.endpoints.addresses import canonical
from mooring.model.discovery import endpoint_slice
from mooring.model.kinds import ENDPOINT_SLICE, NODE, POD, SERVICE, SERVICE_CIDR
from mooring.model.node import Node, node
from mooring.model.service import Service, service
from mooring.services.build import build_view
from mooring.services.view import Protocol

Document = dict[str, Any]


class Place(Struct, frozen=True):
    """Where a packet starts: an address, and the node whose tables it meets first."""

    address: str
    node: str


def command(
    what: Annotated[str, typer.Argument(help="packet")],
    destination: Annotated[str, typer.Argument(help="ADDRESS:PORT or SERVICE[.NAMESPACE]:PORT, with /udp or /sctp unless TCP")],
    source: Annotated[str, typer.Option("--from", help="POD, node/NAME, or outside[/NODE]: the node that it reaches")],
    namespace: Namespace = "",
    form: Annotated[str, typer.Option("--output", "-o", help="json or yaml")] = "",
    data_dir: DataDir = None,
    config: Kubeconfig = None,
) -> int:
    """Say what becomes of a packet, each decision with its reason. Exit code 1 when it is refused or dropped."""
    if what != "packet":
        raise CommandError(f"trace {what}: only `trace packet` is known", 2)
    found = asyncio.run(_trace(source, destination, namespace or access(data_dir, config).namespace, data_dir, config))
    if form:
        output.document(msgspec.to_builtins(found), form)
    else:
        print("\n".join(_lines(found)))
    return 0 if found.outcome in (Outcome.FORWARD, Outcome.PASS) else 1


async def _trace(source: str, destination: str, namespace: str, data_dir: Any, config: Any) -> Trace:
    async with ApiClient(access(data_dir, config)) as api:
        nodes = [node(each) for each in (await api.list(NODE)).items]
        services = [service(each) for each in (await api.list(SERVICE)).items]
        slices = [endpoint_slice(each) for each in (await api.list(ENDPOINT_SLICE)).items]
        ranges = [cidr for each in (await api.list(SERVICE_CIDR)).items for cidr in each["spec"]["cidrs"]]
        pods = (await api.list(POD)).items
    host, port, protocol = parse_destination(destination)
    address = _resolve(host, namespace, services)
    place = _place(source, namespace, nodes, pods, ":" in address, lambda: _outside(data_dir, config))
    chosen = next(each for each in nodes if each.metadata.name == place.node)
    dns = tuple(ip for each in services if each.metadata.name == "kube-dns" for ip in each.spec.cluster_ips or ())
    return trace(build_view(chosen, services, slices, ranges), Packet(place.address, address, protocol, port), dns)


def parse_destination(text: str) -> tuple[str, int, Protocol]:
    """'web:80', '10.96.0.10:53/udp', '[fd00:96::1]:80' to host, port and protocol. Raises CommandError."""
    where, _, protocol = text.partition("/")
    host, _, port = where.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise CommandError(f"{text!r} is no destination: say HOST:PORT, with /udp or /sctp unless it is TCP", 2)
    try:
        return host.strip("[]"), int(port), Protocol((protocol or "tcp").upper())
    except ValueError:
        raise CommandError(f"{protocol!r} is no protocol: tcp, udp or sctp", 2) from None


def _resolve(host: str, namespace: str, services: list[Service]) -> str:
    """An address as it is, a Service's name as its cluster IP."""
    try:
        return canonical(host)
    except ValueError:
        name, _, rest = host.removeprefix("svc/").removeprefix("service/").partition(".")
        wanted = (rest.split(".")[0] or namespace, name)
    for each in services:
        if (each.metadata.namespace, each.metadata.name) == wanted:
            if each.spec.cluster_ip in ("", "None"):
                raise CommandError(f"service/{name} in {wanted[0]} has no cluster IP: its names lead straight to the pods")
            return each.spec.cluster_ip
    raise CommandError(f"{host!r} is neither an address nor a Service in namespace {wanted[0]!r}")


def _place(source: str, namespace: str, nodes: list[Node], pods: list[Document], ipv6: bool, outside: Any) -> Place:
    kind, _, name = source.partition("/") if "/" in source else ("pod", "", source)
    known = {each.metadata.name: each for each in nodes}
    if source == "outside" or kind == "outside":
        entry = name if kind == "outside" and name else next(iter(sorted(known)), "")
        if entry not in known:
            raise CommandError(f"no node {entry!r}; there are {', '.join(sorted(known))}")
        return Place(outside(), entry)
    if kind in ("node", "nodes"):
        if name not in known:
            raise CommandError(f"no node {name!r}; there are {', '.join(sorted(known))}")
        return Place(_of_family(known[name].internal_ips, ipv6, source), name)
    for pod in pods:
        if (pod["metadata"]["namespace"], pod["metadata"]["name"]) == (namespace, name or source):
            addresses = tuple(each["ip"] for each in pod.get("status", {}).get("podIPs") or ())
            if not addresses:
                raise CommandError(f"pod/{pod['metadata']['name']} has no address yet")
            return Place(_of_family(addresses, ipv6, source), pod["spec"]["nodeName"])
    raise CommandError(f"no pod {name or source!r} in namespace {namespace!r}")


def _of_family(addresses: tuple[str, ...], ipv6: bool, source: str) -> str:
    for address in addresses:
        if (":" in address) == ipv6:
            return canonical(address)
    raise CommandError(f"{source} has no {'IPv6' if ipv6 else 'IPv4'} address, which the destination needs")


def _outside(data_dir: Any, config: Any) -> str:
    """The external client of the local cluster."""
    from mooring.app.cluster import network

    settings, _ = local(data_dir, config)
    return str(network(settings).outside[0].ip)


def _lines(found: Trace) -> list[str]:
    packet = found.packet
    lines = [f"{packet.source} -> {packet.destination}:{packet.port}/{packet.protocol.value}", ""]
    lines += [f"  {number}. {step.decision}\n     because {step.because}" for number, step in enumerate(found.steps, 1)]
    lines += ["", found.outcome.value.upper()]
    for choice in found.choices:
        where = f"{choice.endpoint.address}:{choice.endpoint.port}"
        node_name = f" on {choice.endpoint.node}" if choice.endpoint.node else ""
        seen = "sees the node's address" if choice.masqueraded else "sees the client's address"
        lines.append(f"  {choice.probability:6.1%}  {where}{node_name}, {seen}")
    return lines
