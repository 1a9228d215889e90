"""Has this question been answered lately? Keeps other servers' answers for as long as they say, within bounds.

CoreDNS: plugin cache; its numbers. Stale answers by RFC 8767: when there is no new one within 1.8 s, the old one is given for
another 30 s, up to an hour after its end; then the next try is due. Negative answers by RFC 2308.
"""

from collections import Counter, OrderedDict
from collections.abc import Hashable

from msgspec import Struct
from msgspec.structs import replace

from mooring.dns.chain import Context, Next, Steps, beside
from mooring.dns.records import Edns, Query, Rcode, Record, Reply, Type

STALE_TTL = 30
"""Seconds for which a stale answer may be kept by who gets it, and until the next try (RFC 8767 section 5)."""
STALE_PATIENCE = 1.8
"""Seconds after which a stale answer is better than none yet (RFC 8767 section 5)."""
PREFETCH_SHARE = 0.1
"""Of its life: a popular answer is asked for anew when less than that is left."""
ENTRY_OVERHEAD = 400
"""Octets, about, that an entry costs beyond its records' data."""
_OUR_PAYLOAD = 1232
_ANSWERED = (Rcode.NOERROR, Rcode.NXDOMAIN)


class CacheOptions(Struct, frozen=True, rename="kebab"):
    """Seconds, but for: `capacity` entries of each kind, `octets` of each kind, `prefetch` hits that make an answer popular (0:
    never prefetch).
    """

    success: int = 3600
    denial: int = 1800
    least: int = 5
    failure: int = 5
    serve_stale: int = 3600
    prefetch: int = 2
    capacity: int = 9984
    octets: int = 32 << 20


class Entry(Struct):
    """`reply` as it came at `stored`; good for `life` seconds. `hits` since then; `retry`: not to be asked for before."""

    reply: Reply
    stored: float
    life: int
    size: int
    hits: int = 0
    retry: float = 0.0

    def left(self, now: float) -> float:
        return self.stored + self.life - now


class Shelf:
    """Entries of one kind; the one that was used longest ago goes first when there is no room."""

    def __init__(self, capacity: int, octets: int) -> None:
        self._entries: OrderedDict[Hashable, Entry] = OrderedDict()
        self._capacity, self._octets = capacity, octets
        self.used = 0
        """Octets."""
        self.evicted = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Hashable) -> Entry | None:
        entry = self._entries.get(key)
        if entry is not None:
            self._entries.move_to_end(key)
        return entry

    def put(self, key: Hashable, entry: Entry) -> None:
        self.drop(key)
        self._entries[key] = entry
        self.used += entry.size
        while len(self._entries) > self._capacity or self.used > self._octets:
            _, oldest = self._entries.popitem(last=False)
            self.used -= oldest.size
            self.evicted += 1

    def drop(self, key: Hashable) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.used -= entry.size


