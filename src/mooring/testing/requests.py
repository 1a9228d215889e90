"""How are a scenario's requests read? `requests.txt`, written by hand, says what must be answered to which.

The table comes from the Ingresses, IngressClasses, Services, Secrets and ConfigMaps of `input.yaml`, endpoints from its
EndpointSlices. Its class is that of the IngressClass there whose controller is ours; where there is none, `mooring-envoy`,
which is the default. `table.txt` is golden: the RouteTable as people read it. `lacks.txt` says what a proxy cannot do of it:
on each line `envoy` or `nginx`, a colon, and the sentence; its requests are not sent to that proxy when they are named after
the sentence's line, indented.

A line of `requests.txt`, `#` after a blank starts a comment:

    METHOD URL [NAME: VALUE]... [from ADDRESS] [sni NAME] [certificate] : STATUS [REST]...

A header is written in brackets, or bare where its value has no blanks: `X-Canary: always`. `certificate`: the client shows a
good one. STATUS is a number, or `closed` where there is no answer at all. REST is any of

    NAMESPACE/NAME:PORT | ...   the Services that may answer (the number of the Service's port), or HOST:PORT
    location=URL                of a redirect
    path=/PATH?QUERY, host=NAME what the backend sees
    sees NAME=VALUE             a request header that the backend sees; `sees NAME=` one that it does not
    header NAME=VALUE           a header of the answer; `header NAME=` one that it has not

with values in double quotes where they hold blanks.
"""

import re
import shlex
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from msgspec import Struct, field, structs

from mooring.model.discovery import EndpointSlice, endpoint_slice
from mooring.model.ingress import CONTROLLERS, IngressClass, ingress_class
from mooring.model.meta import Document
from mooring.routing.ingress.build import build
from mooring.routing.ingress.classes import is_ours
from mooring.routing.ingress.documents import objects
from mooring.routing.ingress.members import members
from mooring.routing.ingress.objects import Objects, Translation
from mooring.routing.simulate import CLOSED, OPAQUE, Request, Told, simulate
from mooring.routing.simulation.urls import request_of
from mooring.routing.table import Cluster, Endpoints, Members
from mooring.testing.certificates import self_signed

NOW = datetime(2026, 6, 1, tzinfo=UTC)
"""When scenarios happen: certificates expire before or after it."""
CLIENT = "127.0.0.1"
DEFAULT_CLASS: Document = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "IngressClass",
    "metadata": {"name": "mooring-envoy", "annotations": {"ingressclass.kubernetes.io/is-default-class": "true"}},
    "spec": {"controller": CONTROLLERS["mooring-envoy"]},
}
CLOSED_WORD = "closed"
_COMMENT = re.compile(r"(?:^|\s)#.*")
_HEADER = re.compile(r"\[([^\[\]:\s]+):\s*([^\]]*)\]")


class Expected(Struct, frozen=True):
    """What a line says after its colon; what it does not say may be anything. `services` as written."""

    status: int
    services: frozenset[str] = frozenset()
    location: str = ""
    path: str = ""
    host: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    sees: tuple[tuple[str, str], ...] = ()


class Ask(Struct, frozen=True):
    """One line of requests.txt. `line` is its text, used as the test's name."""

    line: str
    request: Request
    expected: Expected


class Lack(Struct, frozen=True):
    """One thing that a proxy cannot do, and the lines of requests.txt that it therefore answers otherwise."""

    proxy: str
    sentence: str
    lines: frozenset[str] = frozenset()


class Scenario(Struct, frozen=True):
    """A folder with requests.txt, decoded."""

    folder: Path
    class_name: str
    objects: Objects
    translation: Translation
    members: Members
    asks: tuple[Ask, ...]
    lacks: tuple[Lack, ...] = field(default=())

    @property
    def title(self) -> str:
        return f"{self.folder.parent.name}/{self.folder.name}"

    def title_of(self, cluster: Cluster) -> str:
        """In the words of requests.txt: `namespace/name:port`, or `host:port` of a fixed place."""
        where = cluster.where
        if not isinstance(where, Endpoints):
            return f"{where.host}:{where.port}"
        found = self.translation.sets.get(where.set)
        if found is None:
            return where.set
        service = self.objects.services.get((found.namespace, found.service))
        ports = service.spec.ports if service else None
        number = next((each.port for each in ports or () if (each.name or "") == found.port), 0)
        return f"{found.namespace}/{found.service}:{number}"


def find_requests(root: Path) -> list[Scenario]:
    """Every scenario under `root` that sends requests, by folder name."""
    return [read_requests(path.parent) for path in sorted(root.glob("*/*/requests.txt"))]


def read_requests(folder: Path) -> Scenario:
    """Raises ValueError naming the line that cannot be read, msgspec.ValidationError naming the field."""
    documents: list[Document] = [each for each in yaml.safe_load_all((folder / "input.yaml").read_text()) if each]
    if not any(each["kind"] == "IngressClass" for each in documents):
        documents.append(DEFAULT_CLASS)
    read = structs.replace(
        objects(documents), default_certificate=self_signed("default.invalid", source="the proxies themselves")
    )
    slices = [endpoint_slice(each) for each in documents if each["kind"] == "EndpointSlice"]
    class_name = _class_name(ingress_class(each) for each in documents if each["kind"] == "IngressClass")
    translation = build(read, class_name, NOW)
    asks = tuple(read_line(line) for line in _lines((folder / "requests.txt").read_text()))
    return Scenario(folder, class_name, read, translation, _members(translation, slices), asks, tuple(_lacks(folder, asks)))


