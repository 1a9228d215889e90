"""What stands in a network namespace's tables, ours and other people's? Values to compare and to show, rule by rule.

Two rules do the same when their forms are equal: a form has what each instruction looks at and does, without the registers it
uses and what the kernel adds on its own account.
"""

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from mooring.dataplane.ruleset import TABLE

Form = tuple[str, ...]
"""One line for each instruction of a rule: 'lookup frontends', 'immediate goto refuse'."""


class Rule(Struct, frozen=True):
    """A rule as the kernel keeps it. `handle` is 0 where it is only wished."""

    form: Form
    comment: str = ""
    handle: int = 0


class Chain(Struct, frozen=True):
    """`hook` is '' for a chain that others go to; `kind` is nft's chain type."""

    name: str
    rules: tuple[Rule, ...] = ()
    kind: str = ""
    hook: str = ""
    priority: int = 0
    policy: str = ""


class Table(Struct, frozen=True):
    """`sets` has each set's form: flags, key and data as the kernel tells them."""

    family: str
    name: str
    comment: str = ""
    chains: Mapping[str, Chain] = {}
    sets: Mapping[str, str] = {}


Inventory = Sequence[Table]


def own_tables(inventory: Iterable[Table]) -> dict[str, Table]:
    """Ours, by family."""
    return {table.family: table for table in inventory if table.name == TABLE and table.family in ("ip", "ip6")}
