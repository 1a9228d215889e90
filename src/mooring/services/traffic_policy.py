"""What becomes of each traffic source under a policy? Cluster uses any endpoint, Local only this node's (KEP-2086, KEP-1669).

Nothing usable anywhere is refused at once; nothing usable here while others have is dropped, so that a balancer in front
tries another node. internalTrafficPolicy rules the cluster IPs and nothing else, externalTrafficPolicy all but the cluster IPs.

| source  | cluster IP         | external, Cluster | external, Local                    |
|---------|--------------------|-------------------|------------------------------------|
| pod     | keeps its address  | masqueraded       | all endpoints, keeps its address   |
| node    | masqueraded        | masqueraded       | all endpoints, masqueraded         |
| outside | masqueraded        | masqueraded       | local endpoints, keeps its address |

With externalTrafficPolicy Local, pods and the node itself take the short way to all endpoints, as if they had gone out to a
balancer and come back in. Where this node's pods cannot be told from the outside, they are treated as the outside: no short way
at external addresses, and at cluster IPs nobody is masqueraded for where he comes from. A pod that reaches itself always is.
"""

from functools import lru_cache

from msgspec import Struct

from mooring.endpoints.select import Basis, Pools
from mooring.services.locality import Locality
from mooring.services.view import Arm, Family, Masquerade, Pool, Reason, Verdict

LOCAL = "Local"

_REASONS = {
    Basis.READY: Reason.ENDPOINTS,
    Basis.SAME_NODE: Reason.SAME_NODE,
    Basis.SAME_ZONE: Reason.SAME_ZONE,
    Basis.DRAINING: Reason.TERMINATING_ENDPOINTS,
}


class Arms(Struct, frozen=True, gc=False):
    """What happens to each source, at every frontend of one kind."""

    pod: Arm
    node: Arm
    outside: Arm


def internal(policy: str | None, pools: Pools, here: Locality, family: Family) -> Arms:
    """The arms of cluster IPs under internalTrafficPolicy."""
    return _internal(policy == LOCAL, _usable(pools), here, family)


def external(policy: str | None, pools: Pools, here: Locality, family: Family) -> Arms:
    """The arms of node ports, load balancer addresses and external IPs under externalTrafficPolicy."""
    return _external(policy == LOCAL, _usable(pools), here, family)


_Usable = tuple[Basis, Basis | None] | None
"""By what the endpoints of the two pools were chosen, None for a local pool without one; None when both have none."""


def _usable(pools: Pools) -> _Usable:
    if not pools.cluster and not pools.local:
        return None
    return pools.cluster_basis, pools.local_basis if pools.local else None


# There are few different answers, and a node asks for one at each frontend of each Service.
@lru_cache
def _internal(local: bool, usable: _Usable, here: Locality, family: Family) -> Arms:
    pool = Pool.LOCAL if local else Pool.CLUSTER
    detects = here.detects_pods(family)
    pod = _arm(pool, usable, Masquerade.ALWAYS if here.masquerade_all else Masquerade.HAIRPIN)
    away = _arm(pool, usable, Masquerade.ALWAYS if here.masquerade_all or detects else Masquerade.HAIRPIN)
    return Arms(pod, away, away)


@lru_cache
def _external(local: bool, usable: _Usable, here: Locality, family: Family) -> Arms:
    anywhere = _arm(Pool.CLUSTER, usable, Masquerade.ALWAYS)
    if not local:
        return Arms(anywhere, anywhere, anywhere)
    outside = _arm(Pool.LOCAL, usable, Masquerade.HAIRPIN)
    pod = _arm(Pool.CLUSTER, usable, Masquerade.HAIRPIN) if here.detects_pods(family) else outside
    return Arms(pod, anywhere, outside)


def _arm(pool: Pool, usable: _Usable, masquerade: Masquerade) -> Arm:
    if usable is None:
        return _REJECT
    basis = usable[pool is Pool.LOCAL]
    return _DROP if basis is None else Arm(Verdict.FORWARD, _REASONS[basis], pool, masquerade)


_REJECT = Arm(Verdict.REJECT, Reason.NO_ENDPOINTS)
_DROP = Arm(Verdict.DROP, Reason.NO_LOCAL_ENDPOINTS, Pool.LOCAL)
