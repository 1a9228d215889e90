"""Does an entry of ours name an address? Lines like those of /etc/hosts: names to addresses, and back.

CoreDNS: plugin hosts with inline entries and fallthrough: a name that no line has goes on. A name that a line has is answered
here for all types, so that the other family of it is not asked for elsewhere.
"""

from collections import defaultdict
from collections.abc import Iterable
from ipaddress import ip_address

from mooring.dns.chain import Context, Next, Steps
from mooring.dns.names import BadName, Name, from_text
from mooring.dns.records import Query, Rcode, Record, Reply, Type, address

TTL = 3600
"""Seconds; CoreDNS's."""


class Hosts:
    """`entries`: (canonical address, its names); of the names the first is told for the address."""

    name = "hosts"

    def __init__(self, entries: Iterable[tuple[str, tuple[Name, ...]]], ttl: int = TTL) -> None:
        self._ttl = ttl
        self._addresses: defaultdict[Name, list[str]] = defaultdict(list)
        self._names: defaultdict[Name, list[Name]] = defaultdict(list)
        for text, names in entries:
            for name in names:
                if text not in self._addresses[name.lower()]:
                    self._addresses[name.lower()].append(text)
            self._names[from_text(ip_address(text).reverse_pointer)] += names[:1]

    def handle(self, query: Query, context: Context, following: Next) -> Steps:
        asked, kind = query.question.name, query.question.type
        addresses, names = self._addresses.get(asked.lower()), self._names.get(asked.lower())
        if addresses is None and names is None:
            return (yield from following(query, context))
        records = [address(asked, self._ttl, text) for text in addresses or ()]
        records += [Record(asked, Type.PTR, self._ttl, name) for name in names or ()]
        context.note(self.name, "answered", "a line of hosts")
        return Reply(Rcode.NOERROR, tuple(each for each in records if each.type == kind), authoritative=True)


def read(line: str) -> tuple[str, tuple[Name, ...]]:
    """'10.0.0.1 db.example db', a comment after '#' aside. Raises ValueError."""
    text, *names = line.partition("#")[0].split()
    if not names:
        raise ValueError(f"{line!r}: an address and its names are expected")
    try:
        return str(ip_address(text)), tuple(from_text(name) for name in names)
    except BadName as error:
        raise ValueError(f"{line!r}: {error}") from error
