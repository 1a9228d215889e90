"""Which namespaces may things be put into?"""

from mooring.control.reconciler import World
from mooring.model.kinds import NAMESPACE


def active_namespace(world: World, name: str) -> bool:
    """It exists and is not on its way out."""
    held = world.get(NAMESPACE, "", name)
    return held is not None and not held["metadata"].get("deletionTimestamp")
