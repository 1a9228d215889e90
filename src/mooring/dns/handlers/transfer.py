"""Is a whole zone asked for? Who may have it gets it before the chain (edges/dns/transfers.py); what comes here is refused.

CoreDNS: plugin transfer.
"""

from mooring.dns.chain import Context, Next, Steps
from mooring.dns.records import Query, Rcode, Reply, Type


class Transfer:
    name = "transfer"

    def handle(self, query: Query, context: Context, following: Next) -> Steps:
        if query.question.type in (Type.AXFR, Type.IXFR):
            context.note(self.name, "refused", "transfer.to lists nobody, or this server hands no zones over")
            return Reply(Rcode.REFUSED)
        return (yield from following(query, context))
