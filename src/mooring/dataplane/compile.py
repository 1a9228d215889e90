"""What must the kernel hold for a service port? Elements of the named sets; a Service at a time, so that a change costs one.

The layout can carry every arm that Kubernetes asks for. A frontend has one value for this node and its pods and may have
another for the outside. Whose source it hides is one of three: everybody's (`masqueraded`), only the node's (`transparent`),
or, at cluster IPs, everybody's but the pods' (`kept-sources`).
"""

from collections.abc import Container, Iterator, Mapping, Sequence
from functools import lru_cache

from mooring.dataplane.ids import Ids, Numbered, endpoint_numbers, place
from mooring.dataplane.localhost import not_carried
from mooring.dataplane.ruleset import (
    ALLOWED,
    CLUSTER_IPS,
    ENDPOINTS,
    FAMILIES,
    FRONTENDS,
    HAIRPINS,
    MASQUERADED,
    OUTSIDE_FRONTENDS,
    OUTSIDE_SHAPES,
    RESTRICTED,
    SHAPE_BITS,
    SHAPES,
    SLOTS,
    TRANSPARENT,
    Elements,
    SetKey,
    address,
    frontend,
    intervals,
    mark,
    packed,
    port,
)
from mooring.dataplane.shapes import DROP_SHAPE, EXACT_SLOTS, REJECT_SHAPE, Shape, Shapes, chain_name, slots_for
from mooring.services.view import (
    Arm,
    Endpoint,
    Entry,
    Family,
    Frontend,
    Masquerade,
    Pool,
    ServicePort,
    ServicePortName,
    Verdict,
)

Place = tuple[str, bytes]
"""(family, key in `frontends`): what a frontend is known by, and only one Service can have."""

_Found = dict[SetKey, dict[bytes, bytes]]

_SLOTS = [mark(slot) for slot in range(EXACT_SLOTS)]


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
    pools = [arm.pool for each in wanted.frontends for arm in (each.node, each.outside) if arm.verdict is Verdict.FORWARD]
    cluster = [pack(each) for each in wanted.cluster] if Pool.CLUSTER in pools else []
    local = [pack(each) for each in wanted.local] if Pool.LOCAL in pools else []
    numbers = (shapes.number(len(cluster), wanted.affinity), shapes.number(len(local), wanted.affinity))
    if before is None:
        return Numbered(wanted, ids.take(), tuple(cluster), tuple(local), numbers)
    return Numbered(wanted, before.id, place(before.cluster, cluster), place(before.local, local), numbers)


def pack(endpoint: Endpoint) -> bytes:
    """An endpoint as data of the endpoints map."""
    return packed(endpoint.address) + port(endpoint.port)


def places(service: Sequence[Numbered]) -> Iterator[Place]:
    """Every frontend that a Service claims. Raises ValueError for what is no address."""
    for numbered in service:
        name = numbered.port.name
        for each in numbered.port.frontends:
            yield FAMILIES[name.family], frontend(each.address, name.protocol, each.port)


def elements(service: Sequence[Numbered], lost: Container[Place] = ()) -> Elements:
    """All elements that one Service puts into the tables, without those of frontends that it has `lost` to another.

    Where it claims one frontend twice itself, the first claim holds. A cluster IP stays its own, whoever has a port there.
    """
    found: _Found = {}
    for numbered in service:
        name = numbered.port.name
        table = FAMILIES[name.family]
        for each in numbered.port.frontends:
            where = frontend(each.address, name.protocol, each.port)
            if each.entry is Entry.CLUSTER_IP:
                found.setdefault((table, CLUSTER_IPS), {})[address(each.address)] = b""
            if not lost or (table, where) not in lost:
                _add_frontend(found, table, numbered, each, where)
        _add_endpoints(found, table, numbered)
        for endpoint in numbered.port.local:
            address_ = packed(endpoint.address)
            found.setdefault((table, HAIRPINS), {})[address_ + address_] = b""
    return found


def _add_frontend(found: _Found, table: str, numbered: Numbered, each: Frontend, where: bytes) -> None:
    if where in found.get((table, FRONTENDS), ()) or not_carried(each.address):
        return
    _add_value(found, (table, FRONTENDS), (table, SHAPES), where, each.node, numbered)
    if each.outside.verdict is not each.node.verdict or each.outside.pool is not each.node.pool:
        _add_value(found, (table, OUTSIDE_FRONTENDS), (table, OUTSIDE_SHAPES), where, each.outside, numbered)
    hiding = _hiding(each)
    if hiding:
        found.setdefault((table, hiding), {})[where] = b""
    if each.allowed is not None:
        found.setdefault((table, RESTRICTED), {})[where] = b""
        for first, last in _ranges(each.allowed, numbered.port.name.family):
            found.setdefault((table, ALLOWED), {})[where + first + where + last] = b""


