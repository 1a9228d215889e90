"""The gateway's NGINX: what changes its text is tested and reloaded, everything else goes into its shared dicts at once."""

import asyncio
import contextlib
import math
import os
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import structlog

from mooring.edges.dns.names import Names
from mooring.edges.nginx import process
from mooring.edges.nginx.control import Control, Key
from mooring.edges.nginx.launch import write
from mooring.edges.nginx.pairs import Pairs
from mooring.edges.nginx.trials import Trials
from mooring.ports.proxy import Rejection
from mooring.routing.nginx.emission import NginxConfig, set_name
from mooring.routing.placement import Placement
from mooring.routing.table import Certificate, Fixed, Member, Members, RouteTable

_BOTH = 0.2
"""NGINX tells its old workers to go 0.1 seconds after the new ones have begun: so long both take connections."""
_FORGET, _FORGET_SET = 10.0, 300.0
"""So long what only old workers use stays in the shared dicts; and a set of endpoints, which a request needs last."""
_FEW = 4
"""So many generations of workers that end may live beside the one that serves before reloads become rarer."""
_RARE = 32.0
"""Seconds between reloads while connections that never end keep ever more old workers alive."""
_LOOK_UP, _PATIENCE = 5.0, 1.0
"""Seconds between two questions for a backend's name, and for which a new table waits for the answer to its first."""
_SULK = 10.0
"""Seconds at most until what could not be done is tried again."""
_LOAD = 60.0
"""Seconds in which NGINX must have loaded what has passed its test."""

_READY: Mapping[Key, bytes] = {("S", "ready"): b"1"}

