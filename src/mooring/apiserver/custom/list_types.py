"""Are the items of sets different, and those of maps by their keys? (pkg/apiserver/schema/listtype/validation.go)"""

from typing import Any

import msgspec

from mooring.apiserver.custom.structural import Schema
from mooring.apiserver.kinds.problems import duplicate
from mooring.apiserver.strategy import FieldError

_sorted = msgspec.json.Encoder(order="sorted")


def identity(item: Any) -> Any:
    """Equal for equal values, and can be looked up: 1 and true differ, 1 and 1.0 do not."""
    if isinstance(item, (dict, list)):
        return _sorted.encode(item)
    return (isinstance(item, bool), item)


def keys_of(item: Any, schema: Schema) -> Any:
    """What tells an item of a map-list from others: its keys, defaults for those left out."""
    if not isinstance(item, dict):
        return None
    properties = schema.items.properties if schema.items else {}
    found = []
    for key in schema.map_keys:
        value = item.get(key)
        if value is None and key in properties:
            value = properties[key].default
        found.append(identity(value))
    return tuple(found)


def check(value: Any, schema: Schema, path: str, most: int) -> list[FieldError]:
    """Duplicates at this list, not below; no more than `most`."""
    found: list[FieldError] = []
    seen: set[Any] = set()
    for place, item in enumerate(value):
        if schema.list_type == "set":
            own, shown = identity(item), item
        elif isinstance(item, dict):
            own, shown = keys_of(item, schema), {key: item[key] for key in schema.map_keys if item.get(key) is not None}
        else:
            continue
        if own in seen:
            found.append(duplicate(f"{path}[{place}]", shown))
            if len(found) == most:
                break
        seen.add(own)
    return found
