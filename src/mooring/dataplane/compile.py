"""What must the kernel hold for a service port? Elements of the named sets; a Service at a time, so that a change costs one.

A Service is numbered first, and then written: whatever text it holds is read when it is numbered, so what has been numbered
can always be written. What becomes of a frontend's sources is told by arms.py.
"""

from collections import defaultdict
from collections.abc import Container, Iterator, Mapping, Sequence
from functools import lru_cache

from mooring.dataplane.arms import Way, told, untold
from mooring.dataplane.ids import Ids, Numbered, endpoint_numbers, place
from mooring.dataplane.localhost import not_carried
from mooring.dataplane.ruleset import (
    ALLOWED,
    CLUSTER_IPS,
    ENDPOINTS,
    FAMILIES,
    FRONTENDS,
    HAIRPINS,
    RESTRICTED,
    SHAPE_BITS,
    SLOTS,
    Elements,
    SetKey,
    address_of,
    endpoint,
    frontend,
    intervals,
    mark,
    packed,
)
from mooring.dataplane.shapes import EXACT_SLOTS, Shape, Shapes, chain_name, slots_for
from mooring.services.view import Entry, Family, Frontend, ServicePort, ServicePortName

Place = tuple[str, bytes]
"""(family, key in `frontends`): what a frontend is known by, and only one Service can have."""

Found = defaultdict[SetKey, dict[bytes, bytes]]
"""Elements that are being written."""

_SLOTS = [mark(slot) for slot in range(EXACT_SLOTS)]


def check(ports: Sequence[ServicePort], detects: Mapping[Family, bool]) -> None:
    """Raises ValueError for arms that no table can hold on a node that tells pods of a family from others, or does not."""
    for port in ports:
        for each in port.frontends:
            problem = untold(each, detects[port.name.family])
            if problem:
                raise ValueError(f"{each.entry.value} {each.address}:{each.port}: {problem}")


def number_service(ports: Sequence[ServicePort], before: Sequence[Numbered], ids: Ids, shapes: Shapes) -> tuple[Numbered, ...]:
    """The ports with their numbers, keeping those they had `before`. Raises ValueError; OutOfIds and OutOfShapes are such."""
    known: dict[ServicePortName, Numbered] = {numbered.port.name: numbered for numbered in before}
    found: list[Numbered] = []
    try:
        for each in ports:
            found.append(_number(each, known.pop(each.name, None), ids, shapes))
    except ValueError:
        release(found, before, ids)
        raise
    return tuple(found)


def release(unused: Sequence[Numbered], still_used: Sequence[Numbered], ids: Ids) -> None:
    for gone in {each.id for each in unused} - {each.id for each in still_used}:
        ids.release(gone)


def _number(wanted: ServicePort, before: Numbered | None, ids: Ids, shapes: Shapes) -> Numbered:
    """Reads all that is text. A number of its own is taken last, when nothing can be wrong any more."""
    name = wanted.name
    frontends = tuple([frontend(each.address, name.protocol, each.port) for each in wanted.frontends])
    for each in wanted.frontends:
        if each.allowed is not None:
            _ranges(each.allowed, name.family)
    hairpins = tuple([packed(each.address) for each in wanted.local])
    used = {way.pool for way in _ways(wanted) if way.end is None}
    cluster = [endpoint(each.address, each.port) for each in wanted.cluster] if 0 in used else []
    local = [endpoint(each.address, each.port) for each in wanted.local] if 1 in used else []
    numbers = (shapes.number(len(cluster), wanted.affinity), shapes.number(len(local), wanted.affinity))
    if before is None:
        return Numbered(wanted, ids.take(), tuple(cluster), tuple(local), numbers, frontends, hairpins)
    slots = place(before.cluster, cluster), place(before.local, local)
    return Numbered(wanted, before.id, *slots, numbers, frontends, hairpins)


def _ways(port: ServicePort) -> set[Way]:
    return {way for each in port.frontends for way in told(each).ways}


