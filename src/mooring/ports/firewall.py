"""What the dataplane loop needs of the kernel's packet tables."""

from collections.abc import Collection, Iterable, Mapping
from typing import Protocol

from mooring.dataplane.diff import Transaction
from mooring.dataplane.ruleset import Elements, Ruleset, SetKey
from mooring.dataplane.verify import Drift


class FirewallError(Exception):
    """The tables did not take a transaction and are as they were before it. Says what was refused, and why."""


class Firewall(Protocol):
    async def apply(self, transaction: Transaction) -> None:
        """Changes elements; packets see all of it or nothing. Returns when it is in force. Raises FirewallError."""

    async def replace(self, ruleset: Ruleset) -> None:
        """Puts both tables in place anew, whatever was there, in one step: no packet meets an empty table.

        Raises FirewallError.
        """

    async def foreign_commits(self) -> int:
        """How many transactions others have committed in this network namespace since this firewall was opened, in whatever
        tables. Costs next to nothing. Raises FirewallError.
        """

    async def read(self, leaving_out: Collection[str] = ()) -> Ruleset:
        """What the tables hold, but for some sets by name; an empty Ruleset when there are none or their rules are not whole.

        Transactions go on meanwhile: what they change may be told as it was or as it is. Slow at a million elements. Raises
        FirewallError.
        """

    async def look_up(self, keys: Mapping[SetKey, Iterable[bytes]]) -> Elements:
        """What the tables hold of these elements. Raises FirewallError."""

    async def rule_drift(self) -> tuple[Drift, ...]:
        """In what the tables, their sets, chains and rules are not as they should be. Raises FirewallError."""

    async def remove(self) -> None:
        """Takes both tables away; absent ones are no error. Raises FirewallError."""
