"""Which configuration does NGINX take for a table? Found by its own test; a part that it does not take is off, alone.

What the test has once refused stays off while it is the same, so that its neighbours' changes do not pay for the search again;
now and then it is tried whether the reason is gone.
"""

import asyncio
import re
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from mooring.edges.nginx import process
from mooring.edges.nginx.control import Control
from mooring.edges.nginx.launch import write, write_files
from mooring.routing.nginx.emission import NginxConfig
from mooring.routing.nginx.emit import emit
from mooring.routing.nginx.memo import Memo
from mooring.routing.placement import Placement
from mooring.routing.table import Forward, RouteTable

CANDIDATE = "candidate.conf"
ROUNDS = 50
"""How many faults of one wish are told apart; NGINX names one at a time."""
AGAIN, LONGEST = 60.0, 3600.0
"""Seconds until what is off is tried again, doubled each time."""
SINGLY = 20
"""So many of those that are off are tried each by itself."""
TEST_SECONDS = 60.0


class Trials:
    def __init__(self, placement: Placement, control: Control, again: float = AGAIN) -> None:
        self._folder, self._placement, self._control = Path(placement.folder), placement, control
        self._again = self._pause = again
        self._due = 0.0
        self._memo = Memo()
        self._off: dict[str, tuple[object, str]] = {}
        """By name: the part that the test refused, and its words."""
        self._good_patterns: set[tuple[str, bool]] = set()
        self._bad_patterns: dict[tuple[str, bool], str] = {}

    @property
    def is_due(self) -> bool:
        """Something is off, and it is time to try it again."""
        return bool(self._off) and time.monotonic() >= self._due

    async def tried(self, table: RouteTable, loaded: str) -> tuple[NginxConfig | None, str]:
        """The configuration that NGINX takes, with those off that it does not; or None and why not. `loaded`: the generation
        that needs no test. Raises OSError."""
        off = {name: why for name, (part, why) in self._off.items() if part and _part(name, table) == part}
        if len(off) < len(self._off):
            self._due = 0.0  # what is no more may have been the others' reason
        if off and self.is_due:
            off = await self._tried_again(table, off)
        why = ""
        for _ in range(ROUNDS):
            config, everything = await self._emitted(table, off)
            why = "" if config.generation == loaded else await self._test(config)
            if not why:
                self._remember(off, table)
                return config, ""
            blamed = {name: why for name in _blamed(why, config) if name not in everything}
            if not blamed:
                routes, hosts = _suspects(config.whose.keys() - everything.keys())
                blamed = await self._halved(table, everything, why, routes)
                blamed = blamed or await self._halved(table, everything, why, hosts)
            if not blamed:
                return None, why
            off |= blamed
        return None, why

    async def _tried_again(self, table: RouteTable, off: Mapping[str, str]) -> dict[str, str]:
        """Those that still must be off: none, or some of them."""
        self._pause = min(self._pause * 2, LONGEST)
        self._due = time.monotonic() + self._pause
        if await self._passes(table, {}):
            return {}
        must = dict(off)
        for name in list(off)[:SINGLY] if len(off) > 1 else ():
            without = {other: why for other, why in must.items() if other != name}
            if await self._passes(table, without):
                must = without
        return must

    async def _passes(self, table: RouteTable, off: Mapping[str, str]) -> bool:
        config, _ = await self._emitted(table, off)
        return not await self._test(config)

    def _remember(self, off: Mapping[str, str], table: RouteTable) -> None:
        if off.keys() - self._off.keys():
            self._pause = self._again
            self._due = time.monotonic() + self._pause
        self._off = {name: (_part(name, table), why) for name, why in off.items()}

    async def _emitted(self, table: RouteTable, off: Mapping[str, str]) -> tuple[NginxConfig, Mapping[str, str]]:
        """And all that is off in it: also those whose patterns do not compile, which costs no test."""
        everything = dict(off)
        while True:
            config = await self._emit(table, everything)
            await self._try_patterns(config)
            blamed = {
                name: f"pattern {pattern[0]!r}: {self._bad_patterns[pattern]}"
                for pattern in config.patterns.keys() & self._bad_patterns.keys()
                for name in config.patterns[pattern]
            }
            if not blamed.keys() - everything.keys():
                return config, everything
            everything |= blamed

    async def _emit(self, table: RouteTable, off: Mapping[str, str]) -> NginxConfig:
        return await asyncio.to_thread(emit, table, self._placement, off, process.open_files(), self._memo)

    async def _halved(self, table: RouteTable, off: Mapping[str, str], why: str, suspects: list[str]) -> dict[str, str]:
        """Whose fault it is when NGINX names neither line nor file: found by leaving out halves. Empty if it is nobody's."""
        if not suspects or not await self._is_cured(table, {**off, **dict.fromkeys(suspects, why)}, why):
            return {}
        while len(suspects) > 1:
            half = suspects[: len(suspects) // 2]
            cured = await self._is_cured(table, {**off, **dict.fromkeys(half, why)}, why)
            suspects = half if cured else suspects[len(half) :]
        return dict.fromkeys(suspects, why)

    async def _is_cured(self, table: RouteTable, off: Mapping[str, str], why: str) -> bool:
        """With these off NGINX complains no more, or of something else."""
        return await self._test(await self._emit(table, off)) != why

    async def _try_patterns(self, config: NginxConfig) -> None:
        new = config.patterns.keys() - self._good_patterns - self._bad_patterns.keys()
        bad = await self._control.patterns(new)
        self._bad_patterns |= bad
        self._good_patterns |= new - bad.keys()

    async def _test(self, config: NginxConfig) -> str:
        """What NGINX says against it, '' for nothing."""
        write_files(self._folder, config.files)
        write(self._folder / CANDIDATE, config.text.encode())
        words = process.command(str(self._folder), CANDIDATE)
        tester = await asyncio.create_subprocess_exec(
            *words, "-t", "-q", stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        try:
            async with asyncio.timeout(TEST_SECONDS):
                _, said = await tester.communicate()
        except TimeoutError:
            return "the test took more than a minute"
        finally:
            if tester.returncode is None:
                tester.kill()
                await tester.wait()
        if tester.returncode == 0:
            return ""
        lines = [line for line in said.decode("utf-8", "replace").splitlines() if "[emerg]" in line]
        return re.sub(r"^.*?\[emerg\] (\d+#\d+: )?", "", lines[0]) if lines else "it failed its test"


def _part(name: str, table: RouteTable) -> object:
    """All that a route or `host NAME` consists of; () if the table has none of that name."""
    chains = [chain for listener in table.listeners for chain in listener.chains]
    if name.startswith("host "):
        host = name.removeprefix("host ")
        return tuple((each, chain.tls) for chain in chains for each in chain.virtual_hosts if host in each.hosts)
    found = {route for chain in chains for host in chain.virtual_hosts for route in host.routes if route.name == name}
    to = [each.cluster for route in found if isinstance(route.action, Forward) for each in route.action.to]
    return found and (found, [table.clusters.get(cluster) for cluster in to])


def _suspects(names: Iterable[str]) -> tuple[list[str], list[str]]:
    """Routes and hosts. A host is suspected last: with it all of its routes are off."""
    ordered = sorted(names)
    return [name for name in ordered if not name.startswith("host ")], [name for name in ordered if name.startswith("host ")]


def _blamed(why: str, config: NginxConfig) -> frozenset[str]:
    """Whose fault it is: by the line that NGINX names, or by the file. All routes of a group are alike."""
    line = re.search(re.escape(CANDIDATE) + r":(\d+)", why)
    if line and (name := config.sources.get(int(line[1]))):
        return config.users.get(name, frozenset({name}))
    return frozenset(name for file, names in config.users.items() if file in why for name in names)