@lru_cache(maxsize=4096)
def _ranges(allowed: tuple[str, ...], family: Family) -> tuple[tuple[bytes, bytes], ...]:
    """First and last address of each range. Services tend to have the same ones, at several frontends. Raises ValueError."""
    return tuple((key[: len(key) // 2], key[len(key) // 2 :]) for key in intervals(allowed, family))


def places(service: Sequence[Numbered]) -> list[Place]:
    """Every frontend that a Service claims."""
    return [(FAMILIES[numbered.port.name.family], where) for numbered in service for where in numbered.frontends]


def elements(service: Sequence[Numbered], lost: Container[Place] = ()) -> Elements:
    """All elements that one Service puts into the tables, without those of frontends that it has `lost` to another.

    Where it claims one frontend twice itself, the first claim holds. A cluster IP stays its own, whoever has a port there.
    """
    found = held(service)
    write(found, service, lost)
    for key, number, chain in chains(service):
        found[key][number] = chain
    return dict(found)


def held(service: Sequence[Numbered]) -> Found:
    """Of a Service's elements, those that others may have too: HELD_SETS."""
    found: Found = defaultdict(dict)
    for numbered in service:
        table = FAMILIES[numbered.port.name.family]
        for where, each in zip(numbered.frontends, numbered.port.frontends, strict=True):
            if each.entry is Entry.CLUSTER_IP:
                found[table, CLUSTER_IPS][address_of(where)] = b""
        for address in numbered.hairpins:
            found[table, HAIRPINS][address + address] = b""
    return found


def chains(service: Sequence[Numbered]) -> Iterator[tuple[SetKey, bytes, bytes]]:
    """The elements of verdict maps that a Service's frontends go by: map, number, chain."""
    for numbered in service:
        table = FAMILIES[numbered.port.name.family]
        for way in _ways(numbered.port):
            if way.end is None and numbered.shapes[way.pool]:
                slots = slots_for(len(numbered.local if way.pool else numbered.cluster))
                chain = _chain(way.shapes, slots, numbered.port.affinity)
                yield (table, way.shapes), mark(numbered.shapes[way.pool]), chain


@lru_cache(maxsize=4096)
def _chain(verdict_map: str, slots: int, timeout: int) -> bytes:
    return chain_name(verdict_map, Shape(slots, timeout)).encode()


def write(found: Found, service: Sequence[Numbered], lost: Container[Place] = ()) -> None:
    """Adds to `found` those elements of a Service that are nobody else's, without those of frontends it has `lost`."""
    for numbered in service:
        table = FAMILIES[numbered.port.name.family]
        taken = found[table, FRONTENDS]
        for where, each in zip(numbered.frontends, numbered.port.frontends, strict=True):
            if not (where in taken or (lost and (table, where) in lost) or not_carried(each.address)):
                _write_frontend(found, table, numbered, each, where)
        for pool, endpoints in enumerate((numbered.cluster, numbered.local)):
            if endpoints:
                _write_endpoints(found, table, numbered, pool, endpoints)


def _write_frontend(found: Found, table: str, numbered: Numbered, each: Frontend, where: bytes) -> None:
    said = told(each)
    for way in said.ways:
        shape = numbered.shapes[way.pool] if way.end is None else way.end
        found[table, way.frontends][where] = mark(_gid(numbered, way.pool) | shape)
    if said.hiding:
        found[table, said.hiding][where] = b""
    if each.allowed is not None:
        found[table, RESTRICTED][where] = b""
        allowed = found[table, ALLOWED]
        for first, last in _ranges(each.allowed, numbered.port.name.family):
            allowed[where + first + where + last] = b""


def _gid(numbered: Numbered, pool: int) -> int:
    """Which pool of which service port, as the upper 20 bits of a mark."""
    return (numbered.id << 1 | pool) << SHAPE_BITS


def _write_endpoints(found: Found, table: str, numbered: Numbered, pool: int, endpoints: Sequence[bytes]) -> None:
    prefix = mark(_gid(numbered, pool))
    if not numbered.port.affinity:
        found[table, ENDPOINTS].update(_slots(prefix, endpoints))
        return
    numbers = endpoint_numbers(numbered.cluster + numbered.local)
    marks = list(map(mark, map(numbers.__getitem__, endpoints)))
    found[table, ENDPOINTS].update(zip(map(prefix.__add__, marks), endpoints, strict=True))
    found[table, SLOTS].update(_slots(prefix, marks))


def _slots(prefix: bytes, pool: Sequence[bytes]) -> Iterator[tuple[bytes, bytes]]:
    count = slots_for(len(pool))
    if count <= EXACT_SLOTS:
        return zip(map(prefix.__add__, _SLOTS[:count]), pool, strict=True)
    return ((prefix + mark(slot), pool[slot % len(pool)]) for slot in range(count))