def _members(translation: Translation, slices: Iterable[EndpointSlice]) -> Members:
    return members(translation.sets, slices)


def _class_name(classes: Iterable[IngressClass]) -> str:
    return next(each.metadata.name for each in classes if is_ours(each))


def read_line(line: str) -> Ask:
    """Raises ValueError."""
    asking, colon, answer = line.partition(" : ")
    if not colon:
        raise ValueError(f"no ` : ` in the request line {line!r}")
    try:
        return Ask(line, _request(asking), _expected(answer))
    except (ValueError, IndexError, StopIteration) as error:
        raise ValueError(f"not a request line: {line!r}: {error}") from error


def _request(text: str) -> Request:
    headers = [(found[1], found[2].strip()) for found in _HEADER.finditer(text)]
    method, url, *rest = shlex.split(_HEADER.sub(" ", text))
    fields: dict[str, Any] = {}
    words = iter(rest)
    for word in words:
        match word:
            case "from":
                fields["client"] = next(words)
            case "sni":
                fields["server_name"] = next(words)
            case "certificate":
                fields["certificate"] = True
            case _ if word.endswith(":"):
                headers.append((word[:-1], next(words)))
            case _:
                raise ValueError(f"what is {word!r}?")
    return request_of(method, url, headers, **fields)


def _expected(text: str) -> Expected:
    status, *rest = shlex.split(text)
    fields: dict[str, str] = {}
    services, lists = set(), {"header": list[tuple[str, str]](), "sees": list[tuple[str, str]]()}
    words = iter(rest)
    for word in words:
        name, equals, value = word.partition("=")
        if word in lists:
            header, equals, value = next(words).partition("=")
            if not equals:
                raise ValueError(f"{word} asks for NAME=VALUE, not {header!r}")
            lists[word].append((header.lower(), value))
        elif equals and name in ("location", "path", "host"):
            fields[name] = value
        elif re.fullmatch(r"\S+:\d+", word):
            services.add(word)
        elif word != "|":
            raise ValueError(f"what is {word!r}?")
    return Expected(
        CLOSED if status == CLOSED_WORD else int(status),
        frozenset(services),
        headers=tuple(lists["header"]),
        sees=tuple(lists["sees"]),
        **fields,
    )


class Answered(Struct, frozen=True):
    """What was answered, by the simulator or a proxy, in the words of requests.txt. Header names in lower case; `sees` None
    where no backend was reached."""

    status: int
    services: frozenset[str] = frozenset()
    location: str = ""
    path: str = ""
    host: str = ""
    headers: Mapping[str, str] = {}
    sees: Mapping[str, str] = {}


def simulated(scenario: Scenario, ask: Ask) -> Answered:
    return in_words(scenario, simulate(scenario.translation.table, ask.request, scenario.members))


def in_words(scenario: Scenario, told: Told) -> Answered:
    clusters = scenario.translation.table.clusters
    seen = told.seen
    return Answered(
        200 if told.status == OPAQUE else told.status,
        frozenset(scenario.title_of(clusters[each.cluster]) for each in told.shares if each.member),
        told.location,
        seen.path if seen else "",
        seen.host if seen else "",
        joined(told.headers),
        joined(seen.headers) if seen else {},
    )


def joined(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Values of the same name, joined as RFC 9110, 5.3 says."""
    found: dict[str, str] = {}
    for name, value in headers:
        found[name.lower()] = f"{found[name.lower()]}, {value}" if name.lower() in found else value
    return found


def compared(expected: Expected, answered: Answered) -> tuple[Expected, Expected]:
    """What was written, and the answer cut down to what was written of: equal when all is well."""
    return expected, Expected(
        answered.status,
        answered.services if expected.services else frozenset(),
        answered.location if expected.location else "",
        answered.path if expected.path else "",
        answered.host if expected.host else "",
        tuple((name, answered.headers.get(name, "")) for name, _ in expected.headers),
        tuple((name, answered.sees.get(name, "")) for name, _ in expected.sees),
    )


def _lines(text: str) -> Iterable[str]:
    lines = (_COMMENT.sub("", line).strip() for line in text.splitlines())
    return [line for line in lines if line]


def _lacks(folder: Path, asks: Iterable[Ask]) -> Iterable[Lack]:
    """Raises ValueError where a line is none of requests.txt's."""
    path = folder / "lacks.txt"
    known = {each.line for each in asks}
    for block in re.split(r"\n(?=\S)", path.read_text()) if path.exists() else ():
        head, *rest = [each.strip() for each in block.splitlines() if each.strip() and not each.startswith("#")] or [""]
        proxy, colon, sentence = head.partition(": ")
        if not head:
            continue
        if not colon or proxy not in ("envoy", "nginx") or not known.issuperset(rest):
            raise ValueError(f"not a lack, or of lines that are not asked: {block!r}")
        yield Lack(proxy, sentence, frozenset(rest))
