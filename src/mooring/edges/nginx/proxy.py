"""The gateway's NGINX: what changes its text is tested and reloaded, everything else goes into its shared dicts at once."""

import asyncio
import contextlib
import ipaddress
import math
import os
import re
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from mooring.edges.nginx import process
from mooring.edges.nginx.control import Control, Key
from mooring.edges.nginx.launch import write, write_files
from mooring.edges.nginx.pairs import Pairs
from mooring.ports.proxy import Rejection
from mooring.routing.nginx.emission import NginxConfig, set_name
from mooring.routing.nginx.emit import emit
from mooring.routing.nginx.front import CLOSING
from mooring.routing.placement import Placement
from mooring.routing.table import Certificate, Fixed, Member, Members, RouteTable

_ROUNDS = 50
"""How many faults of one wish are told apart; NGINX names one at a time."""
_CANDIDATE = "candidate.conf"
_BOTH = 0.2
"""NGINX tells its old workers to go 0.1 seconds after the new ones have begun: so long both take connections."""
_FORGET = 10.0
"""So long what only old workers use stays in the shared dicts."""


class NginxProxy:
    """Implements ports.proxy.Proxy for the NGINX in the placement's folder, which somebody else starts as `launch.prepared`
    says and which may be started again: what it has lost it is told again.

    `spare` is shown for a certificate that cannot be. Reloads begin `between` seconds apart at least; `closing` seconds before
    one answers begin to end their connections, so that few are idle, and may be written to, when the old workers close them.
    """

    def __init__(
        self, placement: Placement, spare: Certificate, between: float = 1.0, closing: float = 0.4, again: float = 0.5
    ) -> None:
        self._folder = Path(placement.folder)
        self._placement = placement
        self._pairs = Pairs(spare)
        self._between, self._closing, self._again = between, closing, again
        self._control = Control(placement.folder)
        self._holder = secrets.token_hex(8)
        self._wish: RouteTable | None = None
        self.in_force: RouteTable | None = None
        """The last wish that NGINX has taken, but for what is rejected."""
        self._config: NginxConfig | None = None
        self._members: dict[str, tuple[Member, ...]] = {}
        self._sets: set[str] = set()
        self._sent: dict[Key, bytes] = {}
        self._good_patterns: set[tuple[str, bool]] = set()
        self._bad_patterns: dict[tuple[str, bool], str] = {}
        self._rejections: tuple[Rejection, ...] = ()
        self._told: list[Callable[[tuple[Rejection, ...]], None]] = []
        self._wished, self._moved = asyncio.Event(), asyncio.Event()
        self._sending = asyncio.Lock()
        self._reloaded = -between
        self._forget = math.inf
        self._previous_files: frozenset[str] = frozenset()

    def apply(self, table: RouteTable) -> None:
        self._wish = table
        self._wished.set()

    def endpoints(self, changed: Members) -> None:
        self._members.update(changed)
        self._moved.set()

    def subscribe(self, rejected: Callable[[tuple[Rejection, ...]], None]) -> None:
        self._told.append(rejected)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow_wishes())
            group.create_task(self._follow_members())
            group.create_task(self._watch())
            group.create_task(self._look_names_up())

    # --- What needs no reload

    async def _follow_members(self) -> None:
        while True:
            await self._moved.wait()
            self._moved.clear()
            try:
                await self._send(self._pairs_of_members())
            except OSError:
                self._sent.clear()  # not known what has arrived; _watch sends all when it answers
                await asyncio.sleep(self._again)
                self._moved.set()

    def _pairs_of_members(self) -> dict[Key, bytes]:
        """Of the sets that NGINX uses or is about to; those that nobody has told of yet are left out."""
        return {("S", f"set/{name}"): _lines(self._members[name]) for name in self._sets & self._members.keys()}

    def _all_pairs(self, config: NginxConfig) -> dict[Key, bytes]:
        pairs: dict[Key, bytes] = {("S", key): value.encode() for key, value in config.state.items()}
        pairs |= {("C", name): self._pairs.octets(each) for name, each in config.certificates.items()}
        return pairs | self._pairs_of_members()

    async def _send(self, pairs: Mapping[Key, bytes]) -> None:
        """What differs from what was sent."""
        async with self._sending:
            changed = {key: value for key, value in pairs.items() if self._sent.get(key) != value}
            if changed:
                await self._control.store(changed)
                self._sent |= changed

    async def _send_all(self, config: NginxConfig, *, ready: bool = True) -> None:
        """And that everything else is gone, but for members that are not told of yet. `ready`: it listens where it should."""
        async with self._sending:
            pairs = self._all_pairs(config) | {("S", "holder"): self._holder.encode()}
            pairs |= {("S", "ready"): b"1"} if ready else {}
            untold = self._sets - self._members.keys()
            await self._control.replace(pairs, [("S", f"set/{name}") for name in untold])
            self._sent = dict(pairs)

    async def _watch(self) -> None:
        """An NGINX that was restarted has forgotten everything."""
        while True:
            await asyncio.sleep(self._again)
            config = self._config
            if config is None:
                continue
            with contextlib.suppress(OSError):
                state = await self._control.state()
                if state["holder"] != self._holder or not self._sent:
                    await self._send_all(config)
                if state["loaded"] != config.generation:
                    self._wished.set()
                if time.monotonic() > self._forget:
                    self._forget = math.inf
                    self._sets = set(config.sets)
                    await self._send_all(config)

    async def _look_names_up(self) -> None:
        while True:
            if self._config is not None:
                await self._look_up(self._config)
            await asyncio.sleep(5.0)

    async def _look_up(self, config: NginxConfig) -> None:
        loop = asyncio.get_running_loop()
        for where in config.sets.values():
            if not isinstance(where, Fixed):
                continue
            try:
                addresses = [str(ipaddress.ip_address(where.host))]
            except ValueError:
                try:
                    async with asyncio.timeout(2.0):
                        found = await loop.getaddrinfo(where.host, where.port, type=1)
                except OSError:
                    continue  # what was known of it goes on
                addresses = sorted({str(each[4][0]) for each in found})
            self.endpoints({set_name(where): tuple(Member(address, where.port) for address in addresses)})

    # --- What needs one

    async def _follow_wishes(self) -> None:
        while True:
            await self._wished.wait()
            self._wished.clear()
            if self._wish is None:
                continue
            try:
                await self._follow(self._wish)
            except OSError:
                await asyncio.sleep(self._again)
                self._wished.set()

    async def _follow(self, table: RouteTable) -> None:
        state = await self._control.state()
        config, whole = await self._tried(table, state["loaded"])
        if config is None:
            self._reject((Rejection("", whole),))
            return
        await self._look_up(config)
        # Endpoints first: the text that uses them must never find them missing.
        self._sets |= config.sets.keys()
        if state["holder"] != self._holder:
            # One that only just started says it is ready after its first reload; one that an earlier control left goes on.
            await self._send_all(config, ready=bool(state["holder"]) or config.generation == state["loaded"])
        else:
            await self._send(self._all_pairs(config))
        refused = self._refused(config)
        if config.generation != state["loaded"]:
            why = await self._reload(config)
            if why:
                self._reject((*refused, Rejection("", why)))
                return
        self._config = config
        self._forget = time.monotonic() + _FORGET
        if ("S", "ready") not in self._sent:
            await self._send_all(config)
        self._reject(refused)
        self.in_force = table

    def _refused(self, config: NginxConfig) -> tuple[Rejection, ...]:
        refused = {(config.whose.get(name, ""), why) for name, why in config.refused.items()}
        for certificate in config.certificates.values():
            if why := self._pairs.fault(certificate):
                refused.add((certificate.source, why))
        return tuple(Rejection(source, why) for source, why in sorted(refused))

    async def _tried(self, table: RouteTable, loaded: str) -> tuple[NginxConfig | None, str]:
        """The configuration that NGINX takes, with those off that it does not; or None and why not."""
        quarantined: dict[str, str] = {}
        why = ""
        for _ in range(_ROUNDS):
            config = await asyncio.to_thread(emit, table, self._placement, quarantined, process.open_files())
            await self._try_patterns(config)
            blamed = {
                name: f"pattern {pattern[0]!r}: {self._bad_patterns[pattern]}"
                for pattern in config.patterns.keys() & self._bad_patterns.keys()
                for name in config.patterns[pattern]
            }
            if not blamed.keys() - quarantined.keys():
                if config.generation == loaded:
                    return config, ""
                why = await self._test(config)
                if not why:
                    return config, ""
                blamed = dict.fromkeys(_blamed(why, config), why)
                if not blamed.keys() - quarantined.keys():
                    routes, hosts = _suspects(config.whose.keys() - quarantined.keys())
                    blamed = await self._halved(table, quarantined, why, routes)
                    blamed = blamed or await self._halved(table, quarantined, why, hosts)
                if not blamed:
                    return None, why
            quarantined |= blamed
        return None, why

    async def _halved(self, table: RouteTable, quarantined: Mapping[str, str], why: str, suspects: list[str]) -> dict[str, str]:
        """Whose fault it is when NGINX names neither line nor file: found by leaving out halves. Empty if it is nobody's."""
        if not await self._is_cured(table, {**quarantined, **dict.fromkeys(suspects, why)}, why):
            return {}
        while len(suspects) > 1:
            half = suspects[: len(suspects) // 2]
            cured = await self._is_cured(table, {**quarantined, **dict.fromkeys(half, why)}, why)
            suspects = half if cured else suspects[len(half) :]
        return dict.fromkeys(suspects, why)

    async def _is_cured(self, table: RouteTable, quarantined: Mapping[str, str], why: str) -> bool:
        """With these off NGINX complains no more, or of something else."""
        return await self._test(await asyncio.to_thread(emit, table, self._placement, quarantined, process.open_files())) != why

    async def _try_patterns(self, config: NginxConfig) -> None:
        new = config.patterns.keys() - self._good_patterns - self._bad_patterns.keys()
        bad = await self._control.patterns(new)
        self._bad_patterns |= bad
        self._good_patterns |= new - bad.keys()

    async def _test(self, config: NginxConfig) -> str:
        """What NGINX says against it, '' for nothing."""
        write_files(self._folder, config.files)
        candidate = self._folder / _CANDIDATE
        write(candidate, config.text.encode())
        words = process.command(str(self._folder), _CANDIDATE)
        tester = await asyncio.create_subprocess_exec(
            *words, "-t", "-q", stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        try:
            async with asyncio.timeout(60.0):
                _, said = await tester.communicate()
        except TimeoutError:
            tester.kill()
            await tester.wait()
            return "the test took more than a minute"
        if tester.returncode == 0:
            return ""
        lines = [line for line in said.decode("utf-8", "replace").splitlines() if "[emerg]" in line]
        return re.sub(r"^.*?\[emerg\] (\d+#\d+: )?", "", lines[0]) if lines else "it failed its test"

    async def _reload(self, config: NginxConfig) -> str:
        """Why it was not taken, '' if it was."""
        await asyncio.sleep(max(0.0, self._reloaded + self._between - self._closing - time.monotonic()))
        closing = self._folder / CLOSING
        closing.touch()
        try:
            await asyncio.sleep(self._closing)
            write(self._folder / process.CONFIG, config.text.encode())
            self._reloaded = time.monotonic()
            process.reload(str(self._folder))
            if not await self._is_loaded(config.generation):
                return "NGINX passed the test of the configuration but did not load it; its log says why"
            await asyncio.sleep(_BOTH)
        finally:
            if (await self._state_or_nothing()).get("draining") != "1":
                closing.unlink(missing_ok=True)
        self._clear_files(config)
        return ""

    async def _state_or_nothing(self) -> Mapping[str, str]:
        try:
            return await self._control.state()
        except OSError:
            return {}

    async def _is_loaded(self, generation: str) -> bool:
        deadline = time.monotonic() + 15.0
        while time.monotonic() < deadline:
            if (await self._state_or_nothing()).get("loaded") == generation:
                return True
            await asyncio.sleep(0.02)
        return False

    def _clear_files(self, config: NginxConfig) -> None:
        """Old workers may still read the files of the configuration before."""
        current = frozenset(config.files)
        for kind in ("files", "data"):
            for name in os.listdir(self._folder / kind):
                if f"{kind}/{name}" not in current | self._previous_files:
                    (self._folder / kind / name).unlink(missing_ok=True)
        self._previous_files = current

    def _reject(self, rejections: tuple[Rejection, ...]) -> None:
        if rejections != self._rejections:
            self._rejections = rejections
            for tell in self._told:
                tell(rejections)


def _lines(members: tuple[Member, ...]) -> bytes:
    """As state.lua reads them."""
    return "".join(f"{f'[{each.address}]' if ':' in each.address else each.address} {each.port}\n" for each in members).encode()


def _suspects(names: Iterable[str]) -> tuple[list[str], list[str]]:
    """Routes and hosts. A host is suspected last: with it all of its routes are off."""
    ordered = sorted(names)
    return [name for name in ordered if not name.startswith("host ")], [name for name in ordered if name.startswith("host ")]


def _blamed(why: str, config: NginxConfig) -> frozenset[str]:
    """Whose fault it is: by the line that NGINX names, or by the file."""
    line = re.search(re.escape(_CANDIDATE) + r":(\d+)", why)
    if line and (name := config.sources.get(int(line[1]))):
        return frozenset({name})
    return frozenset(name for file, names in config.users.items() if file in why for name in names)
