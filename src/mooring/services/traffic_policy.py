"""What does a traffic policy do with a pool of endpoints? Cluster uses any, Local only this node's (KEP-2086, KEP-1669).

Nothing usable anywhere is refused at once; nothing usable here while others have is dropped, so that a balancer in front tries
another node.
"""

from mooring.endpoints.select import Pools
from mooring.services.view import Arm, Masquerade, Pool, Reason, Verdict

LOCAL = "Local"


def arm(policy: str | None, pools: Pools, masquerade: Masquerade) -> Arm:
    """The arm for one source under 'Cluster' (the default) or 'Local'."""
    if not pools.cluster and not pools.local:
        return Arm(Verdict.REJECT, Reason.NO_ENDPOINTS)
    if policy != LOCAL:
        return Arm(Verdict.FORWARD, _reason(pools.cluster_draining), Pool.CLUSTER, masquerade)
    if not pools.local:
        return Arm(Verdict.DROP, Reason.NO_LOCAL_ENDPOINTS, Pool.LOCAL)
    return Arm(Verdict.FORWARD, _reason(pools.local_draining), Pool.LOCAL, masquerade)


def _reason(draining: bool) -> Reason:
    return Reason.TERMINATING_ENDPOINTS if draining else Reason.ENDPOINTS
