"""Who may ask at all? Clients of the ranges in `access`; everybody else is refused, so that this is no open resolver.

CoreDNS: plugin acl. Without a setting the cluster's own ranges and loopback may.
"""

from collections.abc import Callable, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address

from mooring.dns.chain import Context, Next, Steps
from mooring.dns.names import Name
from mooring.dns.records import Query, Rcode, Reply


class Access:
    """`ranges`: who may ask. Ourselves, without an address, always may."""

    name = "access"

    def __init__(
        self,
        ranges: Sequence[IPv4Network | IPv6Network],
        secondaries: Sequence[IPv4Network | IPv6Network] = (),
        is_ours: Callable[[Name], bool] = lambda _: False,
    ) -> None:
        self._ranges, self._secondaries, self._is_ours = tuple(ranges), tuple(secondaries), is_ours

    def handle(self, query: Query, context: Context, following: Next) -> Steps:
        secondary = (
            self._secondaries and _within(query.client, self._secondaries) and self._is_ours(query.question.name.lower())
        )
        if not secondary and not self.allows(query.client):
            context.note(self.name, "refused", f"{query.client} is in none of the ranges of access")
            return Reply(Rcode.REFUSED)
        return (yield from following(query, context))

    def allows(self, client: str) -> bool:
        return not client or _within(client, self._ranges)


def _within(client: str, ranges: Sequence[IPv4Network | IPv6Network]) -> bool:
    try:
        address = ip_address(client.partition("%")[0])
    except ValueError:
        return False
    return any(address in each for each in ranges)
