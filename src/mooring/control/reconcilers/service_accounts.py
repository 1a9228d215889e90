"""Has every namespace its 'default' ServiceAccount? (upstream: pkg/controller/serviceaccount)"""

from collections.abc import Iterable

from mooring.control.amend import create
from mooring.control.namespaces import active_namespace
from mooring.control.reconciler import NOTHING, Change, Key, Plan, World
from mooring.model.kinds import NAMESPACE, SERVICE_ACCOUNT

NAME = "default"


class ServiceAccounts:
    name = "serviceaccount"
    watches = (NAMESPACE, SERVICE_ACCOUNT)
    serial = False

    def keys(self, change: Change, world: World) -> Iterable[Key]:
        if change.kind == NAMESPACE:
            return [(change.after["metadata"]["name"], NAME)] if change.after else ()
        gone = change.before if change.after is None else None
        return [(gone["metadata"]["namespace"], NAME)] if gone and gone["metadata"]["name"] == NAME else ()

    def plan(self, key: Key, world: World) -> Plan:
        if not active_namespace(world, key[0]) or world.get(SERVICE_ACCOUNT, *key):
            return NOTHING
        metadata = {"namespace": key[0], "name": key[1]}
        return Plan((create(SERVICE_ACCOUNT, {"metadata": metadata}, "AlreadyExists"),))