@lru_cache(maxsize=4096)
def _ranges(allowed: tuple[str, ...], family: Family) -> tuple[tuple[bytes, bytes], ...]:
    """First and last address of each range. Services tend to have the same ones, at several frontends."""
    return tuple((key[: len(key) // 2], key[len(key) // 2 :]) for key in intervals(allowed, family))


def _hiding(each: Frontend) -> str:
    """The set that says whose source a frontend hides; '' for a cluster IP, where the source decides."""
    cluster_ip = each.entry is Entry.CLUSTER_IP
    if _hides(each.pod) or (not cluster_ip and _hides(each.outside)):
        return MASQUERADED
    return TRANSPARENT if not cluster_ip and Verdict.FORWARD in (each.node.verdict, each.outside.verdict) else ""


def _hides(arm: Arm) -> bool:
    return arm.verdict is Verdict.FORWARD and arm.masquerade is Masquerade.ALWAYS


def check(ports: Sequence[ServicePort], detects: Mapping[Family, bool]) -> None:
    """Raises ValueError for arms that no table can hold on a node that tells pods of a family from others, or does not."""
    for port_ in ports:
        detects_pods = detects[port_.name.family]
        for each in port_.frontends:
            hiding = _hiding(each)
            everyone, node_too = hiding == MASQUERADED, detects_pods or hiding == TRANSPARENT
            _check_arm(each, "node", each.node, everyone or node_too)
            _check_arm(each, "outside", each.outside, everyone or (detects_pods and not hiding))
            if detects_pods:
                _check_arm(each, "pod", each.pod, everyone)
                if each.pod.verdict is not each.node.verdict or each.pod.pool is not each.node.pool:
                    raise ValueError(f"{_title(each)}: no table can hold an arm for pods that leads elsewhere than the node's")


def _check_arm(each: Frontend, whose: str, arm: Arm, hidden: bool) -> None:
    if arm.verdict is Verdict.FORWARD and (arm.masquerade is Masquerade.ALWAYS) is not hidden:
        raise ValueError(f"{_title(each)}: no table can hold its arm for the source {whose!r} beside the others")


def _title(each: Frontend) -> str:
    return f"{each.entry.value} {each.address}:{each.port}"


def _add_value(found: _Found, frontends: SetKey, shapes: SetKey, where: bytes, arm: Arm, numbered: Numbered) -> None:
    """What a frontend's element says of one arm."""
    local = arm.pool is Pool.LOCAL
    match arm.verdict:
        case Verdict.REJECT:
            shape = REJECT_SHAPE
        case Verdict.DROP:
            shape = DROP_SHAPE
        case Verdict.FORWARD:
            shape = numbered.shapes[local]
    gid = numbered.id << 1 | local
    found.setdefault(frontends, {})[where] = mark(gid << SHAPE_BITS | shape)
    if shape > DROP_SHAPE:
        slots = slots_for(len(numbered.local if local else numbered.cluster))
        chain = chain_name(shapes[1], Shape(slots, numbered.port.affinity))
        found.setdefault(shapes, {})[mark(shape)] = chain.encode()


def _add_endpoints(found: _Found, table: str, numbered: Numbered) -> None:
    for gid, pool in ((numbered.id << 1, numbered.cluster), (numbered.id << 1 | 1, numbered.local)):
        if not pool:
            continue
        prefix = mark(gid << SHAPE_BITS)
        if numbered.port.affinity:
            numbers = {each: mark(number) for each, number in endpoint_numbers(numbered.cluster + numbered.local).items()}
            found.setdefault((table, ENDPOINTS), {}).update({prefix + numbers[each]: each for each in pool})
            found.setdefault((table, SLOTS), {}).update(_slots(prefix, [numbers[each] for each in pool]))
        else:
            found.setdefault((table, ENDPOINTS), {}).update(_slots(prefix, pool))


def _slots(prefix: bytes, pool: Sequence[bytes]) -> dict[bytes, bytes]:
    count = slots_for(len(pool))
    if count <= EXACT_SLOTS:
        return dict(zip([prefix + slot for slot in _SLOTS[:count]], pool, strict=True))
    return {prefix + mark(slot): pool[slot % len(pool)] for slot in range(count)}
