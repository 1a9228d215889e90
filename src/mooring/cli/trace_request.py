"""mooring trace request: which proxies, host, route and endpoint a request reaches, and why; with --live also what was done."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import msgspec
from msgspec import Struct

from mooring.app import probe, request_probe, requesting
from mooring.app.connection import Connection
from mooring.app.files import Files
from mooring.app.places import PlaceError
from mooring.app.requesting import Endpoint, Live, Place, Told
from mooring.app.settings import Settings
from mooring.cli import output
from mooring.cli.main import CommandError
from mooring.dataplane.sighting import place as place_text
from mooring.dataplane.trace_words import Step as PacketStep
from mooring.routing.simulate import CLOSED, OPAQUE, Request, Step
from mooring.routing.simulation.urls import request_of


class Asked(Struct, frozen=True):
    """As a person asks it. `headers` are lines `Name: value`."""

    url: str
    method: str
    headers: Sequence[str]
    source: str
    namespace: str
    class_name: str


def run(
    connection: Connection,
    asked: Asked,
    cluster: tuple[Settings, Files] | None,
    *,
    live: bool = False,
    form: str = "",
) -> int:
    """Exit code 1 when the answer is 400 or more, when there is none, or when the proxies do otherwise than foreseen."""
    request = request_probe.marked(parsed(asked))
    place = Place(asked.source, asked.namespace, _outside(cluster), cluster is not None)
    told = foreseen(connection, request, place, asked.class_name)
    if live and cluster and told.proxies:
        told = request_probe.probed(connection, probe.place_of(*cluster, told.origin), told, request)
    if form:
        output.document(msgspec.to_builtins(told), form)
    else:
        print("\n".join(lines(told)))
    return 0 if told.is_served and not told.differences else 1


def parsed(asked: Asked) -> Request:
    """Raises CommandError."""
    headers = []
    for line in asked.headers:
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise CommandError(f"-H {line!r} is no header: say -H 'Name: value'", 2)
        headers.append((name.strip(), value.strip()))
    try:
        return request_of(asked.method.upper(), asked.url, headers)
    except ValueError as error:
        raise CommandError(str(error), 2) from error


def foreseen(connection: Connection, request: Request, place: Place, class_name: str = "") -> Told:
    """Raises PlaceError, BadOptions, Refused."""
    cluster = requesting.read(connection)
    front, why = requesting.chosen(requesting.fronts(cluster, datetime.now(UTC)), request.host, class_name)
    return requesting.foretell(cluster, front, why, request, place)


def _outside(cluster: tuple[Settings, Files] | None) -> requesting.Outside:
    def known(address: str) -> tuple[str, str]:
        if cluster is None:
            raise PlaceError("only a local cluster has an outside; say from which address: --from ADDRESS[/NODE]")
        return probe.outside(cluster[0], address)

    return known


def lines(told: Told) -> Iterator[str]:
    """The page that people read."""
    start = f"{told.origin.title} ({told.origin.address})" if told.origin.address else told.origin.title
    yield f"{start} -> {told.method} {told.url}"
    yield f"class {told.class_name} ({told.proxy})" + (f" at {told.address}" if told.address else "")
    for hop in told.hops:
        yield ""
        yield f"the packet, at {hop.node}:" if hop is told.hops[0] else f"then {hop.node}:"
        yield from _steps(hop.trace.steps)
    for each in told.proxies:
        yield f"  {each.probability:6.1%}  {place_text((each.address, each.port))}{_who(each.pod, each.node)}, sees {each.sees}"
    yield ""
    yield "the request:"
    yield from _steps(told.steps)
    yield ""
    yield from _outcome(told)
    if told.live:
        yield from _live(told, told.live)


def _steps(steps: Sequence[Step | PacketStep]) -> Iterator[str]:
    for number, step in enumerate(steps, 1):
        yield f"  {number}. {step.decision}"
        source = step.source if isinstance(step, Step) else ""
        yield f"     because {step.because}" + (f" ({source})" if source else "")


def _outcome(told: Told) -> Iterator[str]:
    yield outcome(told)
    if told.location:
        yield f"  location: {told.location}"
    yield from map(_endpoint, told.endpoints)
    if told.seen:
        yield f"  the backend sees {told.seen.method} {told.seen.path} of {told.seen.host}"
    for name, value in told.headers:
        yield f"  the answer has {name}: {value}"
    yield from (f"Provided that {each}." for each in told.provided)
    yield from (f"The proxy lacks: {each}" for each in told.lacks)
    yield from told.notes


def outcome(told: Told) -> str:
    if told.status == CLOSED:
        return "NO ANSWER"
    if told.status == OPAQUE:
        return "PASSED THROUGH, unread, to"
    return "FORWARDED to" if told.seen else f"ANSWERED {told.status}, by the proxy"


def _endpoint(each: Endpoint) -> str:
    if not each.address:
        return f"  {each.probability:6.1%}  nobody of {each.cluster}: 503"
    return f"  {each.probability:6.1%}  {place_text((each.address, each.port))}{_who(each.pod, each.node)}, of {each.cluster}"


def _who(pod: str, node: str) -> str:
    return (f", pod {pod}" if pod else "") + (f" on {node}" if node else "")


def _live(told: Told, live: Live) -> Iterator[str]:
    yield ""
    if live.error:
        yield f"LIVE: no answer, after {live.seconds * 1000:.1f} ms: {live.error}"
    else:
        by = f" by {live.pod}" if live.pod else ""
        yield f"LIVE: answered {live.status}{by} in {live.seconds * 1000:.1f} ms"
    count = len(told.endpoints)
    rows = [
        ["status", _foreseen_status(told), str(live.status or "none")],
        ["route", told.route or "none", live.route or ("none" if live.pod else "-")],
        [
            "endpoint",
            f"one of {count}" if count > 1 else "".join(_place(each) for each in told.endpoints) or "-",
            live.upstream or "-",
        ],
    ]
    if told.location or live.location:
        rows.append(["location", told.location or "-", live.location or "-"])
    yield output.columns(["", "FORESEEN", "THE PROXY"], rows)
    yield ""
    if told.differences:
        yield from (f"DIFFERENT!  {each}" for each in told.differences)
        yield f"`mooring explain ingress/NAME` says what is wrong with an Ingress, and what {told.proxy} lacks."
    else:
        yield "The proxy did what was foreseen."


def _foreseen_status(told: Told) -> str:
    if told.status == CLOSED:
        return "none"
    return "the backend's" if told.seen or told.status == OPAQUE else str(told.status)


def _place(each: Endpoint) -> str:
    return place_text((each.address, each.port)) if each.address else "nobody"
