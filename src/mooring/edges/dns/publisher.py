"""How does the table follow the zone? The agent's side: it writes the file that workers map, and replaces it when it must.

The file's place is taken by a rename, after the old one was marked as superseded: a writer that dies in between leaves workers
that map the old one again and again, until the next agent has written its own.
"""

import contextlib
import mmap
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from msgspec import Struct, structs

from mooring.dns.compile import Compiler, zones
from mooring.dns.names import Name, from_text
from mooring.dns.owners import Change, Given, apexes, changed, everything, zone_owners
from mooring.dns.table import MAX_ZONES, Flag, Settings, TableFull, TableWriter, is_table, serial_of, size, supersede
from mooring.dns.zone import Zone
from mooring.edges.dns.worker import TABLE

try:
    from mooring.edges.dns.hotpath import store
except ImportError:
    store = None


T = TypeVar("T")
STEP = 200
"""Names that are written in one step."""


class TableOptions(Struct, frozen=True):
    """`prefixes`: (4 or 6, bits, packed address) of those who may ask; none: everyone. `rate`: questions a second of one client
    to one worker, 0 for any number, and `burst` of them at once. `recursion`: the agent asks other servers. `autopath`: it
    answers along the search path. `all_to_agent`: workers answer nothing themselves, so that the query log misses nothing.
    """

    prefixes: Sequence[tuple[int, int, bytes]] = ()
    rate: int = 0
    burst: int = 0
    recursion: bool = False
    autopath: bool = False
    all_to_agent: bool = False


class Publisher:
    """The one writer of the table in a folder. A change takes some 100 µs; a whole table some 30 µs for each name."""

    def __init__(self, folder: Path, options: TableOptions | None = None) -> None:
        self._folder, self._options = folder, options or TableOptions()
        self._table: _File | None = None
        self._settings = Settings(())
        self._compiler = Compiler(())
        self._generation = 0
        self.installed = 0
        """How many tables."""
        for left in folder.glob(f".{TABLE}.*"):
            left.unlink(missing_ok=True)

    @property
    def names(self) -> int:
        return len(self._table.writer) if self._table else 0

    @property
    def octets(self) -> int:
        """Of the table that were ever written."""
        return self._table.writer.used if self._table else 0

    def replace(self, zone: Zone) -> None:
        """Everything anew, in a new file. Raises OSError."""
        for _ in self.replacing(zone):
            pass

    def replacing(self, zone: Zone) -> Iterator[None]:
        """The same in steps of milliseconds. What changes meanwhile must be put after the last one: until then workers answer
        from the table before.
        """
        own = zone_owners(zone)
        options = self._options
        # Names in zones beyond what a table can hold are in none of its zones: the agent answers them.
        kept = zones(apexes(zone.options)[:MAX_ZONES], own)
        self._settings = Settings(kept, options.prefixes, options.rate, options.burst)
        services = b"\3svc" + from_text(zone.options.domain).lower()
        self._compiler = Compiler(self._settings.zones, services if options.autopath else None)
        still = structs.replace(
            zone, services=dict(zone.services), namespaces=frozenset(zone.namespaces), ingresses=dict(zone.ingresses)
        )
        made = self._create(4 * len(still.services), 512 * len(still.services))
        try:
            for number, (name, given) in enumerate(everything(still)):
                entry = self._compiler.entry(name, given)
                if entry is not None:
                    made = self._put(made, entry.name, entry.packed())
                if number % STEP == STEP - 1:
                    yield
            self._finish(made, zone)
            self._install(made)
        except BaseException:
            made.close()
            raise

    def change(self, zone: Zone, *changes: Change) -> None:
        """What these objects gave before and give now, in the Zone after it. Raises OSError."""
        self.put(zone, (each for change in changes for each in changed(zone, change)))

    def put(self, zone: Zone, names: Iterable[tuple[Name, Given | None]]) -> None:
        """What names have from now on, all givers together; and the Zone's serial. Raises OSError."""
        assert self._table is not None, "replace comes first"
        table = self._table
        try:
            for name, given in names:
                entry = self._compiler.entry(name, given) if given else None
                if entry is None:
                    table.writer.remove(name)
                else:
                    table = self._put(table, name, entry.packed())
            if table is self._table and table.writer.worn:
                table = self._copied(table)
            self._finish(table, zone)
            if table is not self._table:
                self._install(table)
        except BaseException:
            if table is not self._table:
                table.close()
            raise

    def _put(self, table: "_File", name: Name, packed: bytes) -> "_File":
        """Into the table, or into a larger copy of it, which is not installed yet."""
        while True:
            try:
                table.writer.put_packed(name, packed)
                return table
            except TableFull:
                larger = self._copied(table)
                if table is not self._table:
                    table.close()
                table = larger

    def _copied(self, table: "_File") -> "_File":
        """What lives of it, with as much room again."""
        made = self._create(2 * len(table.writer), 2 * table.writer.living)
        for name, packed in table.writer.entries():
            made.writer.put_packed(name, packed)
        return made

    def _create(self, names: int, octets: int) -> "_File":
        self._generation += 1
        return _File(self._folder, self._settings, names, octets, self._generation)

    def _finish(self, table: "_File", zone: Zone) -> None:
        options = self._options
        table.writer.set_serial(zone.serial)
        flags = ((Flag.SYNCED, zone.synced), (Flag.RECURSION, options.recursion), (Flag.ALL_TO_AGENT, options.all_to_agent))
        table.writer.set_flags(sum(flag for flag, wanted in flags if wanted))

    def _install(self, table: "_File") -> None:
        """In the place of the one before."""
        _mark_superseded(self._folder / TABLE)
        os.rename(table.path, self._folder / TABLE)
        before, self._table = self._table, table
        self.installed += 1
        if before is not None:
            # Also where somebody removed its file, so that it was not found by its name.
            before.supersede()
            before.close()

    def close(self) -> None:
        """The table stays: workers go on answering from it."""
        if self._table is not None:
            self._table.close()
        self._table = None


