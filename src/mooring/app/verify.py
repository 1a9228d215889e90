"""Is every node's kernel as the API wishes? Reads both, names what differs and stays so, and puts it right when asked.

API and kernel cannot be read at one moment, and a change takes its time from one to the other. So what differs is read again,
both sides, and only what differs each time is told. A repair touches just that: the rest is the agent's work in progress.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, closing

from msgspec import Struct

from mooring.app.objects import Objects
from mooring.dataplane.conntrack import Flow, Serving
from mooring.dataplane.diff import Transaction
from mooring.dataplane.installed import Installed
from mooring.dataplane.inventory import own_tables
from mooring.dataplane.recognise import compare
from mooring.dataplane.ruleset import Ruleset
from mooring.dataplane.skeleton import fingerprint
from mooring.dataplane.verify import Drift, Element, element_drift, flow_drift, only, rivals, rule_drift
from mooring.edges.netlink.conntrack import KernelConntrack
from mooring.edges.nft import inventory
from mooring.edges.nft.firewall import NftFirewall
from mooring.ports.firewall import FirewallError
from mooring.services.view import NodeView

PAUSES = (0.0, 0.5, 1.5)
"""Seconds before each reading of what differs. A change reaches a kernel in a tenth of a second, on a busy machine in one."""
REPAIRS = 5
"""Attempts at a repair that meets the agent's own changes."""


class Node(Struct, frozen=True):
    """Whose kernel is read, and in which network namespace; '' for this process's own."""

    name: str
    namespace: str


class Report(Struct, frozen=True):
    """What one node's kernel has otherwise than wished, how large the wish is, and what else people should know."""

    node: str
    drift: tuple[Drift, ...]
    warnings: tuple[str, ...]
    services: int
    elements: int
    repaired: bool = False


class _Look(Struct, frozen=True):
    """One reading of both sides."""

    view: NodeView
    installed: Installed
    transaction: Transaction
    elements: Mapping[Element, Drift]
    rules: frozenset[Drift]
    flows: Mapping[Flow, Drift]
    warnings: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.elements or self.rules or self.flows)

    @property
    def drift(self) -> tuple[Drift, ...]:
        return (*sorted(self.rules, key=lambda each: each.words), *self.elements.values(), *self.flows.values())


async def verify(read: Callable[[], Objects], nodes: Sequence[Node], *, repair: bool = False) -> tuple[Report, ...]:
    """A report for each node, in order. With `repair` those that differed are put right; `repaired` says whether they now are.

    Raises FirewallError, ConntrackError, BadOptions, OSError.
    """
    with ExitStack() as left:
        kernels = [left.enter_context(closing(_Kernel(node))) for node in nodes]
        looks = await _lasting(read, kernels)
        wrong = [(kernel, look) for kernel, look in zip(kernels, looks, strict=True) if look]
        if not repair or not wrong:
            return tuple(_report(kernel, look) for kernel, look in zip(kernels, looks, strict=True))
        for kernel, look in wrong:
            await _repair(read, kernel, look)
        after = await _lasting(read, kernels)
        return tuple(
            _report(kernel, later or look, repaired=bool(look) and not later)
            for kernel, look, later in zip(kernels, looks, after, strict=True)
        )


def _report(kernel: "_Kernel", look: _Look, repaired: bool = False) -> Report:
    count = sum(map(len, look.installed.ruleset().elements.values()))
    return Report(kernel.node.name, look.drift, look.warnings, len(look.view.services), count, repaired)


async def _lasting(read: Callable[[], Objects], kernels: Sequence["_Kernel"]) -> list[_Look]:
    """What differs each time."""
    looks: list[_Look] = []
    for pause in PAUSES:
        await asyncio.sleep(pause)
        objects = read()
        again = await asyncio.gather(*(kernel.look(objects) for kernel in kernels))
        looks = [_common(*both) for both in zip(looks, again, strict=True)] if looks else list(again)
        if not any(looks):
            break
    return looks


def _common(before: _Look, now: _Look) -> _Look:
    """What differs in both readings, with all else of the later one."""
    elements = dict(before.elements.items() & now.elements.items())
    flows = dict(before.flows.items() & now.flows.items())
    ordered = {key: drift for key, drift in now.elements.items() if key in elements}
    rules = before.rules & now.rules
    return _Look(now.view, now.installed, now.transaction, ordered, rules, flows, now.warnings)


async def _repair(read: Callable[[], Objects], kernel: "_Kernel", wrong: _Look) -> None:
    """Raises FirewallError when the kernel refuses each time."""
    for attempt in range(1, REPAIRS + 1):
        now = await kernel.look(read())
        try:
            await kernel.repair(_common(wrong, now))
            return
        except FirewallError:
            if attempt == REPAIRS:
                raise
            await asyncio.sleep(PAUSES[1])


class _Kernel:
    """One node's tables and flows."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self._firewall = NftFirewall(node.namespace)
        self._conntrack = KernelConntrack(node.namespace)

    def close(self) -> None:
        self._firewall.close()
        self._conntrack.close()

    async def look(self, objects: Objects) -> _Look:
        view = objects.view(self.node.name)
        tables = await asyncio.to_thread(inventory.take, self.node.namespace)
        held = await self._firewall.salvage()
        installed, transaction = compare(view, Ruleset(held, fingerprint()))
        rules = frozenset(rule_drift(own_tables(tables), inventory.expected(tables)))
        stale = _stale(view, await self._conntrack.udp_flows())
        return _Look(
            view,
            installed,
            transaction,
            {each: drift for each, drift in element_drift(installed, transaction).items() if each[0] in held},
            rules,
            dict(zip(stale, flow_drift(stale, view), strict=True)),
            (*rivals(tables, view), *_refused(installed)),
        )

    async def repair(self, wrong: _Look) -> None:
        """The smallest transaction; with damaged rules, everything anew in one step, numbered as it was."""
        if wrong.rules:
            await self._firewall.replace(wrong.installed.ruleset())
        elif wrong.elements:
            await self._firewall.apply(only(wrong.transaction, wrong.elements))
        if wrong.flows:
            await self._conntrack.delete(wrong.flows)


def _stale(view: NodeView, flows: Sequence[Flow]) -> list[Flow]:
    serving = Serving()
    for name, ports in view.services.items():
        serving.change(name, ports)
    return serving.stale(flows, serving.frontends())


def _refused(installed: Installed) -> Iterable[str]:
    return (f"service/{name} in {home} cannot be carried out: {why}" for (home, name), why in installed.refused.items())
