"""What did the client send? Bytes to a document, as strictly as `fieldValidation` asks.

JSON is parsed once by msgspec; duplicate keys need a second look, taken only when the size of the re-encoded document shows
that something may have been lost.
"""

import codecs
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Container, Hashable, Iterator, Sequence
from itertools import islice
from typing import Any

import msgspec
import yaml
from msgspec import Struct

from mooring.apiserver import protobuf
from mooring.apiserver.errors import StatusError, bad_request, quote, too_large
from mooring.apiserver.negotiate import JSON, PROTOBUF, YAML, body_media
from mooring.apiserver.shape import Shape
from mooring.model import codec
from mooring.model.kinds import Kind

Document = dict[str, Any]

MAX_DEPTH = 256
"""Upstream's decoder stops at 10,000 levels; no API type nests deeper than some 30."""

MAX_YAML = 100_000
"""Keys and values of a body in YAML, which takes a hundred times longer to read than JSON."""

MAX_VALUES = 100_000
"""Members and items of a body. Each costs some microseconds until it is stored, whatever its size: an object that upstream's
storage takes, of 1.5 MiB, would have one in every 16 bytes."""

MAX_DIRECTIVES = 100
"""Lines of a body in YAML that begin with %: libyaml compares the name of each with all those that came."""

MAX_WALKED = 16 * 1024 * 1024
"""Characters of paths looked at to tell complaints in the order of the document."""

MAX_COMPLAINTS = 100
"""As upstream's decoder, which counts no further."""

MISMATCH = '{kind} in version "{version}" cannot be handled as a {expected}: {why}'


class Received(Struct, frozen=True):
    """A decoded body and what a strict reader would complain about (already refused when the client asked for Strict)."""

    document: Document
    warnings: tuple[str, ...] = ()


def receive(data: bytes, content_type: str, kind: Kind, shape: Shape, validation: str) -> Received:
    """A request body as a document of `kind`, null fields removed. `validation` is Ignore, Warn or Strict.

    Raises StatusError 400, 415.
    """
    media = body_media(content_type)
    document, duplicates = parse(data, media, kind.kind, find_duplicates=validation != "Ignore")
    if not isinstance(document, dict):
        raise _unrecognized(kind.kind, data, f"json: cannot unmarshal {json_word(document)} into Go value of type v1.TypeMeta")
    check_type(document, kind)
    as_sent = shape.patch_meta is not None and media == JSON
    return checked(document, kind, shape, validation, duplicates, lambda why: bad_request(mismatch(kind, why)), as_sent)


def mismatch(kind: Kind, why: str) -> str:
    return MISMATCH.format(kind=kind.kind, version=kind.version, expected=kind.kind, why=why)


def checked(
    document: Document,
    kind: Kind,
    shape: Shape,
    validation: str,
    duplicates: tuple[str, ...],
    refusal: Callable[[str], StatusError],
    as_sent: bool = False,
) -> Received:
    """Checks the structure and drops unknown fields. `refusal` words what is wrong. Raises StatusError.

    `as_sent`: JSON that upstream decodes straight into a type, so that it tells of fields in the order of the document.
    """
    try:
        structure = shape.check(document)
    except RecursionError:
        raise bad_request("exceeded max depth") from None
    if structure.type_errors:
        raise refusal(structure.type_errors[0])
    if not isinstance(document.setdefault("metadata", {}), dict):
        raise refusal("json: cannot unmarshal metadata into Go value of type v1.ObjectMeta")
    unknown = structure.unknown_fields
    found = () if validation == "Ignore" or not (unknown or duplicates) else _told(document, unknown, duplicates, as_sent)
    if found and validation == "Strict":
        raise refusal(f"strict decoding error: {', '.join(_strictly(found))}")
    if unknown:
        shape.drop_unknown(document)
    return Received(document, found)


def _told(document: Document, unknown: Sequence[str], duplicates: Sequence[str], as_sent: bool) -> tuple[str, ...]:
    texts = {field: f"unknown field {quote(field)}" for field in unknown[:MAX_COMPLAINTS]}
    if not as_sent:
        return (*duplicates[:MAX_COMPLAINTS], *(texts[field] for field in sorted(texts)))
    if not duplicates:
        return tuple(texts.values())
    repeated, found, left = set(duplicates[:MAX_COMPLAINTS]), [], MAX_WALKED
    for path in _paths(document, texts):
        left -= len(path)
        if left < 0:
            return (*duplicates[:MAX_COMPLAINTS], *texts.values())
        text = texts.get(path, f"duplicate field {quote(path)}")
        if path in texts or text in repeated:
            found.append(text)
    return tuple(found)


