"""How do the tables tell what becomes of a frontend's three sources? And which arms can they not tell?

The layout can carry every arm that Kubernetes asks for. A frontend has one value for this node and its pods and may have
another for the outside. Whose source it hides is one of three: everybody's (`masqueraded`), only the node's (`transparent`),
or, at cluster IPs, everybody's but the pods' (`kept-sources`). There are few different arms, and a great many frontends that
have the same: what is said of them is worked out once.
"""

from collections.abc import Iterator
from functools import lru_cache

from msgspec import Struct

from mooring.dataplane.ruleset import FRONTENDS, MASQUERADED, OUTSIDE_FRONTENDS, OUTSIDE_SHAPES, SHAPES, TRANSPARENT
from mooring.dataplane.shapes import DROP_SHAPE, REJECT_SHAPE
from mooring.services.view import Arm, Entry, Frontend, Masquerade, Pool, Verdict

_ENDS = {Verdict.REJECT: REJECT_SHAPE, Verdict.DROP: DROP_SHAPE}


class Way(Struct, frozen=True, gc=False, cache_hash=True):
    """One value of a frontend: in which map it stands, which verdict map its shape is asked for in, and where it leads."""

    frontends: str
    shapes: str
    pool: int
    """0 the cluster pool, 1 the local one: the lowest bit of a gid."""
    end: int | None
    """The shape where nothing is picked; None where the pool's own shape picks an endpoint."""


class Told(Struct, frozen=True, gc=False):
    """What the tables say of a frontend's arms. `hiding`: the set it is in, '' for a cluster IP, where the source decides."""

    ways: tuple[Way, ...]
    hiding: str


def told(frontend: Frontend) -> Told:
    return _told(frontend.entry is Entry.CLUSTER_IP, frontend.pod, frontend.node, frontend.outside)


def untold(frontend: Frontend, detects_pods: bool) -> str:
    """Why no table can hold a frontend's arms, on a node that tells its pods from others, or does not; '' when one can."""
    return _untold(frontend.entry is Entry.CLUSTER_IP, frontend.pod, frontend.node, frontend.outside, detects_pods)


@lru_cache(maxsize=4096)
def _told(cluster_ip: bool, pod: Arm, node: Arm, outside: Arm) -> Told:
    ways = [_way(FRONTENDS, SHAPES, node)]
    if _leads_elsewhere(outside, node):
        ways.append(_way(OUTSIDE_FRONTENDS, OUTSIDE_SHAPES, outside))
    return Told(tuple(ways), _hiding(cluster_ip, pod, node, outside))


def _way(frontends: str, shapes: str, arm: Arm) -> Way:
    return Way(frontends, shapes, int(arm.pool is Pool.LOCAL), _ENDS.get(arm.verdict))


def _leads_elsewhere(arm: Arm, than: Arm) -> bool:
    return arm.verdict is not than.verdict or arm.pool is not than.pool


def _hiding(cluster_ip: bool, pod: Arm, node: Arm, outside: Arm) -> str:
    if _hides(pod) or (not cluster_ip and _hides(outside)):
        return MASQUERADED
    return TRANSPARENT if not cluster_ip and Verdict.FORWARD in (node.verdict, outside.verdict) else ""


def _hides(arm: Arm) -> bool:
    return arm.verdict is Verdict.FORWARD and arm.masquerade is Masquerade.ALWAYS


@lru_cache(maxsize=4096)
def _untold(cluster_ip: bool, pod: Arm, node: Arm, outside: Arm, detects_pods: bool) -> str:
    for whose, arm, hidden in _hidden(cluster_ip, pod, node, outside, detects_pods):
        if arm.verdict is Verdict.FORWARD and _hides(arm) is not hidden:
            return f"no table can hold its arm for the source {whose!r} beside the others"
    if detects_pods and _leads_elsewhere(pod, node):
        return "no table can hold an arm for pods that leads elsewhere than the node's"
    return ""


def _hidden(cluster_ip: bool, pod: Arm, node: Arm, outside: Arm, detects_pods: bool) -> Iterator[tuple[str, Arm, bool]]:
    """Each source that is told apart, its arm, and whether the tables hide it."""
    hiding = _hiding(cluster_ip, pod, node, outside)
    everyone = hiding == MASQUERADED
    yield "node", node, everyone or detects_pods or hiding == TRANSPARENT
    yield "outside", outside, everyone or (detects_pods and not hiding)
    if detects_pods:
        yield "pod", pod, everyone
