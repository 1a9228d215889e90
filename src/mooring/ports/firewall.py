"""What the dataplane loop needs of the kernel's packet tables."""

from typing import Protocol

from mooring.dataplane.diff import Transaction
from mooring.dataplane.ruleset import Elements, Ruleset


class FirewallError(Exception):
    """The tables did not take a transaction and are as they were before it. Says what was refused, and why."""


class Firewall(Protocol):
    async def apply(self, transaction: Transaction) -> None:
        """Changes elements; packets see all of it or nothing. Returns when it is in force. Raises FirewallError."""

    async def replace(self, ruleset: Ruleset) -> None:
        """Puts both tables in place anew, whatever was there, in one step: no packet meets an empty table.

        Raises FirewallError.
        """

    async def read(self) -> Ruleset:
        """What the tables hold; an empty Ruleset when there are none. Slow at a million elements. Raises FirewallError."""

    async def holds(self, sample: Elements) -> bool:
        """True unless somebody else changed the tables and the rules or elements of the sample are no longer there.

        Costs next to nothing while nobody else has committed anything.
        """

    async def remove(self) -> None:
        """Takes both tables away; absent ones are no error. Raises FirewallError."""
