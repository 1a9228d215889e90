"""What does a JSON Merge Patch make of a document? RFC 7386."""

from typing import Any


def apply(document: Any, patch: Any) -> Any:
    """The patched value; neither argument is changed, though unchanged parts are shared."""
    if not isinstance(patch, dict):
        return patch
    result = dict(document) if isinstance(document, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = apply(result.get(name), value)
    return result
