"""What elements hold after a transaction, and what they say: as tests compare them."""

from collections.abc import Mapping

import msgspec

from mooring.dataplane.diff import Transaction
from mooring.dataplane.installed import Installed
from mooring.dataplane.render import element
from mooring.dataplane.ruleset import (
    ENDPOINTS,
    FRONTENDS,
    OUTSIDE_FRONTENDS,
    OUTSIDE_SHAPES,
    SET_SPECS,
    SHAPE_BITS,
    SHAPES,
    SLOTS,
    Elements,
    SetKey,
    mark,
    unpack,
)
from mooring.services.view import NodeView, ServicePort
from mooring.testing.node_views import node_view


def applied(elements: Elements, transaction: Transaction) -> dict[SetKey, dict[bytes, bytes]]:
    """What a table holds after a transaction, as strict as the kernel."""
    after = {key: dict(items) for key, items in elements.items()}
    for change in transaction.changes:
        items = after.setdefault(change.set, {})
        for key, data in change.remove:
            assert items.pop(key) == data
        for key, data in change.add:
            assert key not in items, f"{change.set} already has {key!r}"
            items[key] = data
    return {key: items for key, items in after.items() if items}


def meaning(elements: Elements) -> Mapping[str, object]:
    """What the elements say, whatever the numbers: each frontend's chain and the endpoints behind it, slot by slot."""
    said: dict[str, object] = {}
    for (table, name), items in elements.items():
        if name in (FRONTENDS, OUTSIDE_FRONTENDS):
            chains = elements[(table, SHAPES if name == FRONTENDS else OUTSIDE_SHAPES)]
            for key, data in items.items():
                value = int(unpack(table, SET_SPECS[name].data, data)[0])
                chain = chains[mark(value & (1 << SHAPE_BITS) - 1)].decode()
                behind = _behind(elements, table, value >> SHAPE_BITS << SHAPE_BITS) if "pick" in chain else []
                said[f"{table} {name} {key.hex()}"] = (chain, behind)
        elif name not in (ENDPOINTS, SLOTS, SHAPES, OUTSIDE_SHAPES):
            said[f"{table} {name}"] = dict(items)
    return said


def _behind(elements: Elements, table: str, gid: int) -> list[bytes]:
    """The endpoint in each slot."""
    prefix = mark(gid)
    endpoints = {key[4:]: data for key, data in elements[(table, ENDPOINTS)].items() if key.startswith(prefix)}
    numbers = {key[4:]: data for key, data in elements.get((table, SLOTS), {}).items() if key.startswith(prefix)}
    assert set(numbers.values()) in (set(), set(endpoints)), "a number for each endpoint, and an endpoint for each number"
    return sorted(endpoints[number] for number in numbers.values()) if numbers else sorted(endpoints.values())


def with_affinity(port: ServicePort, seconds: int) -> ServicePort:
    return msgspec.structs.replace(port, affinity=seconds)


def view_of(installed: Installed) -> NodeView:
    """What an agent with this memory wishes."""
    ports = {name: tuple(each.port for each in numbered) for name, numbered in installed.services.items()}
    return msgspec.structs.replace(node_view({}), services=ports)


def shown(elements: Elements, table: str, name: str) -> set[str]:
    """A set's elements in words."""
    return {element(table, SET_SPECS[name], key, data) for key, data in elements.get((table, name), {}).items()}
