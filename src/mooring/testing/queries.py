"""How are a scenario's questions read? `queries.txt`, written by hand, says what must be answered to which.

The Zone comes from the Services, EndpointSlices, Namespaces, Ingresses and Pods of `input.yaml`, and fields of ZoneOptions
in `dns.yaml`, where there is one (`synced: false` there: not all has been listed yet). Without it the reverse zones are
those of the service and pod ranges. `zone.txt` is golden: every name with what stands there.

A line of `queries.txt`, `#` starts a comment:

    NAME TYPE [from NAMESPACE/POD]: ANSWER

ANSWER is NODATA, NXDOMAIN, SERVFAIL or REFUSED, or all records' data, as dig +short shows it but without final dots, joined
by ` | ` in any order. An alias comes first, as `CNAME NAME`, and then what the cluster says of that name; where the name is
not the cluster's, nothing more.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import yaml
from msgspec import Struct, structs

from mooring.control.dns import pod_addresses
from mooring.dns.answer import Found, Reason, answer
from mooring.dns.build import build_zone
from mooring.dns.names import Name, from_text, to_text
from mooring.dns.owners import Asks, Given, everything
from mooring.dns.presentation import data_text
from mooring.dns.records import Question, Rcode, Record, Type
from mooring.dns.shared import index
from mooring.dns.wording import kind_number
from mooring.dns.zone import Zone, ZoneOptions
from mooring.model.discovery import endpoint_slice
from mooring.model.ingress import ingress
from mooring.model.meta import Document
from mooring.model.service import service

REVERSE = ("10.96.0.0/16", "fd00:96::/112", "10.244.0.0/16", "fd00:244::/56")
ADDRESSES = ("10.96.0.10",)
SERIAL = 7
ALIASES = 8
_LINE = re.compile(r"(?P<name>\S+) (?P<type>[A-Z0-9]+)(?: from (?P<pod>[^\s/]+/[^\s/]+))?: (?P<answer>.+)")


class Ask(Struct, frozen=True):
    """One line of queries.txt. `line` is its text, used as the test's name; `client` the asking pod's first address, or ''."""

    line: str
    question: Question
    answer: str
    client: str = ""

    @property
    def expected(self) -> tuple[str, ...]:
        """Sorted, but for the aliases, which come first in their order."""
        return tuple(sorted(self.answer.split(" | "), key=lambda each: "" if each.startswith("CNAME ") else each))


class Questions(Struct, frozen=True):
    """A folder with queries.txt, decoded."""

    folder: Path
    zone: Zone
    asks: tuple[Ask, ...]

    @property
    def title(self) -> str:
        return f"{self.folder.parent.name}/{self.folder.name}"


def find_questions(root: Path) -> list[Questions]:
    """Every scenario under `root` that asks for names, by folder name."""
    return [read_questions(path.parent) for path in sorted(root.glob("*/*/queries.txt"))]


def read_questions(folder: Path) -> Questions:
    """Raises ValueError naming the line that cannot be read, msgspec.ValidationError naming the field."""
    documents = [each for each in yaml.safe_load_all((folder / "input.yaml").read_text()) if each]
    pods = {
        f"{each['metadata']['namespace']}/{each['metadata']['name']}": pod_addresses(each) for each in _of(documents, "Pod")
    }
    clients = {name: each.addresses[0] for name, each in pods.items() if each.addresses}
    lines = (line.partition("#")[0].strip() for line in (folder / "queries.txt").read_text().splitlines())
    return Questions(folder, zone_of(documents, _settings(folder)), tuple(_ask(line, clients) for line in lines if line))


def zone_of(documents: Sequence[Document], settings: Document) -> Zone:
    """What the keeper would have after having seen all of these."""
    synced = settings.pop("synced", True)
    options = msgspec.convert({"reverse": REVERSE, "addresses": ADDRESSES, **settings}, ZoneOptions)
    zone = build_zone(
        options,
        map(service, _of(documents, "Service")),
        map(endpoint_slice, _of(documents, "EndpointSlice")),
        [each["metadata"]["name"] for each in _of(documents, "Namespace")],
        map(ingress, _of(documents, "Ingress")),
        [(each.namespace, each.addresses) for each in map(pod_addresses, _of(documents, "Pod"))],
        SERIAL,
    )
    return structs.replace(zone, synced=synced, shared=index(zone))


def simulated(zone: Zone, question: Question) -> tuple[str, ...]:
    """What the Zone answers, in the words of queries.txt, aliases followed as far as they are the cluster's."""
    told: list[Record] = []
    for _ in range(ALIASES):
        found: Found = answer(zone, question)
        if found.reason is Reason.ELSEWHERE:
            return words(Rcode.NOERROR if told else Rcode.REFUSED, told)
        told += found.reply.answer
        if found.alias is None:
            return words(Rcode(found.reply.rcode) if not told else Rcode.NOERROR, told)
        question = Question(found.alias, question.type)
    return words(Rcode.NOERROR, told)


def words(rcode: int, records: Iterable[Record]) -> tuple[str, ...]:
    """A reply's rcode and answer section in the words of queries.txt."""
    if rcode != Rcode.NOERROR:
        return (Rcode(rcode).name,)
    records = list(records)
    aliases = [f"CNAME {data_text(each.type, each.data)}" for each in records if each.type == Type.CNAME]
    return (*aliases, *sorted(data_text(each.type, each.data) for each in records if each.type != Type.CNAME)) or ("NODATA",)


def zone_text(zone: Zone) -> str:
    """Every name with what stands there, as zone.txt has it; the top of a tree before what is below."""
    lines = []
    for name, given in sorted(everything(zone), key=lambda each: to_text(each[0]).split(".")[::-1]):
        lines += [f"{to_text(name)} {line}" for line in _standing(name, given)]
    return "\n".join(lines) + "\n"


def _standing(name: Name, given: Given) -> list[str]:
    lines = [
        f"{each.ttl} {Type(each.type).name} {data_text(each.type, data)}" for each in given.rrsets for data in each.data
    ] or ["only names below it"]
    if given.asks & Asks.SELF:
        lines.append("asks the agent")
    if given.asks & Asks.BELOW:
        lines.append("asks the agent for names below it")
    return lines


def _of(documents: Iterable[Document], kind: str) -> list[Document]:
    return [each for each in documents if each["kind"] == kind]


def _settings(folder: Path) -> dict[str, Any]:
    path = folder / "dns.yaml"
    return dict(yaml.safe_load(path.read_text())) if path.exists() else {}


def _ask(line: str, clients: dict[str, str]) -> Ask:
    match = _LINE.fullmatch(line)
    if match is None or (match["pod"] and match["pod"] not in clients):
        raise ValueError(f"not a line of a question: {line!r}")
    question = Question(from_text(match["name"]), kind_number(match["type"]))
    return Ask(line, question, match["answer"], clients.get(match["pod"] or "", ""))
