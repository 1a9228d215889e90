"""Whose turn is it? A request belongs to a flow, that of its user, and to a priority level with shares of the server's time.

The user is whom it acts as. Levels and their shares are those of upstream's suggested configuration
(https://kubernetes.io/docs/concepts/cluster-administration/flow-control/#default-configuration-objects). Differs in one thing:
upstream's level `exempt` waits for nobody; here one thread serves all, so it has the greatest share instead.
"""

from msgspec import Struct

from mooring.apiserver.contract import User


class Level(Struct, frozen=True, cache_hash=True):
    """`shares` is the weight of each of its flows beside the others that wait."""

    name: str
    shares: int


EXEMPT = Level("exempt", 200)
LEADER_ELECTION = Level("leader-election", 100)
NODE_HIGH = Level("node-high", 40)
SYSTEM = Level("system", 30)
WORKLOAD_HIGH = Level("workload-high", 40)
WORKLOAD_LOW = Level("workload-low", 100)
GLOBAL_DEFAULT = Level("global-default", 20)
CATCH_ALL = Level("catch-all", 5)
LEVELS = (EXEMPT, LEADER_ELECTION, NODE_HIGH, SYSTEM, WORKLOAD_HIGH, WORKLOAD_LOW, GLOBAL_DEFAULT, CATCH_ALL)

_PROBES = ("/healthz", "/livez", "/readyz")


def level_of(user: User, path: str) -> Level:
    """As upstream's FlowSchemas, the first that fits in their matching precedence."""
    groups = user.groups
    if "system:masters" in groups or path in _PROBES:
        return EXEMPT
    if user.name in ("system:kube-controller-manager", "system:kube-scheduler"):
        return LEADER_ELECTION if "/leases/" in path else WORKLOAD_HIGH
    if "system:nodes" in groups:
        return NODE_HIGH if "/nodes/" in path or "/leases/" in path else SYSTEM
    if "system:serviceaccounts:kube-system" in groups:
        return WORKLOAD_HIGH
    if "system:serviceaccounts" in groups:
        return WORKLOAD_LOW
    return GLOBAL_DEFAULT if "system:authenticated" in groups else CATCH_ALL
