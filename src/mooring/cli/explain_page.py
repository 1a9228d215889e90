"""How is an explanation read? One page of plain lines: what it is, names, endpoints, who reaches what, problems."""

from collections.abc import Iterable, Iterator, Sequence

from mooring.app.explanation import ALIAS, ELSEWHERE, HEADLESS, EndpointRow, Explanation, Passage, Reached
from mooring.cli import output
from mooring.services.problems import Severity
from mooring.services.problems.words import counted, listing, place
from mooring.services.view import Entry, Reason

MOST = 20
"""Endpoints before the rest is only counted."""
ENTRIES = {
    Entry.CLUSTER_IP.value: "cluster IP",
    Entry.NODE_PORT.value: "node port",
    Entry.LOAD_BALANCER.value: "balancer's address",
    Entry.EXTERNAL_IP.value: "external IP",
}
SOURCES = {"pod": "pods", "node": "the node itself", "outside": "from outside"}
NO_DOORS = {
    HEADLESS: "whoever knows the name reaches the endpoints themselves; no node touches the packets",
    ELSEWHERE: "unknown: a label leaves its packets to another proxy, and no node here touches them",
}
COLOURS = {Severity.BROKEN: "\033[31m", Severity.WARNING: "\033[33m", Severity.NOTE: "\033[36m"}
PLAIN = "\033[0m"
FOOT = "What the containers listen on, NetworkPolicies and firewalls of others are not looked at."


def page(found: Explanation, colour: bool = False) -> str:
    lines = [f"service/{found.name} in {found.namespace}", ""]
    lines += [f"  {title + ':':<14}{words}" for title, words in found.facts.items()]
    lines += ["", "NAMES", *_indented(_names(found))]
    if found.kind != ALIAS:
        lines += ["", "ENDPOINTS", *_indented(_endpoints(found.endpoints))]
        lines += ["", "WHO REACHES WHAT", *_indented(_doors(found))]
    lines += ["", "PROBLEMS", *_indented(_problems(found, colour)), "", FOOT]
    return "\n".join(lines)


def _indented(lines: Iterable[str]) -> Iterator[str]:
    return (f"  {line}".rstrip() for line in lines)


def _names(found: Explanation) -> list[str]:
    rows = [[each.name, each.type, listing(each.values, MOST)] for each in found.names]
    return output.columns([], rows).split("\n") if rows else ["none: DNS says that there is no such name"]


def _endpoints(rows: Sequence[EndpointRow]) -> list[str]:
    """Columns that nobody fills are left out."""
    if not rows:
        return ["none"]
    header = ["ADDRESS", "PORTS", "STATE", "NODE", "ZONE", "TARGET", "FOR", "WHY NOT"]
    table = [
        [each.address, ",".join(each.ports), each.state, each.node, each.zone, each.target, each.hints, each.why]
        for each in rows[:MOST]
    ]
    kept = [column for column in range(len(header)) if any(row[column] for row in table)]
    lines = output.columns([header[column] for column in kept], [[row[column] or "-" for column in kept] for row in table])
    more = [f"and {len(rows) - MOST} more"] if len(rows) > MOST else []
    return [*lines.split("\n"), *more]


def _doors(found: Explanation) -> Iterator[str]:
    if found.kind in NO_DOORS:
        yield NO_DOORS[found.kind]
    elif not found.doors:
        yield "unknown: there is no node that could be asked"
    ready = {each.address for each in found.endpoints if each.state == "ready"}
    for door in found.doors:
        where = place(door.address, door.port, door.protocol) if door.address else f"{door.port}/{door.protocol} of each node"
        yield f"{ENTRIES[door.entry]} {where}{f' ({door.name})' if door.name else ''}"
        for passage in door.passages:
            yield f"  {_who(passage, found.nodes)}: {_what(passage, ready)}"
        if door.taken_by:
            yield f"  nobody: {door.taken_by} has it"
    yield from (f"unknown on {each}" for each in found.unread)


def _who(passage: Passage, nodes: Sequence[str]) -> str:
    sources = "everyone" if len(passage.sources) == len(SOURCES) else listing(SOURCES[each] for each in passage.sources)
    where = "every node" if len(passage.nodes) == len(nodes) > 1 else listing(passage.nodes)
    return f"{sources}, on {where}"


def _what(passage: Passage, ready: set[str]) -> str:
    only = f"; only from {listing(passage.allowed)}" if passage.allowed else ""
    if passage.outcome != "forward":
        return f"{'refused' if passage.outcome == 'reject' else 'dropped'}, {passage.reason}{only}"
    seen = {each.masqueraded for each in passage.endpoints}
    whose = "the client's or the node's" if len(seen) > 1 else "the node's" if True in seen else "the client's"
    why = f"; {passage.reason}" if passage.reason != Reason.ENDPOINTS.value else ""
    verb = "which sees" if len(passage.endpoints) == 1 else "which see"
    return f"{_ends(passage.endpoints, ready)}, {verb} {whose} address{why}{only}"


def _ends(endpoints: Sequence[Reached], ready: set[str]) -> str:
    """All that are ready are only counted; a part of them is named, as far as it can be."""
    if len(endpoints) > 1 and {each.address for each in endpoints} == ready:
        return f"any of the {len(endpoints)} endpoints"
    if len(endpoints) > 4:
        return f"any of {counted(len(endpoints), 'endpoint')}"
    named = [f"[{each.address}]:{each.port}" if ":" in each.address else f"{each.address}:{each.port}" for each in endpoints]
    return " or ".join(filter(None, (", ".join(named[:-1]), named[-1])))


def _problems(found: Explanation, colour: bool) -> Iterator[str]:
    if not found.problems:
        yield "none found"
    for number, each in enumerate(found.problems, 1):
        start, end = (COLOURS[each.severity], PLAIN) if colour else ("", "")
        yield f"{number}. {start}{each.severity.value}{end}, {each.reason}: {each.sentence}"
        yield f"   {each.object}, {each.field}"
        yield f"   to mend it: {each.fix}"