def _paths(value: Any, ends: Container[str], path: str = "") -> Iterator[str]:
    """Of every field, as complaints name it, in the order of the document; of none below `ends`."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _paths(item, ends, f"{path}[{index}]")
    elif isinstance(value, dict):
        for name, item in value.items():
            below = f"{path}.{name}" if path else name
            yield below
            if below not in ends:
                yield from _paths(item, ends, below)


def _strictly(found: Sequence[str]) -> list[str]:
    """As strict decoding tells of it: what YAML complains of is one error."""
    lines = [text for text in found if text.startswith("line ")]
    return [*([yaml_errors(lines)] if lines else []), *(text for text in found if text not in lines)]


def yaml_errors(lines: Sequence[str]) -> str:
    return "\n  ".join(("yaml: unmarshal errors:", *lines))


def check_type(document: Document, kind: Kind) -> None:
    """The body's kind and apiVersion, filled in when absent, must be those of the URL. Raises StatusError 400."""
    api_version, name = document.get("apiVersion"), document.get("kind")
    if name == kind.kind and api_version == kind.api_version:
        return
    if api_version is None and name is None:
        document["apiVersion"], document["kind"] = kind.api_version, kind.kind
        return
    if not isinstance(api_version, str | None) or not isinstance(name, str | None):
        raise bad_request(
            f"couldn't get version/kind; json parse error: kind and apiVersion must be strings (must be of type {kind.kind})"
        )
    api_version, name = api_version or kind.api_version, name or kind.kind
    if name != kind.kind:
        version = api_version.rpartition("/")[2]
        why = f"converting ({version}.{name}) to ({kind.version}.{kind.kind}): unknown conversion"
        raise bad_request(MISMATCH.format(kind=name, version=version, expected=kind.kind, why=why))
    if api_version != kind.api_version:
        raise bad_request(
            f"the API version in the data ({api_version}) does not match the expected API version ({kind.api_version})"
        )
    document["apiVersion"], document["kind"] = kind.api_version, kind.kind


