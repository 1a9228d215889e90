"""What do the proxies really do with a request? It is sent from where it starts, and looked for in their access logs.

Only in a local cluster, whose namespaces are on this machine. It is an ordinary request: what it makes the backend do is done.
"""

import json
import secrets
from collections.abc import Iterator, Mapping
from time import monotonic, sleep
from typing import Any

from msgspec import Struct, structs

from mooring.app.connection import Connection, Refused
from mooring.app.requesting import Live, Told
from mooring.control.ingress_class import NAMESPACE_NAME, labels
from mooring.edges.live.request import Answered, Sent, send
from mooring.model.kinds import POD
from mooring.routing.simulate import CLOSED, OPAQUE, Request

PATIENCE = 3.0
"""Seconds until an access log must have told of a request."""
PAUSE = 0.1
RECENT = 60
"""Seconds of a log that are read."""
REQUEST_ID = "X-Request-ID"

Entry = Mapping[str, Any]
"""A line of a proxy's access log."""


class Logged(Struct, frozen=True):
    pod: str
    entry: Entry


def marked(request: Request) -> Request:
    """With a request id of its own, by which the logs know it."""
    identifier = secrets.token_hex(16)
    others = tuple(each for each in request.headers if each[0].lower() != REQUEST_ID.lower())
    return structs.replace(request, headers=(*others, (REQUEST_ID, identifier)), request_id=identifier)


def probed(connection: Connection, place: str, told: Told, request: Request) -> Told:
    """`told` with what was done with `request`, sent from the namespace that the file `place` holds. Raises Unreachable."""
    tls = request.scheme == "https"
    host = (("Host", request.host), *request.headers)
    name = request.server_name or request.host.rpartition(":")[0] or request.host
    answered = send(place, Sent(told.address, request.to_port, request.method, request.path, host, tls, name if tls else ""))
    found = looked_up(connection, told.class_name, request.request_id) if answered.status else None
    entry = found.entry if found else {}
    live = Live(
        answered.status,
        answered.seconds,
        answered.headers.get("location", ""),
        found.pod if found else "",
        _field(entry, "route"),
        _field(entry, "upstream"),
        answered.error,
    )
    notes = list(told.notes)
    if answered.status and found is None:
        notes.append(f"No access log of {told.class_name}'s proxies tells of the request: route and endpoint are not known.")
    if live.pod and f"{NAMESPACE_NAME}/{live.pod}" not in {each.pod for each in told.proxies}:
        notes.append(f"{live.pod} took it: from outside each connection comes in by whichever node has a proxy.")
    return structs.replace(told, live=live, notes=tuple(notes), differences=tuple(differences(told, live, answered)))


def _field(entry: Entry, name: str) -> str:
    """What a proxy does not know it writes as null, or as a hyphen."""
    value = entry.get(name)
    return "" if value in (None, "-") else str(value)


def looked_up(connection: Connection, class_name: str, request_id: str) -> Logged | None:
    """The line of whichever proxy of the class has served it; None when there is none within PATIENCE."""
    end = monotonic() + PATIENCE
    wanted = ",".join(f"{name}={value}" for name, value in labels(class_name).items())
    pods = [each["metadata"]["name"] for each in connection.get(POD.path(NAMESPACE_NAME), {"labelSelector": wanted})["items"]]
    while True:
        for pod in pods:
            for entry in _entries(connection, pod, request_id):
                return Logged(pod, entry)
        if monotonic() > end:
            return None
        sleep(PAUSE)


def _entries(connection: Connection, pod: str, request_id: str) -> Iterator[Entry]:
    try:
        text = connection.raw("GET", f"{POD.path(NAMESPACE_NAME, pod)}/log", query={"sinceSeconds": str(RECENT)})
    except Refused:  # it has just started, or gone
        return
    for line in text.decode(errors="replace").splitlines():
        if request_id in line:
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict) and entry.get("request_id") == request_id:
                yield entry


def differences(told: Told, live: Live, answered: Answered) -> Iterator[str]:
    """In words, what was done otherwise than foreseen. What depends on what nobody knew is none."""
    if live.error:
        if told.status != CLOSED:
            yield f"{_status(told)} was foreseen, and there is no answer: {live.error}"
        return
    if told.status == CLOSED:
        yield f"no answer was foreseen, and the proxies answer {live.status}"
        return
    if told.certificate and answered.certificate and told.certificate != answered.certificate:
        yield f"the certificate {told.certificate[:16]}... was foreseen, {answered.certificate[:16]}... is shown"
    if live.pod and live.route != told.route:
        yield f"route {told.route or 'none'} was foreseen, {live.route or 'none'} has it"
    open_ends = bool(told.provided) and not live.upstream
    if not open_ends:
        yield from _ends(told, live)


def _ends(told: Told, live: Live) -> Iterator[str]:
    if told.seen is None and told.status != OPAQUE:
        if live.status != told.status:
            yield f"{told.status} was foreseen, and {live.status} answered"
        if live.upstream:
            yield f"no endpoint was foreseen, and {live.upstream} was asked"
        if told.location and live.location != told.location:
            yield f"a redirect to {told.location} was foreseen, to {live.location or 'nowhere'} it is"
        return
    known = {
        f"[{each.address}]:{each.port}" if ":" in each.address else f"{each.address}:{each.port}" for each in told.endpoints
    }
    nobody = any(not each.address for each in told.endpoints)
    if live.pod and not live.upstream and not (nobody and live.status == 503):
        yield f"an endpoint was foreseen, and the proxy itself answers {live.status}"
    if live.upstream and all(each.address for each in told.endpoints) and live.upstream not in known and _is_plain(told):
        yield f"{live.upstream} was asked, which is none of the foreseen"


def _is_plain(told: Told) -> bool:
    """Whether all endpoints are addresses: a host name's are looked up by the proxies."""
    return all(each.address.replace(".", "").isdigit() or ":" in each.address for each in told.endpoints)


def _status(told: Told) -> str:
    return "an answer" if told.status in (OPAQUE, 200) else str(told.status)
