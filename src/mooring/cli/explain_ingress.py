"""mooring explain ingress/NAME: where its hosts and paths lead, what is shown for TLS, and what is wrong with it."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from mooring.app import requesting
from mooring.app.connection import Connection, Refused
from mooring.app.ingress_explanation import Backend, Case, Explanation, Problem, Rule, Shown, explain
from mooring.cli import output
from mooring.model.ingress import ingress
from mooring.model.kinds import CORE_EVENT, INGRESS
from mooring.routing.finding import Level

MOST = 50
"""Rules before the rest is only counted."""
ENDPOINTS = 4
"""Endpoints of a backend that are named."""
COLOURS = {Level.WARNING: "\033[33m", Level.NORMAL: "\033[36m"}
WORDS = {Level.WARNING: "warning", Level.NORMAL: "note"}
PLAIN = "\033[0m"
FOOT = "`mooring trace request URL` follows a single request, and says why it goes where it goes."


def gather(server: Connection, namespace: str, name: str) -> Case:
    """All that bears on one Ingress. Raises Refused when it is not there, or what matters most may not be read."""
    view = ingress(server.get(INGRESS.path(namespace, name)))
    cluster = requesting.read(server)
    events: list[dict[str, Any]] = []
    try:
        events = server.get(CORE_EVENT.path(namespace)).get("items") or []
    except Refused as refusal:
        if refusal.code not in (403, 404):
            raise
    return Case(cluster, view, datetime.now(UTC), tuple(events))


def explained(server: Connection, namespace: str, name: str) -> Explanation:
    return explain(gather(server, namespace, name))


def page(found: Explanation, colour: bool = False) -> str:
    lines = [f"ingress/{found.name} in {found.namespace}", ""]
    lines += [f"  {title + ':':<14}{words}" for title, words in found.facts.items()]
    if found.is_served:
        lines += ["", "WHAT GOES WHERE", *_indented(_rules(found.rules))]
        lines += ["", "TLS", *_indented(_certificates(found.certificates))]
        lines += ["", "WHAT THE PROXY LACKS", *_indented(found.lacks or ["nothing"])]
    lines += ["", "PROBLEMS", *_indented(_problems(found, colour))]
    lines += [f"  {each}s may not be read: what comes of them is not known" for each in found.unread]
    return "\n".join((*lines, "", FOOT))


def _indented(lines: Iterable[str]) -> Iterator[str]:
    return (f"  {line}".rstrip() for line in lines)


def _rules(rules: Sequence[Rule]) -> Iterator[str]:
    if not rules:
        yield "nothing: none of its rules is in force by itself"
    host = ""
    for each in rules[:MOST]:
        if each.host != host:
            host = each.host
            yield "all other hosts" if host == "*" else host
        yield f"  {', '.join(each.listeners)}: {each.request} -> {each.action}"
        yield from (f"    {_backend(backend)}" for backend in each.backends)
        yield from (f"    {setting}" for setting in each.settings)
    if len(rules) > MOST:
        yield f"and {len(rules) - MOST} more"


def _backend(backend: Backend) -> str:
    if not backend.endpoints:
        return f"{backend.cluster}: no endpoint is ready, 503"
    more = len(backend.endpoints) - ENDPOINTS
    return f"{backend.cluster}: {', '.join(backend.endpoints[:ENDPOINTS])}" + (f" and {more} more" if more > 0 else "")


def _certificates(shown: Sequence[Shown]) -> list[str]:
    if not shown:
        return ["none of its hosts has TLS"]
    rows = [[" ".join(each.hosts), each.certificate, each.subject or "-", _expiry(each)] for each in shown]
    return output.columns(["HOSTS", "CERTIFICATE", "SUBJECT", "EXPIRES"], rows).split("\n")


def _expiry(each: Shown) -> str:
    if not each.expires:
        return "-"
    return f"{each.expires} ({f'in {each.days} days' if each.days >= 0 else f'{-each.days} days ago'})"


def _problems(found: Explanation, colour: bool) -> Iterator[str]:
    if not found.problems:
        yield "none found"
    for number, each in enumerate(found.problems, 1):
        yield from _problem(number, each, colour)


def _problem(number: int, each: Problem, colour: bool) -> Iterator[str]:
    start, end = (COLOURS[each.level], PLAIN) if colour else ("", "")
    effect = f": {each.effect}" if each.effect else ""
    yield f"{number}. {start}{WORDS[each.level]}{end}, {each.reason}: {each.message}{effect}"
    yield f"   {each.field}"
    if each.fix:
        yield f"   to mend it: {each.fix}"
