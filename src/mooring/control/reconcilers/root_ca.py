"""Can the Pods of every namespace verify the API server? (upstream: pkg/controller/certificates/rootcacertpublisher)"""

from collections.abc import Iterable

from mooring.control.amend import amend, create, overlaid
from mooring.control.namespaces import active_namespace
from mooring.control.reconciler import NOTHING, Change, Document, Key, Plan, World
from mooring.model.kinds import CONFIG_MAP, NAMESPACE

NAME = "kube-root-ca.crt"
DESCRIPTION = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal "
    "service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters."
)


class RootCa:
    name = "root-ca-certificate-publisher"
    watches = (NAMESPACE, CONFIG_MAP)
    serial = False

    def __init__(self, ca: str) -> None:
        """`ca` is the bundle, PEM. Whoever changes it has the loop look at everything again."""
        self.ca = ca

    def keys(self, change: Change, world: World) -> Iterable[Key]:
        either = change.after or change.before
        assert either is not None
        metadata = either["metadata"]
        if change.kind == NAMESPACE:
            return [(metadata["name"], NAME)] if change.after else ()
        return [(metadata["namespace"], NAME)] if metadata["name"] == NAME else ()

    def plan(self, key: Key, world: World) -> Plan:
        if not active_namespace(world, key[0]):
            return NOTHING
        metadata = {"namespace": key[0], "name": key[1], "annotations": {"kubernetes.io/description": DESCRIPTION}}
        wanted: Document = {"metadata": metadata, "data": {"ca.crt": self.ca}}
        held = world.get(CONFIG_MAP, *key)
        if held is None:
            return Plan((create(CONFIG_MAP, wanted, "AlreadyExists"),))
        return Plan(amend(CONFIG_MAP, held, {**overlaid(held, wanted), "data": wanted["data"]}))
