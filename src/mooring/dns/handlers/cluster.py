"""What does the cluster say itself? Answers for names of its zones; the target of an ExternalName is asked for as well.

CoreDNS: plugins kubernetes and k8s_external. The alias stands first, then what the whole chain says of its target, which may be
another name of the cluster. As in CoreDNS a target that cannot be resolved leaves the alias alone with NOERROR, and TC is
passed on. What differs: so it does when the target is a name of the cluster or when aliases go in circles, and types other than
A and AAAA follow the alias too, as RFC 1034 section 4.3.2 has it.
"""

from collections.abc import Callable

from msgspec.structs import replace

from mooring.dns.answer import Found, Reason, answer
from mooring.dns.chain import Context, Next, Steps
from mooring.dns.names import Name, to_text
from mooring.dns.records import Query, Rcode
from mooring.dns.zone import Zone

ALIASES = 8
"""Steps of a chain of aliases; CoreDNS's bound."""


class Cluster:
    """`zone` is asked for with each question: answers are never older than it."""

    name = "cluster"

    def __init__(self, zone: Callable[[], Zone]) -> None:
        self._zone = zone

    def handle(self, query: Query, context: Context, following: Next) -> Steps:
        found = answer(self._zone(), query.question)
        if found.reason is Reason.ELSEWHERE:
            return (yield from following(query, context))
        because = f"{found.owner}: {found.reason.value}" if found.owner is not None else found.reason.value
        context.note(self.name, _decision(found), because)
        if found.alias is None or context.whole is None:
            return found.reply
        return (yield from self._followed(query, found, found.alias, context, context.whole))

    def _followed(self, query: Query, found: Found, target: Name, context: Context, whole: Next) -> Steps:
        before = context.followed
        context.followed = (*before, query.question.name.lower())
        if target.lower() in context.followed or len(context.followed) > ALIASES:
            context.note(self.name, "alias not followed", f"to {to_text(target)}: a circle, or more than {ALIASES} aliases")
            return found.reply
        try:
            further = yield from whole(replace(query, question=replace(query.question, name=target)), context)
        finally:
            context.followed = before
        if further.rcode != Rcode.NOERROR:
            context.note(self.name, "alias alone", f"{to_text(target)} cannot be resolved")
            return found.reply
        return replace(found.reply, answer=(*found.reply.answer, *further.answer), truncated=further.truncated)


def _decision(found: Found) -> str:
    if found.alias is not None:
        return "alias"
    if found.reply.rcode == Rcode.NOERROR:
        return "answered" if found.reply.answer else "no data"
    return "no such name" if found.reply.rcode == Rcode.NXDOMAIN else "failed"
