"""transformMap, transformMapEntry: the library checks them, but has no Python form of what grows their map. This is it."""

from datetime import datetime, timedelta
from typing import Any

from mooring.apiserver.cel.libraries.function import Function
from mooring.apiserver.cel.times import message

UNSERVED, SERVED = "cel.@mapInsert", "@mapInserted"
"""The library's function, and ours. No expression can write either name."""
MOST_ENTRIES = 1000
"""Each insertion copies the map."""


def _with(map: dict[Any, Any], more: dict[Any, Any]) -> dict[Any, Any]:
    if twice := map.keys() & more.keys():
        raise ValueError(f"insert failed: key {min(twice)!r} already exists")
    if len(map) + len(more) > MOST_ENTRIES:
        raise ValueError("Iteration budget exceeded")
    return {key: message(value) if isinstance(value, (datetime, timedelta)) else value for key, value in (map | more).items()}


FUNCTIONS = (
    Function(SERVED, ("map<dyn>", "dyn", "dyn"), "map<dyn>", lambda map, key, value: _with(map, {key: value}), member=False),
    Function(SERVED, ("map<dyn>", "map<dyn>"), "map<dyn>", _with, member=False),
)


def serve(checked: Any, calls: list[Any]) -> None:
    """Has a checked expression call ours."""
    for call in calls:
        if call.call_expr.function == UNSERVED:
            call.call_expr.function = SERVED
            kinds = "map_dyn_dyn" if len(call.call_expr.args) == 3 else "map_map"
            reference = checked.reference_map[call.id]
            reference.overload_id[:] = [f"{SERVED}_{kinds}"]
