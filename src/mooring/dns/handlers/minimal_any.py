"""What is said to a question for every type? That it is not answered: one HINFO record (RFC 8482 section 4.2).

CoreDNS: plugin any, with the same TTL and other words; these are the RFC's.
"""

from mooring.dns.chain import Context, Next, Steps
from mooring.dns.records import Class, Query, Rcode, Record, Reply, Type

TTL = 8482
_DATA = b"\7RFC8482\0"


class MinimalAny:
    name = "any"

    def handle(self, query: Query, context: Context, following: Next) -> Steps:
        question = query.question
        if question.type == Type.ANY and question.klass == Class.IN:
            context.note(self.name, "answered with HINFO", "RFC 8482")
            return Reply(Rcode.NOERROR, (Record(question.name, Type.HINFO, TTL, _DATA),))
        return (yield from following(query, context))
