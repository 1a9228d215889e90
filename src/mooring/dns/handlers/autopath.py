"""Is this the first of the names that a pod's resolver will try? Then all of them are tried here, in one round trip.

CoreDNS: plugin autopath @kubernetes. A pod asks for host.<its namespace>.svc.<domain> first. The first name of its search path,
the bare one last, that exists is answered, with an alias from the name that was asked. The Zone's `pods` say in which namespace
a client is; CoreDNS needs `pods verified` for that, here they are followed for it alone.
"""

from collections.abc import Callable, Sequence

from msgspec.structs import replace

from mooring.dns.chain import Context, Next, Steps
from mooring.dns.names import NAME_LIMIT, ROOT, Name, below, from_text, to_text
from mooring.dns.records import Query, Rcode, Record, Reply, Type
from mooring.dns.zone import Zone


class Autopath:
    """`search`: the domains that pods have after the cluster's own three, from the node's resolv.conf."""

    name = "autopath"

    def __init__(self, zone: Callable[[], Zone], search: Sequence[Name] = ()) -> None:
        self._zone, self._search = zone, tuple(search)

    def handle(self, query: Query, context: Context, following: Next) -> Steps:
        path = () if context.followed else self._path(query)  # an alias's target is a whole name
        asked = query.question.name
        host = asked[: len(asked) - len(path[0])] if path and below(asked.lower(), path[0].lower()) else b""
        if not host:
            return (yield from following(query, context))
        first: Reply | None = None
        for domain in (*path, ROOT):
            if len(host) + len(domain) > NAME_LIMIT:
                continue
            tried = host + domain
            reply = yield from following(replace(query, question=replace(query.question, name=tried)), context)
            if reply.rcode != Rcode.NXDOMAIN:
                context.note(self.name, "answered", f"{to_text(tried)} for {to_text(asked)}")
                return _from(asked, tried, reply)
            first = first or reply
        assert first is not None
        return first

    def _path(self, query: Query) -> tuple[Name, ...]:
        """The search path of the pod that asks, none for anybody else, and for other types than addresses."""
        if query.question.type not in (Type.A, Type.AAAA) or not query.client:
            return ()
        zone = self._zone()
        spaces = [namespace for namespace, addresses in zone.pods.items() if query.client in addresses]
        if len(spaces) != 1:  # the node's own address is that of pods of several Namespaces
            return ()
        domain = zone.options.domain
        own = (f"{spaces[0]}.svc.{domain}", f"svc.{domain}", domain)
        return (*map(from_text, own), *self._search)


def _from(asked: Name, tried: Name, reply: Reply) -> Reply:
    if tried == asked or not reply.answer:
        return reply
    alias = Record(asked, Type.CNAME, reply.answer[0].ttl, tried)
    return replace(reply, answer=(alias, *reply.answer), authentic_data=False)
