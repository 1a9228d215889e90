"""mooring trace: what becomes of a packet or a name, and why; with --live also what kernel or server did with one."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from msgspec import structs

from mooring.app import objects, probe
from mooring.app.cluster import network
from mooring.app.connection import Connection
from mooring.app.files import Files
from mooring.app.objects import BadOptions, Objects
from mooring.app.places import PlaceError, destination, origin
from mooring.app.settings import Settings
from mooring.app.tracing import Hop, Reached, Told, foresee
from mooring.cli import output
from mooring.cli.main import CommandError
from mooring.cli.target import DataDir, Kubeconfig, Namespace, access, files, local
from mooring.dataplane.egress import Egress
from mooring.dataplane.sighting import KEPT, Line, Met, Seen, Sighting, differences, hidden_from_outside, outcome, place
from mooring.dataplane.trace import Outcome
from mooring.edges.live.probe import ProbeError
from mooring.edges.netlink.egress import TABLE
from mooring.endpoints.addresses import is_ipv6
from mooring.ports.conntrack import ConntrackError
from mooring.ports.firewall import FirewallError
from mooring.services.view import Protocol

ATTEMPTS, PAUSE = 3, 0.5
"""How often a probe that differs is repeated, and after how many seconds: a change may have been under way."""


To = Annotated[
    str,
    typer.Argument(
        metavar="destination|name|url",
        help="packet: HOST:PORT, /udp or /sctp unless TCP; HOST is a Service, a pod, a node, an address. query: a name. "
        "request: a URL",
    ),
]
Source = Annotated[
    str,
    typer.Option("--from", help="POD, node/NODE, outside[/NODE it reaches], or ADDRESS[/NODE]; request: outside if not given"),
]
Headers = Annotated[list[str] | None, typer.Option("--header", "-H", help="request: 'Name: value'; repeatable.")]


def command(
    what: Annotated[str, typer.Argument(help="packet, query or request")],
    to: To,
    source: Source = "",
    kind: Annotated[str, typer.Argument(metavar="type", help="query: of record; A unless given")] = "",
    method: Annotated[str, typer.Option("--method", "-X", help="request: GET unless given.")] = "GET",
    headers: Headers = None,
    class_name: Annotated[str, typer.Option("--class", help="request: the IngressClass; the host's unless given.")] = "",
    live: Annotated[bool, typer.Option("--live", help="Also send one, and compare what is done with it.")] = False,
    domain: Annotated[str, typer.Option("--cluster-domain", help="query: of a cluster that is not local.")] = "",
    dns_config: Annotated[Path | None, typer.Option("--dns-config", help="query: the nodes' own.")] = None,
    namespace: Namespace = "",
    form: Annotated[str, typer.Option("--output", "-o", help="json or yaml")] = "",
    data_dir: DataDir = None,
    config: Kubeconfig = None,
) -> int:
    """Say what becomes of a packet, of a name or of a request, each decision with its reason.

    Exit code 1 when a packet is refused or dropped, when a name has no answer, when a request is answered 400 or more or not at
    all, or when the kernel, the server or the proxy does something else than foreseen.
    """
    _check(what, source, kind)
    where = access(data_dir, config)
    cluster = local(data_dir, config) if live or _is_local(data_dir, config) else None
    connection, namespace = Connection(where), namespace or where.namespace
    with _failures():
        if what == "query":
            from mooring.cli import trace_query

            asked = trace_query.Question(to, kind, source, namespace)
            return trace_query.run(connection, asked, cluster, domain, dns_config, live=live, form=form)
        if what == "request":
            from mooring.cli import trace_request

            wish = trace_request.Asked(to, method, headers or (), source or "outside", namespace, class_name)
            return trace_request.run(connection, wish, cluster, live=live, form=form)
        return _packet(connection, cluster, to, source, namespace, live=live, form=form)


def _check(what: str, source: str, kind: str) -> None:
    if what not in ("packet", "query", "request") or (kind and what != "query"):
        raise CommandError("say `trace packet HOST:PORT`, `trace query NAME [TYPE]` or `trace request URL`", 2)
    if not source and what != "request":
        raise CommandError(f"say where the {what} starts: --from POD, node/NODE, outside or ADDRESS", 2)


def _packet(
    connection: Connection,
    cluster: tuple[Settings, Files] | None,
    to: str,
    source: str,
    namespace: str,
    *,
    live: bool,
    form: str,
) -> int:
    def foreseen() -> tuple[Objects, Told]:
        found = objects.read(connection)
        target = destination(to, found, namespace)
        start = origin(source, found, namespace, target, _outside(cluster))
        return found, foresee(found, start, target, own_links=cluster is not None)

    told = _probed(foreseen, *cluster, source.partition("/")[2]) if live and cluster else foreseen()[1]
    if form:
        output.document(msgspec.to_builtins(told), form)
    else:
        print("\n".join(_lines(told)))
    return 0 if told.outcome in (Outcome.FORWARD, Outcome.PASS) and not told.differences else 1


@contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    except PlaceError as error:
        raise CommandError(str(error), 2 if error.usage else 1) from error
    except (ProbeError, FirewallError, ConntrackError) as error:
        raise CommandError(f"the probe failed: {error}") from error
    except BadOptions as error:
        raise CommandError(str(error)) from error


def _is_local(data_dir: Path | None, config: Path | None) -> bool:
    return files(data_dir, config).settings.exists()


def _outside(cluster: tuple[Settings, Files] | None) -> Callable[[str], tuple[str, str]]:
    def known(address: str) -> tuple[str, str]:
        if cluster is None:
            raise PlaceError("only a local cluster has an outside; say from which address: --from ADDRESS[/NODE]")
        return probe.outside(cluster[0], address)

    return known


def _probed(foreseen: Callable[[], tuple[Objects, Told]], settings: Settings, cluster_files: Files, entry: str) -> Told:
    """With what the kernel did. A probe that differs is repeated, with what the API says by then.

    `entry` is the node that the outside must send it to; '' when whichever it chooses is right.
    """
    for attempt in range(1, ATTEMPTS + 1):
        found, told = foreseen()
        plan = probe.Plan(
            probe.place_of(settings, cluster_files, told.origin),
            told.origin.address,
            (told.destination.address, told.destination.port),
            told.destination.protocol,
            tuple(probe.stop(settings, found, node) for node in _watched(found, told)),
        )
        seen = probe.observe(plan)
        met_by = [each.node for each in seen.sightings if each.lines or each.tracked]
        if not met_by and seen.met is Met.NO_ROUTE:
            raise ProbeError(_no_way(found, told))
        if met_by and told.origin.node not in met_by and told.origin.kind == "outside":
            if entry:
                raise ProbeError(f"the outside sends what is for {told.destination.address} to {met_by[0]}, not to {entry}")
            told = foresee(found, structs.replace(told.origin, node=met_by[0]), told.destination, own_links=True)
        by_node = {each.node: each for each in seen.sightings}
        seen = structs.replace(seen, sightings=tuple(by_node[hop.node] for hop in told.hops))
        egress = network(settings).egress
        differ = differences([hop.trace for hop in told.hops], seen, egress)
        if not differ or attempt == ATTEMPTS:
            return structs.replace(told, live=seen, differences=differ, notes=tuple(_notes(told, seen, egress)))
        time.sleep(PAUSE)
    raise AssertionError("not reached")


def _watched(found: Objects, told: Told) -> list[str]:
    """The nodes on the way; from outside every node, since the outside chooses which."""
    hops = [hop.node for hop in told.hops]
    everybody = [each.metadata.name for each in found.nodes] if told.origin.kind == "outside" else []
    return list(dict.fromkeys((*hops, *everybody)))


def _no_way(found: Objects, told: Told) -> str:
    """The packet never left where it starts."""
    address, node = told.destination.address, found.node(told.origin.node)
    said = f"{told.origin.title} has no route to {address}, so no node sees the packet"
    via = next((each for each in node.internal_ips if is_ipv6(each) is is_ipv6(address)), "") if node else ""
    if told.origin.kind != "outside" or not via:
        return said
    return f"{said}\nTo lead it to {told.origin.node}: mooring exec --outside -- ip route replace {address} via {via}"


def _notes(told: Told, seen: Seen, egress: Egress = KEPT) -> Iterator[str]:
    for hop, sighting in zip(told.hops, seen.sightings, strict=True):
        if sighting.tracked and hidden_from_outside(hop.trace, sighting, egress):
            server, client = sighting.tracked.server, sighting.tracked.client[0]
            yield (
                f"{place(server)} is outside of the cluster, from where {hop.node} hides its pods: it sees {client} "
                f"(table inet {TABLE}, no Service's rule)."
            )
    last, tracked = told.hops[-1].trace, seen.sightings[-1].tracked
    decided = outcome(seen.sightings[-1], seen.met)
    if decided in (Outcome.FORWARD, Outcome.PASS) and tracked:
        if seen.met is Met.REFUSED:
            yield f"{place(tracked.server)} itself refused the probe: the packet reached it, but nothing listens there."
        elif seen.met is Met.SILENCE and seen.flow.protocol is Protocol.TCP:
            yield f"{place(tracked.server)} did not answer the probe, although the packet was sent there."
    if last.affinity and tracked:
        yield (
            f"The probe counts as a connection of {seen.flow.source[0]}: for {last.affinity} s from now that client goes to "
            f"{place(tracked.server)}."
        )


def _lines(told: Told) -> Iterator[str]:
    start, to = told.origin, told.destination
    at = f"{place((to.address, to.port))}/{to.protocol.value}"
    yield f"{start.title} ({start.address}) -> {f'{to.title} ({at})' if to.title else at}"
    for hop in told.hops:
        yield ""
        yield f"{hop.node}:" if hop is told.hops[0] else f"then {hop.node}:"
        for number, step in enumerate(hop.trace.steps, 1):
            yield f"  {number}. {step.decision}"
            yield f"     because {step.because}"
    yield ""
    yield told.outcome.value.upper()
    yield from map(_endpoint, told.endpoints)
    if told.live:
        yield from _live_lines(told, told.live)


def _endpoint(each: Reached) -> str:
    where = place((each.address, each.port))
    who = f", pod {each.pod}" if each.pod else ""
    home = f" on {each.node}" + (f" in zone {each.zone}" if each.zone else "") if each.node else ""
    seen = "the node's address" if each.masqueraded else "the client's address"
    return f"  {each.probability:6.1%}  {where}{who}{home}, sees {seen}, {each.sees}"


def _live_lines(told: Told, seen: Seen) -> Iterator[str]:
    yield ""
    yield f"THE KERNEL, with a packet from {place(seen.flow.source)}; the probe {seen.met.value}"
    for sighting in seen.sightings:
        yield f"{sighting.node}:"
        yield from map(_kernel_line, sighting.lines)
        if not sighting.lines:
            yield "  no chain of its tables saw the packet"
    yield ""
    rows = [
        row for hop, sighting in zip(told.hops, seen.sightings, strict=True) for row in _rows(told, hop, sighting, seen.met)
    ]
    yield output.columns(["", "FORESEEN", "THE KERNEL"], rows)
    yield ""
    yield from told.notes
    if told.differences:
        yield from (f"DIFFERENT!  {each}" for each in told.differences)
        yield "`mooring verify` says whether the kernel's tables are as they should be."
    else:
        yield "The kernel did what was foreseen."


def _kernel_line(line: Line) -> str:
    rule = line.rule or "end of the chain"
    return f"  {line.chain} ({line.table}): {rule}" + ("" if line.verdict in rule else f" -> {line.verdict}")


def _rows(told: Told, hop: Hop, sighting: Sighting, met: Met) -> Iterator[list[str]]:
    became = outcome(sighting, met)
    yield [hop.node, hop.trace.outcome.value, became.value if became else "nothing"]
    if hop.trace.outcome is not Outcome.FORWARD and became is not Outcome.FORWARD:
        return
    tracked = sighting.tracked
    chosen = next((each for each in told.endpoints if tracked and (each.address, each.port) == tracked.server), None)
    count = len(hop.trace.choices)
    expected = f"one of {count}" if count > 1 else "".join(place((each.address, each.port)) for each in told.endpoints)
    who = f" {chosen.pod}" if chosen and chosen.pod else ""
    yield ["  endpoint", expected or "-", place(tracked.server) + who if tracked else "-"]
    sees = {each.sees for each in ([chosen] if chosen else told.endpoints)}
    yield ["  sees", " or ".join(sorted(sees)) or "-", tracked.client[0] if tracked else "-"]
