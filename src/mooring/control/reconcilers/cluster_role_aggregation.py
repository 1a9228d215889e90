"""Which rules has a ClusterRole that is the sum of others? (upstream: pkg/controller/clusterroleaggregation)"""

from collections.abc import Iterable, Iterator

from mooring.control.amend import amend
from mooring.control.reconciler import NOTHING, Change, Document, Key, Plan, World
from mooring.control.selectors import selects
from mooring.model.kinds import CLUSTER_ROLE


class ClusterRoleAggregation:
    name = "clusterrole-aggregation-controller"
    watches = (CLUSTER_ROLE,)
    serial = False

    def keys(self, change: Change, world: World) -> Iterable[Key]:
        """Any role may be part of any sum: there are few of either."""
        return [("", role["metadata"]["name"]) for role in world.list(CLUSTER_ROLE) if role.get("aggregationRule")]

    def plan(self, key: Key, world: World) -> Plan:
        role = world.get(CLUSTER_ROLE, *key)
        if role is None or not role.get("aggregationRule"):
            return NOTHING
        rules: list[Document] = []
        for part in self._parts(role, world):
            rules += [rule for rule in part.get("rules") or () if rule not in rules]
        return Plan(amend(CLUSTER_ROLE, role, {**role, "rules": rules}))

    def _parts(self, role: Document, world: World) -> Iterator[Document]:
        """The roles that the selectors see, in the order of selectors and names, each once, never itself."""
        seen = {role["metadata"]["name"]}
        for selector in role["aggregationRule"].get("clusterRoleSelectors") or ():
            for part in sorted(world.list(CLUSTER_ROLE), key=lambda each: str(each["metadata"]["name"])):
                name = part["metadata"]["name"]
                if name not in seen and selects(selector, part["metadata"].get("labels") or {}):
                    seen.add(name)
                    yield part
