"""Is another question meant than the one asked? Rules change its name or type; the reply is again for the name that was asked.

CoreDNS: plugin rewrite, `name exact|prefix|suffix|substring|regex` and `type`, of which the first rule that fits is the last
(`stop`). Names of aliases on the way, and names inside data, stay as they are.
"""

import re
from collections.abc import Sequence
from enum import Enum

from msgspec import Struct
from msgspec.structs import replace

from mooring.dns.chain import Context, Next, Steps
from mooring.dns.names import BadName, Name, from_text, to_text
from mooring.dns.records import Query, Rcode, Record, Reply

REGEX_LIMIT = 255
TEXT_LIMIT = 253
"""Letters; a longer text is a name with escapes, which no pattern is meant for."""
WAYS = TEXT_LIMIT**3
"""To try a pattern on a name, at most: some 20 ms. An unbounded repeat and any start count 253, a bounded one its span, | 3."""
_REPEATED_GROUP = re.compile(r"\)[*+?{]")
_ESCAPED_OR_SET = re.compile(r"\\.|\[\^?\]?(?:\\.|[^]\\])*\]")
_GROUP = re.compile(r"\([^()]*\)")
_REPEAT = re.compile(r"(?:([*+?])|\{(\d*)(,?)(\d*)\})[?+]?")
_BACK_REFERENCE = re.compile(r"\\[1-9]|\(\?P=")
_VERBOSE = re.compile(r"\(\?[a-zA-Z-]*x")
"""Where spaces mean nothing, a group may be repeated behind one."""
_PLACE = re.compile(r"\{(\d)\}")


class Match(Enum):
    EXACT = "exact"
    PREFIX = "prefix"
    SUFFIX = "suffix"
    SUBSTRING = "substring"
    REGEX = "regex"
    TYPE = "type"


class Rule(Struct, frozen=True):
    """Texts are names in lower case without their final dots; of REGEX `to` may hold {1} to {9}, what a group found.

    Of TYPE they are numbers of types, as text.
    """

    match: Match
    wanted: str
    to: str

    def rewritten(self, name: str) -> str | None:
        """None when the rule does not fit."""
        match self.match:
            case Match.EXACT:
                return self.to if name == self.wanted else None
            case Match.PREFIX:
                return self.to + name[len(self.wanted) :] if name.startswith(self.wanted) else None
            case Match.SUFFIX:
                return name[: len(name) - len(self.wanted)] + self.to if name.endswith(self.wanted) else None
            case Match.SUBSTRING:
                return name.replace(self.wanted, self.to) if self.wanted in name else None
            case Match.REGEX:
                found = re.search(self.wanted, name) if len(name) <= TEXT_LIMIT else None
                return None if found is None else _PLACE.sub(lambda place: found[int(place[1])] or "", self.to)
            case Match.TYPE:
                return None


def check_regex(pattern: str, to: str) -> None:
    """Raises ValueError for a pattern that is none, or that some name could keep busy for long."""
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{pattern!r} is no regular expression: {error}") from error
    bare = _ESCAPED_OR_SET.sub("x", pattern).replace("(?", "(")
    if len(pattern) > REGEX_LIMIT or _ways(bare) > WAYS:
        raise ValueError(f"{pattern!r}: at most {REGEX_LIMIT} characters, and two unbounded repeats, or three behind a ^")
    if _REPEATED_GROUP.search(bare) or _BACK_REFERENCE.search(pattern) or _VERBOSE.search(pattern):
        raise ValueError(f"{pattern!r}: no repeated groups, no references to groups and no verbose form")
    if any(int(place) > compiled.groups for place in _PLACE.findall(to)):
        raise ValueError(f"{to!r}: {pattern!r} has {compiled.groups} groups")


def _ways(bare: str) -> int:
    outside = bare
    while _GROUP.search(outside):
        outside = _GROUP.sub("x", outside)
    ways = 1 if bare.startswith("^") and "|" not in outside else TEXT_LIMIT
    for _ in range(bare.count("|")):
        ways *= 3
    for sign, least, comma, most in _REPEAT.findall(bare):
        if sign == "?":
            ways *= 3
        elif sign or (comma and not most):
            ways *= TEXT_LIMIT
        elif comma:
            ways *= int(most) - int(least or 0) + 2
    return ways


class Rewrite:
    name = "rewrite"

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = tuple(rules)

    def handle(self, query: Query, context: Context, following: Next) -> Steps:
        question = query.question
        text = to_text(question.name.lower())
        for rule in self._rules:
            if rule.match is Match.TYPE:
                if str(question.type) == rule.wanted:
                    context.note(self.name, "another type", f"{rule.wanted} to {rule.to}")
                    return (yield from following(replace(query, question=replace(question, type=int(rule.to))), context))
                continue
            changed = rule.rewritten(text)
            if changed is not None:
                return (yield from self._with_name(changed, query, context, following))
        return (yield from following(query, context))

    def _with_name(self, text: str, query: Query, context: Context, following: Next) -> Steps:
        asked = query.question.name
        try:
            name = from_text(text)
        except BadName as error:
            context.note(self.name, "failed", f"{text!r}: {error}")
            return Reply(Rcode.SERVFAIL)
        context.note(self.name, "another name", f"{to_text(asked)} to {text}")
        reply = yield from following(replace(query, question=replace(query.question, name=name)), context)
        return replace(reply, answer=tuple(_back(each, name, asked) for each in reply.answer), authentic_data=False)


def _back(record: Record, name: Name, asked: Name) -> Record:
    return replace(record, name=asked) if record.name.lower() == name.lower() else record
