"""In which ways can a patch be refused, and how is it shown then?"""

from typing import Any


class BadPatch(Exception):
    """The patch is not well formed (400)."""


class PatchFailed(Exception):
    """The patch is well formed but does not fit the document (422)."""


class TooManyOperations(Exception):
    """A JSON Patch of more operations than is served (413)."""


def go_map(value: Any) -> str:
    """A strategic merge patch as Go's %+v prints it."""
    match value:
        case dict():
            return f"map[{' '.join(f'{name}:{go_map(value[name])}' for name in sorted(value))}]"
        case list():
            return f"[{' '.join(map(go_map, value))}]"
        case bool():
            return "true" if value else "false"
        case None:
            return "<nil>"
    return str(value)
