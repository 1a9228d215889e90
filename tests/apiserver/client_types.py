"""Which fields does the official Kubernetes Python client know of a type, and which are required?

The client (PyPI `kubernetes`) is generated from the published OpenAPI document, as our table is: two ways to the same facts.
"""

import ast
import re
from functools import cache
from importlib import resources

_GROUPS = {"core": "Core", "events": "Events", "discovery": "Discovery", "authentication": "Authentication"} | {
    "admissionregistration": "Admissionregistration", "apiextensions": "Apiextensions", "policy": "Policy",
    "rbac": "Rbac", "storage": "Storage", "scheduling": "Scheduling", "resource": "Resource",
}  # fmt: skip


@cache
def _sources() -> dict[str, str]:
    """The client's model classes by name, as source text."""
    sources = {}
    for path in resources.files("kubernetes.client.models").iterdir():
        if path.name.endswith(".py"):
            text = path.read_text()
            if named := re.search(r"^class (\w+)\(BaseModel\)", text, re.M):
                sources[named[1]] = text
    return sources


def fields_of(type_name: str) -> dict[str, bool] | None:
    """By JSON name, whether the field is required; None when the client has no such class. `type_name` as 'core.v1.Pod'."""
    package, version, name = type_name.split(".")
    version = version.capitalize()
    group = _GROUPS.get(package, package.capitalize())
    text = _sources().get(f"{group}{version}{name}") or _sources().get(version + name)
    if text is None:
        return None
    names: dict[str, str] = ast.literal_eval(
        re.search(r"attribute_map: ClassVar\[Dict\[str, str\]\] = (\{.*?\})", text, re.S)[1]
    )
    required = {
        found[1] for found in re.finditer(r"^    (\w+): (?!Optional|ClassVar)[^=\n]+(?:= Field\((?!default=).*)?$", text, re.M)
    }
    return {json_name: attribute in required for attribute, json_name in names.items()}
