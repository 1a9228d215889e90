"""What must the kernel hold for a service port? Elements of the named sets; a Service at a time, so that a change costs one.

The layout can carry every arm that Kubernetes asks for: `node` goes where `pod` goes, and is always masqueraded; a cluster IP
masquerades whoever is outside this node; a frontend whose pods are masqueraded masquerades all.
"""

from collections.abc import Sequence

from mooring.dataplane.ids import Ids, Numbered, place
from mooring.dataplane.ruleset import (
    CLUSTER_IPS,
    DROP_SHAPE,
    ENDPOINTS,
    EXACT_SLOTS,
    FAMILIES,
    FRONTENDS,
    HAIRPINS,
    MASQUERADED,
    OUTSIDE_FRONTENDS,
    OUTSIDE_SHAPES,
    REJECT_SHAPE,
    SHAPE_BITS,
    SHAPES,
    Elements,
    SetKey,
    address,
    frontend,
    mark,
    packed,
    port,
    shape_for,
    slots_for,
)
from mooring.dataplane.skeleton import shape_element
from mooring.services.view import (
    Arm,
    Endpoint,
    Entry,
    Frontend,
    Masquerade,
    Pool,
    ServicePort,
    ServicePortName,
    Verdict,
)

_Found = dict[SetKey, dict[bytes, bytes]]

_SLOTS = [mark(slot) for slot in range(EXACT_SLOTS)]
_SHAPE_MASK = (1 << SHAPE_BITS) - 1


def number_service(ports: Sequence[ServicePort], before: Sequence[Numbered], ids: Ids) -> tuple[Numbered, ...]:
    """The ports with their numbers, keeping those they had `before`."""
    known: dict[ServicePortName, Numbered] = {numbered.port.name: numbered for numbered in before}
    return tuple(_number(each, known.pop(each.name, None), ids) for each in ports)


def _number(wanted: ServicePort, before: Numbered | None, ids: Ids) -> Numbered:
    pools = [arm.pool for each in wanted.frontends for arm in (each.pod, each.outside) if arm.verdict is Verdict.FORWARD]
    cluster = [pack(each) for each in wanted.cluster] if Pool.CLUSTER in pools else []
    local = [pack(each) for each in wanted.local] if Pool.LOCAL in pools else []
    if before is None:
        return Numbered(wanted, ids.take(), tuple(cluster), tuple(local))
    return Numbered(wanted, before.id, place(before.cluster, cluster), place(before.local, local))


def pack(endpoint: Endpoint) -> bytes:
    """An endpoint as data of the endpoints map."""
    return packed(endpoint.address) + port(endpoint.port)


def elements(service: Sequence[Numbered]) -> Elements:
    """All elements that one Service puts into the tables. Raises ValueError for arms that no table can hold."""
    found: _Found = {}
    for numbered in service:
        table = FAMILIES[numbered.port.name.family]
        for each in numbered.port.frontends:
            _add_frontend(found, table, numbered, each)
        for gid, slots in ((numbered.id << 1, numbered.cluster), (numbered.id << 1 | 1, numbered.local)):
            if slots:
                found.setdefault((table, ENDPOINTS), {}).update(_slots(gid, slots))
        for endpoint in numbered.port.local:
            address_ = packed(endpoint.address)
            found.setdefault((table, HAIRPINS), {})[address_ + address_] = b""
    return found


def _add_frontend(found: _Found, table: str, numbered: Numbered, each: Frontend) -> None:
    pod, node, outside = each.pod, each.node, each.outside
    if node.verdict is not pod.verdict or node.pool is not pod.pool:
        raise ValueError(f"{each.entry.value} {each.address}:{each.port}: the node's arm differs from its pods'")
    where = frontend(each.address, numbered.port.name.protocol, each.port)
    inside = _value(pod, numbered)
    _add_value(found, (table, FRONTENDS), (table, SHAPES), where, inside)
    if outside.verdict is not pod.verdict or outside.pool is not pod.pool:
        _add_value(found, (table, OUTSIDE_FRONTENDS), (table, OUTSIDE_SHAPES), where, _value(outside, numbered))
    if each.entry is Entry.CLUSTER_IP:
        found.setdefault((table, CLUSTER_IPS), {})[address(each.address)] = b""
    if pod.verdict is Verdict.FORWARD and pod.masquerade is Masquerade.ALWAYS:
        found.setdefault((table, MASQUERADED), {})[where] = b""


def _add_value(found: _Found, frontends: SetKey, shapes: SetKey, where: bytes, value: int) -> None:
    found.setdefault(frontends, {})[where] = mark(value)
    shape = value & _SHAPE_MASK
    if shape > DROP_SHAPE:
        key, chain = shape_element(shapes[1], shape)
        found.setdefault(shapes, {})[key] = chain


def _value(arm: Arm, numbered: Numbered) -> int:
    """What a frontend's element says of one arm."""
    local = arm.pool is Pool.LOCAL
    gid = numbered.id << 1 | local
    match arm.verdict:
        case Verdict.REJECT:
            shape = REJECT_SHAPE
        case Verdict.DROP:
            shape = DROP_SHAPE
        case Verdict.FORWARD:
            shape = shape_for(slots_for(len(numbered.local if local else numbered.cluster)))
    return gid << SHAPE_BITS | shape


def _slots(gid: int, slots: tuple[bytes, ...]) -> dict[bytes, bytes]:
    prefix = mark(gid << SHAPE_BITS)
    count = slots_for(len(slots))
    if count <= EXACT_SLOTS:
        return dict(zip([prefix + slot for slot in _SLOTS[:count]], slots, strict=True))
    return {prefix + mark(slot): slots[slot % len(slots)] for slot in range(count)}