class Cache:
    """`counts` are of CoreDNS's metrics: hits by kind, misses, prefetch, served_stale."""

    name = "cache"

    def __init__(self, options: CacheOptions = CacheOptions()) -> None:  # noqa: B008 - frozen
        self.options = options
        self.success = Shelf(options.capacity, options.octets)
        self.denial = Shelf(options.capacity, options.octets)
        self.counts: Counter[str] = Counter()

    def handle(self, query: Query, context: Context, following: Next) -> Steps:
        key, now = _key(query), context.now
        entry = self._find(key, now)
        if entry is None:
            self.counts["misses"] += 1
            return (yield from self._ask(key, query, context, following))
        kind = "success" if _is_success(entry.reply) else "denial"
        if entry.left(now) > 0:
            entry.hits += 1
            self.counts[f"hits_{kind}"] += 1
            context.note(self.name, "hit", f"{kind}, {int(entry.left(now))} s left of {entry.life}")
            if self._is_due(entry, now):
                entry.hits = 0
                self.counts["prefetch"] += 1
                later = context.beside()
                yield from beside(self._ask(key, query, later, following), later, ("prefetch", key), 0)
            return _aged(entry, int(max(1, entry.left(now))))
        return (yield from self._rather_stale(key, entry, query, context, following))

    def _find(self, key: Hashable, now: float) -> Entry | None:
        """What is good, else what is stale but not too old; a stale failure is nothing."""
        found = [entry for entry in (self.success.get(key), self.denial.get(key)) if entry is not None]
        good = [entry for entry in found if entry.left(now) > 0]
        if good:
            return max(good, key=lambda each: each.stored)
        stale = [each for each in found if each.reply.rcode in _ANSWERED and each.left(now) > -self.options.serve_stale]
        return max(stale, key=lambda each: each.stored) if stale else None

    def _is_due(self, entry: Entry, now: float) -> bool:
        popular = 0 < self.options.prefetch <= entry.hits
        return popular and entry.left(now) <= max(1.0, entry.life * PREFETCH_SHARE) and entry.reply.rcode in _ANSWERED

    def _rather_stale(self, key: Hashable, entry: Entry, query: Query, context: Context, following: Next) -> Steps:
        if context.now >= entry.retry:
            later = context.beside()
            reply = yield from beside(self._ask(key, query, later, following), later, ("refresh", key), STALE_PATIENCE)
            if reply is not None and reply.rcode in _ANSWERED:
                context.note(self.name, "asked anew", "what was kept was no longer good")
                context.notes += later.notes
                return reply
            entry.retry = context.now + STALE_TTL
        self.counts["served_stale"] += 1
        context.note(self.name, "served stale", f"{int(-entry.left(context.now))} s after its end: nobody answers now")
        return _aged(entry, STALE_TTL)

    def _ask(self, key: Hashable, query: Query, context: Context, following: Next) -> Steps:
        context.note(self.name, "miss")
        reply = yield from following(_normal(query), context)
        life = self._life(reply)
        if life > 0:
            self._put(key, Entry(reply, context.now, life, _size(reply)), context.now)
        return reply

    def _put(self, key: Hashable, entry: Entry, now: float) -> None:
        """A failure never takes the place of an answer that may still be served stale."""
        if _is_success(entry.reply):
            self.denial.drop(key)
            self.success.put(key, entry)
            return
        if entry.reply.rcode == Rcode.NXDOMAIN or entry.reply.rcode == Rcode.NOERROR:
            self.success.drop(key)
        elif self._find(key, now) is not None:
            return
        self.denial.put(key, entry)

    def _life(self, reply: Reply) -> int:
        """Seconds to keep a reply, 0 for not at all: what is cut off, a referral, or a refusal."""
        options = self.options
        if reply.truncated or reply.authoritative:
            return 0
        if reply.rcode in (Rcode.SERVFAIL, Rcode.NOTIMP):
            return options.failure
        if reply.rcode not in _ANSWERED:
            return 0
        marks = [min(each.ttl, int.from_bytes(each.data[-4:], "big")) for each in reply.authority if each.type == Type.SOA]
        marks += [each.ttl for each in reply.answer]
        if _is_success(reply):
            return _between(options.least, min(marks), options.success)
        if not marks and any(each.type == Type.NS for each in reply.authority):
            return 0
        return _between(options.least, min(marks, default=0), options.denial)


def _between(least: int, value: int, most: int) -> int:
    return max(min(value, most), min(least, most))


def _key(query: Query) -> Hashable:
    question = query.question
    dnssec = query.edns is not None and query.edns.dnssec_ok
    return question.name.lower(), question.type, question.klass, dnssec, query.checking_disabled


def _normal(query: Query) -> Query:
    """As the answer serves everyone: of the client nothing but DO and CD goes on, and how it came."""
    dnssec = query.edns is not None and query.edns.dnssec_ok
    return replace(query, edns=Edns(_OUR_PAYLOAD, 0, dnssec), recursion_desired=True, authentic_data=True)


def _is_success(reply: Reply) -> bool:
    return reply.rcode == Rcode.NOERROR and bool(reply.answer)


def _size(reply: Reply) -> int:
    records = (*reply.answer, *reply.authority, *reply.additional)
    return ENTRY_OVERHEAD + sum(len(each.name) + len(each.data) + 150 for each in records)


def _aged(entry: Entry, ttl: int) -> Reply:
    """Every record with the seconds that are left of the whole: none of them promises more."""

    def aged(records: tuple[Record, ...]) -> tuple[Record, ...]:
        return tuple(Record(each.name, each.type, ttl, each.data) for each in records)

    reply = entry.reply
    return replace(reply, answer=aged(reply.answer), authority=aged(reply.authority), additional=aged(reply.additional))
