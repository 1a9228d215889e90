"""Has a local cluster its IngressClasses from the start? Each is made once when the controllers start and it is not there.

What people change about one stays; one that they delete comes back with the next start.
"""

from collections.abc import Iterable, Sequence

from mooring.control.amend import create
from mooring.control.reconciler import NOTHING, Change, Document, Key, Plan, World
from mooring.model.ingress import CONTROLLERS
from mooring.model.kinds import INGRESS_CLASS

DEFAULT_ANNOTATION = "ingressclass.kubernetes.io/is-default-class"


class IngressClasses:
    name = "ingress-classes"
    watches = (INGRESS_CLASS,)
    serial = False

    def __init__(self, names: Sequence[str]) -> None:
        """`names` of CONTROLLERS; the first is that of Ingresses that name no class. Raises ValueError for another name."""
        for name in names:
            if name not in CONTROLLERS:
                raise ValueError(f"there is no ingress class {name!r}; there are {', '.join(sorted(CONTROLLERS))}")
        self._names = tuple(names)
        self.initial: tuple[Key, ...] = tuple(("", name) for name in names)

    def keys(self, change: Change, world: World) -> Iterable[Key]:
        return ()

    def plan(self, key: Key, world: World) -> Plan:
        if world.get(INGRESS_CLASS, *key):
            return NOTHING
        metadata: Document = {"name": key[1]}
        if key[1] == self._names[0]:
            metadata["annotations"] = {DEFAULT_ANNOTATION: "true"}
        wanted = {"metadata": metadata, "spec": {"controller": CONTROLLERS[key[1]]}}
        return Plan((create(INGRESS_CLASS, wanted, "AlreadyExists"),))
