"""What do the types and fields mean, in upstream's words?

The words are not ours, so they are not in the repository: they are read from the source of the official Kubernetes Python
client, an installed dependency, through its import loader, without importing it (which costs a second). Only the OpenAPI
documents need them. Without the client every description is empty and all else works.
"""

import ast
import re
from functools import cache
from importlib.machinery import ModuleSpec
from importlib.util import find_spec

from msgspec import Struct

_CLASS = re.compile(r'^class \w+\(BaseModel\):\n    """\n(.*?)\n\n    Attributes:', re.M | re.S)
_FIELD = re.compile(r'^    (\w+): .*?\bdescription=("(?:[^"\\]|\\.)*")\)$', re.M)
_PARAMETER = re.compile(r'^        (\w+): .*?\bdescription=("(?:[^"\\]|\\.)*")', re.M)
_NAMES = re.compile(r"attribute_map: ClassVar\[Dict\[str, str\]\] = (\{.*?\})", re.S)
_WORD_STARTS = ((re.compile(r"([A-Z]+)([A-Z][a-z])"), r"\1_\2"), (re.compile(r"([a-z\d])([A-Z])"), r"\1_\2"))


class Description(Struct, frozen=True):
    type: str = ""
    fields: dict[str, str] = {}


def snake(name: str) -> str:
    """As the client spells a class's module, or a parameter: 'label_selector' of 'labelSelector'."""
    for pattern, replacement in _WORD_STARTS:
        name = pattern.sub(replacement, name)
    return name.lower()


def _source(client_class: str) -> str:
    return _file(f"models/{snake(client_class)}.py")


@cache
def _client() -> ModuleSpec | None:
    return find_spec("kubernetes")


def _file(name: str) -> str:
    found = _client()
    if found is None or found.submodule_search_locations is None:
        return ""
    path = f"{found.submodule_search_locations[0]}/client/{name}"
    try:
        data: bytes = found.loader.get_data(path)  # type: ignore[union-attr]  # every source loader has it
    except OSError:
        return ""
    return data.decode()


@cache
def describe(type_name: str) -> Description:
    """The words for a type of the schema table, e.g. 'core.v1.ServicePort', and for its fields by their JSON names."""
    package, version, name = type_name.split(".")
    # Types whose Go name exists in more than one group carry their group's: CoreV1Event.
    source = _source(f"{package.capitalize()}{version.capitalize()}{name}") or _source(version.capitalize() + name)
    names, described = _NAMES.search(source), _CLASS.search(source)
    if names is None:
        return Description()
    json_names: dict[str, str] = ast.literal_eval(names[1])
    fields = {json_names[name]: ast.literal_eval(text) for name, text in _FIELD.findall(source) if name in json_names}
    return Description(" ".join(described[1].split()) if described else "", fields)


@cache
def describe_parameters(*operations: str) -> dict[str, str]:
    """The words for the parameters of operations on pods and nodes, as the client names them ('list_namespaced_pod'), in its
    spelling of their names ('label_selector')."""
    source, found = _file("api/core_v1_api.py"), dict[str, str]()
    for operation in operations:
        start = source.find(f"    def {operation}(")
        signature = source[start : source.find(") ->", start)] if start >= 0 else ""
        found |= {name.lstrip("_"): ast.literal_eval(text) for name, text in _PARAMETER.findall(signature)}
    return found
