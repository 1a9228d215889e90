"""Does this client ask too much? Each has a bucket of questions that fills at `per_second`; who finds it empty is refused.

CoreDNS has no such plugin among its own. A refusal is no longer than its question: nothing is gained by a forged source.
"""

from collections import OrderedDict

from mooring.dns.chain import Context, Next, Steps
from mooring.dns.records import Query, Rcode, Reply

CLIENTS = 10_000
"""Buckets that are kept; the client that asked longest ago is forgotten first, and starts with a full one again."""


class RateLimit:
    """`per_second` questions in the long run, `burst` at once."""

    name = "rate-limit"

    def __init__(self, per_second: float, burst: float, clients: int = CLIENTS) -> None:
        self._per_second, self._burst, self._clients = per_second, burst, clients
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def handle(self, query: Query, context: Context, following: Next) -> Steps:
        if query.client and not self.takes(query.client, context.now):
            context.note(self.name, "refused", f"{query.client} asks more than {self._per_second:g} a second")
            return Reply(Rcode.REFUSED)
        return (yield from following(query, context))

    def takes(self, client: str, now: float) -> bool:
        """One question out of the client's bucket; False when it is empty."""
        left, before = self._buckets.pop(client, (self._burst, now))
        left = min(self._burst, left + max(0.0, now - before) * self._per_second)
        enough = left >= 1
        self._buckets[client] = (left - 1 if enough else left, now)
        if len(self._buckets) > self._clients:
            self._buckets.popitem(last=False)
        return enough

    def __len__(self) -> int:
        return len(self._buckets)
