"""What does the balancers' provider do, where it is not ours? The assumption: it lets go of a Service that is deleted.

Which address it gives to a new load balancer nobody can know; what it has given stays.
"""

from collections.abc import Iterable

from mooring.control.amend import amend
from mooring.control.reconciler import NOTHING, Change, Key, Plan, World
from mooring.control.reconcilers.load_balancers import FINALIZER
from mooring.model.kinds import SERVICE


class AssumedProvider:
    name = "assumed-provider"
    watches = (SERVICE,)
    serial = False

    def keys(self, change: Change, world: World) -> Iterable[Key]:
        held = change.after
        return [(held["metadata"]["namespace"], held["metadata"]["name"])] if held else ()

    def plan(self, key: Key, world: World) -> Plan:
        held = world.get(SERVICE, *key)
        finalizers = (held["metadata"].get("finalizers") or []) if held else []
        if held is None or FINALIZER not in finalizers or not held["metadata"].get("deletionTimestamp"):
            return NOTHING
        kept = [each for each in finalizers if each != FINALIZER]
        return Plan(amend(SERVICE, held, {**held, "metadata": {**held["metadata"], "finalizers": kept or None}}))