log = structlog.get_logger("nginx")


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
        self._trials = Trials(placement, self._control)
        self._names = Names()
        self._holder = secrets.token_hex(8)
        self._wish: RouteTable | None = None
        self.in_force: RouteTable | None = None
        """The last wish that NGINX has taken, but for what is rejected."""
        self._config: NginxConfig | None = None
        self._members: dict[str, tuple[Member, ...]] = {}
        self._sets: set[str] = set()
        self._sent: dict[Key, bytes | None] = {}
        """None: nobody knows what has arrived."""
        self._full: frozenset[Key] = frozenset()
        self._is_changing = False
        """What NGINX is told is that of a configuration which is not loaded yet: nobody may tell it anything of the last."""
        self._rejections: tuple[Rejection, ...] = ()
        self._told: list[Callable[[tuple[Rejection, ...]], None]] = []
        self._wished, self._moved = asyncio.Event(), asyncio.Event()
        self._sending = asyncio.Lock()
        self._reloaded = -between
        self._stale: dict[Key, float] = {}
        """What NGINX has been told that the table in force does not name, and since when."""
        self._has_unknown = False
        """An earlier control may have told NGINX what this one knows nothing of."""
        self._forget = math.inf
        self._previous_files: frozenset[str] = frozenset()

    def apply(self, table: RouteTable) -> None:
        self._wish = table
        self._wished.set()
        if self._rotated():
            self._moved.set()

    def endpoints(self, changed: Members) -> None:
        self._members.update(changed)
        self._moved.set()

    def subscribe(self, rejected: Callable[[tuple[Rejection, ...]], None]) -> None:
        self._told.append(rejected)

    async def run(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._follow_wishes())
                group.create_task(self._follow_members())
                group.create_task(self._watch())
                group.create_task(self._look_names_up())
        finally:
            self._names.close()

    # --- What needs no reload

    async def _follow_members(self) -> None:
        while True:
            await self._moved.wait()
            self._moved.clear()
            try:
                await self._warm(self._rotated().values())
                await self._send(lambda: self._pairs_of_members() | self._pairs_of_certificates(self._rotated()))
            except OSError:
                await asyncio.sleep(self._again)
                self._moved.set()

    def _pairs_of_members(self) -> dict[Key, bytes]:
        """Of the sets that NGINX uses or is about to; those that nobody has told of yet are left out."""
        return {("S", f"set/{name}"): _lines(self._members[name]) for name in self._sets & self._members.keys()}

    def _pairs_of_certificates(self, certificates: Mapping[str, Certificate]) -> dict[Key, bytes]:
        return {("C", name): self._pairs.octets(each) for name, each in certificates.items()}

    def _rotated(self) -> dict[str, Certificate]:
        """What the last wish shows in the place of certificates that are in use: it waits for no test and no reload."""
        if self._wish is None or self._config is None:
            return {}
        used, wished = self._config.certificates, self._wish.certificates
        return {name: wished[name] for name, each in used.items() if name in wished and wished[name] is not each}

    async def _warm(self, certificates: Iterable[Certificate]) -> None:
        """Looks at new certificates in a thread: an RSA key takes a millisecond."""
        if new := [each for each in certificates if not self._pairs.knows(each)]:
            await asyncio.to_thread(lambda: [self._pairs.fault(each) for each in new])

    def _all_pairs(self, config: NginxConfig) -> dict[Key, bytes]:
        """What is named before what names it."""
        newest = self._wish.certificates if self._wish else {}
        pairs = self._pairs_of_members()
        pairs |= self._pairs_of_certificates({name: newest.get(name, each) for name, each in config.certificates.items()})
        return pairs | {("S", key): value for key, value in config.state.items()}

    async def _send(self, wanted: Callable[[], Mapping[Key, bytes]]) -> None:
        """What differs from what was sent."""
        async with self._sending:
            changed = {key: value for key, value in wanted().items() if self._sent.get(key) != value}
            if changed:
                self._sent |= dict.fromkeys(changed)  # until it answers
                full = await self._control.store(changed)
                self._sent |= {key: value for key, value in changed.items() if key not in full}
                self._full = self._full - changed.keys() | full

    async def _send_all(self, config: NginxConfig) -> None:
        """To one that has just begun, or that another control has told what this one knows nothing of: that stays for a while,
        and so does whether it is ready, for who has just begun listens nowhere."""
        async with self._sending:
            pairs = self._all_pairs(config) | {("S", "holder"): self._holder.encode()}
            self._sent = dict.fromkeys(pairs)
            self._full = await self._control.store({("S", "closing"): None, **pairs})
            self._sent = {key: value for key, value in pairs.items() if key not in self._full}
            self._has_unknown = True
            self._forget = min(self._forget, time.monotonic() + _FORGET)

    async def _forget_unknown(self, config: NginxConfig) -> None:
        """All that NGINX has been told is this, what requests may still need, and members that are not told of yet."""
        async with self._sending:
            pairs = self._all_pairs(config) | {("S", "holder"): self._holder.encode()}
            untold = self._sets - self._members.keys()
            self._sent = dict.fromkeys(pairs)
            kept = (*_READY, *self._stale, *(("S", f"set/{name}") for name in untold))
            self._full = await self._control.replace(pairs, kept)
            self._sent = {key: value for key, value in pairs.items() if key not in self._full}
            self._has_unknown = False

    async def _watch(self) -> None:
        """An NGINX that was restarted has forgotten everything."""
        while True:
            await asyncio.sleep(self._again)
            config = self._config
            if config is None or self._is_changing:
                continue
            with contextlib.suppress(OSError):
                state = await self._control.state()
                if self._is_changing or self._config is not config:
                    continue
                is_over = time.monotonic() > self._forget and self._wish is self.in_force
                if is_over:
                    self._forget_members(config)
                if state["holder"] != self._holder:
                    await self._send_all(config)
                    self._wished.set()
                elif state["loaded"] != config.generation:
                    self._wished.set()
                elif is_over and self._has_unknown:
                    await self._forget_unknown(config)
                await self._forget_former()
                if self._trials.is_due:
                    self._wished.set()

    def _forget_members(self, config: NginxConfig) -> None:
        """Of sets that no table names. While one is on its way there may be endpoints that it will name."""
        self._forget = math.inf
        self._members = {name: members for name, members in self._members.items() if name in config.sets}

    def _retire(self, config: NginxConfig) -> None:
        """This one is in force."""
        wanted = _keys(config)
        for key in self._sent.keys() - wanted:
            self._stale.setdefault(key, time.monotonic())
        self._full &= wanted
        self._forget = min(self._forget, time.monotonic() + _FORGET)

    async def _forget_former(self) -> None:
        """What no table has named for a while, however many others have come since."""
        async with self._sending:
            now = time.monotonic()
            gone = [key for key, since in self._stale.items() if now >= since + (_FORGET_SET if _is_set(key) else _FORGET)]
            if not gone:
                return
            for which, name in gone:
                self._sent.pop((which, name), None)
                if _is_set((which, name)):
                    self._sets.discard(name.removeprefix("set/"))
            await self._control.store(dict.fromkeys(gone))
            for key in gone:
                self._stale.pop(key, None)  # unless a table that comes names it: then it is told again
        if self._full:
            self._wished.set()  # there is room now

    async def _look_names_up(self) -> None:
        while True:
            if self._config is not None:
                await self._look_up(self._config, _LOOK_UP)
            await asyncio.sleep(_LOOK_UP)

    async def _look_up(self, config: NginxConfig, patience: float, *, only_new: bool = False) -> None:
        """What was known of a name that does not answer goes on."""
        wanted = [each for each in config.sets.values() if isinstance(each, Fixed)]
        wanted = [each for each in wanted if not only_new or set_name(each) not in self._members]
        if wanted and (found := await self._names.look_up(wanted, patience)):
            self.endpoints({set_name(where): members for where, members in found.items()})

    # --- What needs one

    async def _follow_wishes(self) -> None:
        pause = self._again
        while True:
            await self._wished.wait()
            self._wished.clear()
            if self._wish is None:
                continue
            try:
                await self._follow(self._wish)
                pause = self._again
                continue
            except (ConnectionError, FileNotFoundError) as error:
                log.info("NGINX does not answer yet", error=str(error))
            except OSError as error:
                log.warning("a table cannot be carried out yet", error=str(error), again_after=pause)
                pause = min(pause * 2, _SULK)
            except Exception as error:
                # A mistake of ours; NGINX goes on with what it has, and the next table is another try.
                log.exception("a table cannot be carried out; the one before goes on")
                self._reject((Rejection("", f"{type(error).__name__}: {error}"),))
                continue
            await asyncio.sleep(self._again if pause == self._again else pause)
            self._wished.set()

    async def _follow(self, table: RouteTable) -> None:
        state = await self._control.state()
        config, whole = await self._trials.tried(table, state["loaded"])
        if config is None:
            self._reject((Rejection("", whole),))
            return
        await self._look_up(config, _PATIENCE, only_new=True)
        await self._warm(config.certificates.values())
        self._is_changing = True
        try:
            await self._change(table, config, state)
        finally:
            self._is_changing = False

    async def _change(self, table: RouteTable, config: NginxConfig, state: Mapping[str, str]) -> None:
        # Endpoints first: the text that uses them must never find them missing.
        self._sets |= config.sets.keys()
        for key in _keys(config) & self._stale.keys():
            del self._stale[key]
        if state["holder"] != self._holder:
            await self._send_all(config)
        else:
            await self._send(lambda: self._all_pairs(config))
        if any(key[1].startswith("index/") for key in self._full):
            # What cannot find its routes shall not serve; what serves keeps those that it has.
            self._reject(self._refused(config))
            return
        if config.generation != state["loaded"]:
            why = await self._reload(config)
            if why:
                self._reject((*self._refused(config), Rejection("", why)))
                return
        self._config = config
        self._retire(config)
        await self._send(lambda: _READY)
        if self._rotated():
            self._moved.set()
        self._reject(self._refused(config))
        self.in_force = table

    def _refused(self, config: NginxConfig) -> tuple[Rejection, ...]:
        refused = {(config.whose.get(name, ""), why) for name, why in config.refused.items()}
        for certificate in config.certificates.values():
            if why := self._pairs.fault(certificate):
                refused.add((certificate.source, why))
        sources = {("C", name): each.source for name, each in config.certificates.items()}
        refused |= {(sources.get(key, ""), f"{key[1]}: there is no room for it in NGINX's memory") for key in self._full}
        return tuple(Rejection(source, why) for source, why in sorted(refused))

    async def _reload(self, config: NginxConfig) -> str:
        """Why it was not taken, '' if it was."""
        between = max(self._between, rarely(process.generations(str(self._folder))))
        await asyncio.sleep(max(0.0, self._reloaded + between - self._closing - time.monotonic()))
        await self._control.store({("S", "closing"): b"1"})
        try:
            await asyncio.sleep(self._closing)
            write(self._folder / process.CONFIG, config.text.encode())
            self._reloaded = time.monotonic()
            process.reload(str(self._folder))
            if not await self._is_loaded(config.generation):
                return "NGINX passed the test of the configuration but did not load it; its log says why"
            await asyncio.sleep(_BOTH)
        finally:
            with contextlib.suppress(OSError):
                await self._control.store({("S", "closing"): None})
        self._clear_files(config)
        return ""

    async def _state_or_nothing(self) -> Mapping[str, str]:
        try:
            return await self._control.state()
        except OSError:
            return {}

    async def _is_loaded(self, generation: str) -> bool:
        deadline = time.monotonic() + _LOAD
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


def _is_set(key: Key) -> bool:
    return key[0] == "S" and key[1].startswith("set/")


def _keys(config: NginxConfig) -> set[Key]:
    """Of all that NGINX is told for it."""
    own: set[Key] = {("S", "holder"), ("S", "ready")}
    own.update(("S", f"set/{name}") for name in config.sets)
    own.update(("C", name) for name in config.certificates)
    own.update(("S", key) for key in config.state)
    return own


def _lines(members: tuple[Member, ...]) -> bytes:
    """As state.lua reads them."""
    return "".join(f"{f'[{each.address}]' if ':' in each.address else each.address} {each.port}\n" for each in members).encode()


def rarely(generations: int) -> float:
    """Seconds between two reloads while so many generations of workers wait for the end of their connections."""
    return 0.0 if generations <= _FEW else min(2.0 ** (generations - _FEW), _RARE)
