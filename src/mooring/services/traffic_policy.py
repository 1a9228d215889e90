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
    pool = Pool.LOCAL if policy == LOCAL else Pool.CLUSTER
    detects = here.detects_pods(family)
    pod = _arm(pool, pools, Masquerade.ALWAYS if here.masquerade_all else Masquerade.HAIRPIN)
    away = _arm(pool, pools, Masquerade.ALWAYS if here.masquerade_all or detects else Masquerade.HAIRPIN)
    return Arms(pod, away, away)


def external(policy: str | None, pools: Pools, here: Locality, family: Family) -> Arms:
    """The arms of node ports, load balancer addresses and external IPs under externalTrafficPolicy."""
    anywhere = _arm(Pool.CLUSTER, pools, Masquerade.ALWAYS)
    if policy != LOCAL:
        return Arms(anywhere, anywhere, anywhere)
    outside = _arm(Pool.LOCAL, pools, Masquerade.HAIRPIN)
    pod = _arm(Pool.CLUSTER, pools, Masquerade.HAIRPIN) if here.detects_pods(family) else outside
    return Arms(pod, anywhere, outside)


def _arm(pool: Pool, pools: Pools, masquerade: Masquerade) -> Arm:
    if not pools.cluster and not pools.local:
        return _REJECT
    if pool is Pool.CLUSTER:
        return _forward(pools.cluster_basis, pool, masquerade)
    return _forward(pools.local_basis, pool, masquerade) if pools.local else _DROP


_REJECT = Arm(Verdict.REJECT, Reason.NO_ENDPOINTS)
_DROP = Arm(Verdict.DROP, Reason.NO_LOCAL_ENDPOINTS, Pool.LOCAL)


@lru_cache
def _forward(basis: Basis, pool: Pool, masquerade: Masquerade) -> Arm:
    return Arm(Verdict.FORWARD, _REASONS[basis], pool, masquerade)