class _File:
    """A table in a file of zeros, whose room on the disk is taken at once."""

    def __init__(self, folder: Path, settings: Settings, names: int, octets: int, generation: int) -> None:
        slots, length = size(settings, names, octets)
        self.path = folder / f".{TABLE}.{os.getpid()}.{generation}"
        self.path.unlink(missing_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            # Not a hole: on a full disk writing to one ends the process (SIGBUS); this raises OSError.
            os.posix_fallocate(descriptor, 0, length)
            self._map = mmap.mmap(descriptor, length)
        except OSError:
            self.path.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)
        self.writer = TableWriter(memoryview(self._map), slots, settings, generation, store)

    def supersede(self) -> None:
        """Its readers map the file anew."""
        with memoryview(self._map) as buffer:
            supersede(buffer)

    def close(self) -> None:
        """What was not installed is removed."""
        self.writer.release()
        self._map.close()
        self.path.unlink(missing_ok=True)


def last_serial(folder: Path) -> int:
    """The serial that an earlier agent had reached, 0 for none: the next one must not begin before it."""
    return _of_left_table(folder / TABLE, serial_of) or 0


def left_table(folder: Path) -> bool:
    """Whether an earlier agent left a table from which workers of ours can answer."""
    return _of_left_table(folder / TABLE, lambda _: True) or False


def _mark_superseded(path: Path) -> None:
    """Whoever wrote it. One of another format is left alone: its workers are ended."""
    _of_left_table(path, supersede)


def _of_left_table(path: Path, act: Callable[[memoryview], T]) -> T | None:
    """None where there is no table of our format."""
    with contextlib.suppress(FileNotFoundError, ValueError):
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            with mmap.mmap(descriptor, 0) as mapped, memoryview(mapped) as buffer:
                return act(buffer) if is_table(buffer) else None
        finally:
            os.close(descriptor)
    return None
