"""Do forwarded questions come back to us? A question for a name that nobody can know is sent out; if it comes in, they do.

CoreDNS: plugin loop, which ends the server then. Here forwarding alone ends, with SERVFAIL, until a later probe stays away:
names of the cluster are still answered.
"""

from mooring.alloc.rng import Rng
from mooring.dns.chain import Context, Next, Steps
from mooring.dns.names import NAME_LIMIT, ROOT, Name
from mooring.dns.records import Query, Question, Rcode, Reply, Type


class Loop:
    """`looping` is what the last probe found."""

    name = "loop"

    def __init__(self, rng: Rng) -> None:
        self.looping = False
        self._rng = rng
        self._probe: Name = b""
        self._seen = False

    def handle(self, query: Query, context: Context, following: Next) -> Steps:
        if query.question.name.lower() == self._probe:
            self._seen = True
            context.note(self.name, "refused", "the probe came back: upstream forwards to us")
            return Reply(Rcode.REFUSED)
        if self.looping:
            context.note(self.name, "failed", "nothing is forwarded, since upstream forwards to us")
            return Reply(Rcode.SERVFAIL)
        return (yield from following(query, context))

    def probe(self, zone: Name, context: Context, following: Next) -> Steps:
        """Asks those after this handler once for a new name below `zone`; then `looping` is up to date."""
        labels = b"".join(b"\x10" + b"%016x" % self._rng.randrange(1 << 62) for _ in range(2))
        self._probe, self._seen = labels + zone if len(labels + zone) <= NAME_LIMIT else labels + ROOT, False
        reply = yield from following(Query(0, Question(self._probe, Type.HINFO)), context)
        self.looping = self._seen
        return reply
