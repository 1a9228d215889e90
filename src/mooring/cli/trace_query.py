"""mooring trace query: which names are asked for, who answers each, and why; with --live also what the server said."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
from msgspec import Struct

from mooring.app import probe, querying
from mooring.app.connection import Connection
from mooring.app.files import Files
from mooring.app.querying import OPEN, Asked, Asker, Live, Naming, Said
from mooring.app.resolver import load
from mooring.app.settings import Settings
from mooring.cli import output
from mooring.cli.main import CommandError
from mooring.dns.wording import kind_number
from mooring.edges.live import question

KIND = "A"


class Told(Struct, frozen=True):
    """The whole answer. `name` and `type` as they were asked for."""

    source: str
    address: str
    nameservers: tuple[str, ...]
    search: tuple[str, ...]
    ndots: int
    name: str
    type: str
    asked: tuple[Asked, ...]


class Question(Struct, frozen=True):
    """As a person asks it: `kind` is '' for an address."""

    name: str
    kind: str
    source: str
    namespace: str


def run(
    connection: Connection,
    asked: Question,
    cluster: tuple[Settings, Files] | None,
    domain: str = "",
    dns_config: Path | None = None,
    *,
    live: bool = False,
    form: str = "",
) -> int:
    """Exit code 1 when no name of the search path has an answer, or when the server answers otherwise than foreseen."""
    kind = (asked.kind or KIND).upper()
    try:
        number = kind_number(kind)
    except ValueError as error:
        raise CommandError(str(error), 2) from error
    try:
        names = querying.read_names(connection, _naming(cluster, domain, dns_config))
    except ValueError as error:
        raise CommandError(str(error)) from error
    asker = querying.asker(names, asked.source, asked.namespace)
    answers = querying.ask(names.chain, asker, asked.name, number, _asking(cluster, asker) if live and cluster else None)
    config = asker.config
    told = Told(asker.title, asker.address, config.nameservers, config.search, config.ndots, asked.name, kind, tuple(answers))
    if form:
        output.document(msgspec.to_builtins(told), form)
    else:
        print("\n".join(lines(told)))
    return 0 if told.asked and told.asked[-1].settled and not any(each.difference for each in told.asked) else 1


def _naming(cluster: tuple[Settings, Files] | None, domain: str, dns_config: Path | None) -> Naming:
    """With which options the nodes answer names: a local cluster's are known. Raises DnsSettingsError."""
    if cluster is None:
        return Naming(domain or Naming().domain, load(dns_config))
    settings = cluster[0]
    ranges = (*settings.service_cidrs, *settings.pod_cidrs)
    own: str | None = ""
    if settings.resolv_conf is not None:
        try:
            own = settings.resolv_conf.read_text()
        except (OSError, UnicodeDecodeError):  # gone since the nodes were started: whom they ask is not known here
            own = None
    return Naming(domain or settings.cluster_domain, load(dns_config or settings.dns_config), ranges, own)


def _asking(cluster: tuple[Settings, Files], asker: Asker) -> querying.Ask:
    place = probe.place_of(*cluster, asker.origin)

    def ask(server: str, name: str, kind: int) -> Live:
        answered = question.ask(place, server, name, kind)
        if answered.error:
            return Live(server, None, answered.seconds, answered.error)
        return Live(server, querying.said_of(answered.rcode, answered.records, kind), answered.seconds)

    return ask


def lines(told: Told) -> Iterator[str]:
    """The page that people read."""
    yield f"{told.source} ({told.address}) asks for {told.name} {told.type}"
    servers, domains = (" ".join(each) or "(none)" for each in (told.nameservers, told.search))
    yield f"nameserver {servers}; search {domains}; ndots {told.ndots}"
    for number, each in enumerate(told.asked, 1):
        yield ""
        yield f"{number}. {each.name} {told.type}"
        yield f"   asked because {each.because}"
        for note in each.notes:
            yield f"   {note.handler}: {note.decision}" + (f", because {note.because}" if note.because else "")
        yield from _answer_lines(each)
    yield ""
    yield _end(told)


def _answer_lines(each: Asked) -> Iterator[str]:
    live = each.live
    yield from _said("FORESEEN", each.foreseen)
    if live is None:
        return
    if live.said is None:
        yield f"   LIVE      no answer from {live.server} in {live.seconds * 1000:.0f} ms: {live.error}"
    else:
        yield from _said("LIVE", live.said, f"   ({live.server}, {live.seconds * 1000:.1f} ms)")
    if each.difference:
        yield f"   DIFFERENT!  {each.difference}"


def _said(who: str, said: Said, more: str = "") -> Iterator[str]:
    outcome = said.outcome if said.outcome != OPEN else f"known only to {said.upstream or 'nobody'}"
    yield f"   {who:9} {outcome}{more}"
    for record in said.records:
        yield f"             {record}"


def _end(told: Told) -> str:
    last = told.asked[-1] if told.asked else None
    if last is None:
        return "Nothing is asked."
    said = last.said
    if last.settled:
        return f"{told.name} is {last.name}: {', '.join(_data(said.records))}"
    if said.outcome == OPEN:
        return f"Whether {last.name} has an answer, only {said.upstream or 'nobody'} knows; --live asks."
    return f"{told.name} has no {told.type} record under any of the names asked for."


def _data(records: Iterable[str]) -> list[str]:
    return [record.partition(" ")[2] for record in records]
