"""How is the committed state read?"""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar

from mooring.store.records import Event, Record

Derived = TypeVar("Derived")


class Snapshot(Protocol):
    """The committed state as seen from the loop's thread: synchronous, and unchanging between two awaits."""

    @property
    def revision(self) -> int:
        """The newest committed revision."""

    def get(self, key: str, revision: int = 0) -> Record | None:
        """The record now, or as it was at `revision`. Raises Compacted or FutureRevision."""

    def scan(self, prefix: str, after: str = "", limit: int = 0, revision: int = 0) -> Iterable[Record]:
        """Records whose key starts with `prefix` and is greater than `after`, in key order, now or as of `revision`."""

    def count(self, prefix: str) -> int:
        """How many live keys start with `prefix`, now."""

    def since(self, prefix: str, revision: int) -> Sequence[Event]:
        """Events after `revision` under `prefix`, oldest first. Raises Compacted or FutureRevision."""

    def derived(self, compute: Callable[["Snapshot"], Derived], *prefixes: str) -> Derived:
        """`compute(self)`, kept until a record under one of `prefixes` changes: it must read nothing else, and only as of now.

        Roles become an index, definitions of custom resources become kinds: once a change, not once a request. `compute` is a
        function of a module, not a lambda: it is what the value is found by.
        """