def parse(data: bytes, media: str, expected: str, *, find_duplicates: bool = False) -> tuple[Any, tuple[str, ...]]:
    """Bytes to plain values, and complaints about repeated keys. Raises StatusError 400 with the first bytes in hex."""
    try:
        if media == PROTOBUF:
            return protobuf.document(data), ()
        value, duplicates = _yaml(data) if media == YAML else _json(data, find_duplicates)
    except RecursionError:
        raise bad_request("exceeded max depth") from None
    except (msgspec.DecodeError, yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        what = {YAML: "yaml", PROTOBUF: "protobuf"}.get(media, "json")
        raise _unrecognized(expected, data, f"couldn't get version/kind; {what} parse error: {error}") from None
    return value, duplicates


def _unrecognized(expected: str, data: bytes, why: str) -> StatusError:
    shown = data[:30].hex() + (" ..." if len(data) > 30 else "")
    return bad_request(f"the object provided is unrecognized (must be of type {expected}): {why} ({shown})")


def json_word(value: Any) -> str:
    if isinstance(value, list):
        return "array"
    return {str: "string", bool: "bool", type(None): "null"}.get(type(value), "number")


def check_depth(value: Any, data: bytes) -> None:
    """Refuses what nests too deep or holds too much, and YAML aliases that unfold to far more than was sent.

    Raises StatusError 400, 413.
    """
    shallow = _few(data, b"{") and _few(data, b"[") and _few(data, b"\n") and b"*" not in data
    if shallow and (len(data) < MAX_VALUES or data.count(b",") < MAX_VALUES - MAX_DEPTH):
        return
    budget, left = 10 * len(data) + 1000, MAX_VALUES
    stack = [(value, 1)]
    while stack:
        current, depth = stack.pop()
        if depth > MAX_DEPTH:
            raise bad_request("exceeded max depth")
        children = list(current.values()) if isinstance(current, dict) else current if isinstance(current, list) else ()
        budget -= len(children)
        if budget < 0:
            raise bad_request("yaml: document contains excessive aliasing")
        left -= len(children)
        if left < 0:
            raise too_large(f"limit is {MAX_VALUES} members and items")
        stack += [(child, depth + 1) for child in children if isinstance(child, (dict, list))]


def _few(data: bytes, letter: bytes) -> bool:
    """Whether it is there so seldom that two such letters together cannot nest too deep. Looks no further than it must."""
    position = -1
    for _ in range(MAX_DEPTH // 2 + 1):
        position = data.find(letter, position + 1)
        if position < 0:
            return True
    return False


class _Repeating(dict[str, Any]):
    """An object in which keys were repeated; the last value stands, as in upstream's decoder."""

    repeated: frozenset[str] = frozenset()


def _object(pairs: list[tuple[str, Any]]) -> Document:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    marked = _Repeating(found)
    times = Counter(name for name, _ in pairs)
    marked.repeated = frozenset(name for name in found if times[name] > 1)
    return marked


def _complaints(value: Any, path: list[str]) -> Iterator[str]:
    """'duplicate field "spec.ports[0].port"' for every repeated key below. `path` is joined for the few places told of."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            path.append(f"[{index}]")
            yield from _complaints(item, path)
            path.pop()
    elif isinstance(value, dict):
        repeated = value.repeated if isinstance(value, _Repeating) else ()
        for name, item in value.items():
            path.append(f".{name}" if path else name)
            if name in repeated:
                yield f"duplicate field {quote(''.join(path))}"
            yield from _complaints(item, path)
            path.pop()


def _json(data: bytes, find_duplicates: bool) -> tuple[Any, tuple[str, ...]]:
    value = codec.decode(data)
    check_depth(value, data)
    if not find_duplicates or len(codec.encode(value)) in (len(data), len(msgspec.json.format(data, indent=-1))):
        return value, ()
    marked: list[Document] = []

    def noting(pairs: list[tuple[str, Any]]) -> Document:
        found = _object(pairs)
        if len(found) < len(pairs):
            marked.append(found)
        return found

    again = json.loads(data, object_pairs_hook=noting)
    return value, tuple(islice(_complaints(again, []), MAX_COMPLAINTS)) if marked else ()


class _Loader(yaml.CSafeLoader):
    """JSON's types only: no timestamps (they stay strings), and string keys."""

    repeated: set[tuple[int, str]]
    """The lines of keys that were there before."""
    flattened: int
    """Keys and values of all mappings, those merged into them (<<) counted again."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        super().flatten_mapping(node)
        self.flattened += len(node.value)
        if self.flattened > MAX_YAML:
            raise bad_request("yaml: document contains excessive aliasing")


_FLOAT, _INT, _TIMESTAMP = (f"tag:yaml.org,2002:{kind}" for kind in ("float", "int", "timestamp"))
_PATTERNS = {
    _FLOAT: re.compile(
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$|[-+]?\.(?:inf|Inf|INF)$|\.(?:nan|NaN|NAN)$"
    ),
    _INT: re.compile(r"[-+]?(?:0b[01_]+|0[0-7_]+|0|[1-9][0-9_]*|0x[0-9a-fA-F_]+)$"),
}
"""As Go reads them: 12:30 is a text, though YAML has numbers to the base of 60."""
_Loader.yaml_implicit_resolvers = {
    first: sorted(
        [(tag, _PATTERNS.get(tag, pattern)) for tag, pattern in resolvers if tag != _TIMESTAMP],
        key=lambda resolver: resolver[0] == _FLOAT,  # whole numbers are no floats
    )
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


def _float(loader: _Loader, node: yaml.ScalarNode) -> float:
    value: float = loader.construct_yaml_float(node)
    if not math.isfinite(value):
        raise yaml.YAMLError(f"json: unsupported value: {node.value}")
    return value


_Loader.add_constructor(_FLOAT, _float)


def _mapping(loader: _Loader, node: yaml.MappingNode) -> Document:
    own = {id(key_node) for key_node, _ in node.value}  # what is merged in may be overridden
    loader.flatten_mapping(node)
    found: Document = {}
    seen: set[str] = set()
    for key_node, value_node in node.value:
        key: Hashable = loader.construct_object(key_node, deep=True)
        name = key if isinstance(key, str) else json.dumps(key)
        if id(key_node) in own:
            if name in seen:
                loader.repeated.add((key_node.start_mark.line + 1, name))
            seen.add(name)
        found[name] = loader.construct_object(value_node, deep=True)
    return found


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


def _yaml(data: bytes) -> tuple[Any, tuple[str, ...]]:
    _check_yaml(data)
    loader = _Loader(data)
    loader.repeated, loader.flattened = set(), 0
    try:
        value = loader.get_single_data()
    finally:
        loader.dispose()
    check_depth(value, data)
    return value, tuple(f"line {line}: key {quote(name)} already set in map" for line, name in sorted(loader.repeated))


_DIRECTIVE = re.compile(rb"(?:^|[\n\r]|\xc2\x85|\xe2\x80[\xa8\xa9])%(?:TAG|YAML)[ \t]")


def _check_yaml(data: bytes) -> None:
    """Before composing: libyaml's binding recurses in C without a limit, and dies of it; and each value costs much."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise yaml.YAMLError("the text must be UTF-8")
    if sum(1 for _ in islice(_DIRECTIVE.finditer(data), MAX_DIRECTIVES + 1)) > MAX_DIRECTIVES:
        raise too_large(f"limit of YAML is {MAX_DIRECTIVES} directives")
    depth = 0
    for count, event in enumerate(yaml.parse(data, Loader=yaml.CSafeLoader)):
        if count > MAX_YAML:
            raise too_large(f"limit of YAML is {MAX_YAML} keys and values, use JSON")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise bad_request("exceeded max depth")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
