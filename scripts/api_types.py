"""Which types, list kinds and wire numbers has the published API? Makes apiserver/schema_types.json and wire_numbers.json anew.

    scripts/api_types.py types DEFINITIONS     a JSON file of upstream's OpenAPI definitions (`definitions` or `$defs`)
    scripts/api_types.py numbers KUBECTL       any kubectl binary: Go embeds each generated.proto's descriptor, gzipped

Only names, types and numbers are taken: facts. A field reads `type[!][ patch][ =list]`: `!` required; patch is
`strategies[:mergeKey]`; list is `set`, `map:keys`, or `atomic` for a map that is merged as one. The entry '' of a type says
`atomic` when the whole object is merged as one (x-kubernetes-map-type).
"""

import gzip
import json
import re
import sys
import zlib
from pathlib import Path
from typing import Any

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.message import DecodeError

from mooring.apiserver.schema import type_of
from mooring.model.kinds import KINDS

ROOT = Path(__file__).resolve().parent.parent / "src/mooring/apiserver"
MORE_ROOTS = (
    "autoscaling.v1.Scale", "authentication.v1.TokenRequest", "core.v1.Binding", "policy.v1.Eviction", "meta.v1.Status",
    "meta.v1.DeleteOptions", "meta.v1.Condition", "meta.v1.ListMeta",
)  # fmt: skip
SCALARS = {
    "meta.v1.Time": "time", "meta.v1.MicroTime": "micro-time", "meta.v1.FieldsV1": "any", "meta.v1.Duration": "string",
    "apiextensions.v1.JSON": "any", "apiextensions.v1.JSONSchemaPropsOrArray": "any",
    "apiextensions.v1.JSONSchemaPropsOrBool": "any", "apiextensions.v1.JSONSchemaPropsOrStringArray": "any",
    "resource.Quantity": "quantity", "intstr.IntOrString": "int-or-string", "runtime.RawExtension": "any",
}  # fmt: skip
FORMATS = {"int32": "int32", "int64": "int64", "byte": "bytes", "date-time": "time"}


def short(name: str) -> str:
    """'core.v1.Pod' of 'io.k8s.api.core.v1.Pod'; 'resource.Quantity' of the types that have no version."""
    parts = name.split(".")
    return ".".join(parts[-3:]) if re.fullmatch(r"v\d+\w*", parts[-2]) else ".".join(parts[-2:])


def base(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = short(schema["$ref"].rpartition("/")[2])
        return SCALARS.get(name, name)
    if "allOf" in schema:
        return base(schema["allOf"][0])
    kind = schema.get("type")
    kind = next((each for each in kind if each != "null"), "") if isinstance(kind, list) else kind
    match kind:
        case "array":
            return "[]" + base(schema["items"])
        case "object":
            inner = schema.get("additionalProperties")
            return "map[string]" + base(inner) if inner else "any"
        case "boolean":
            return "bool"
        case "integer":
            return FORMATS.get(schema.get("format", ""), "int64")
        case "string":
            return FORMATS.get(schema.get("format", ""), "string")
    return "any"


def field(schema: dict[str, Any], required: bool, package: str) -> tuple[str, str]:
    """The field's text and the type it mentions."""
    kind = base(schema)
    mentioned = re.sub(r"^(\[\]|map\[string\])+", "", kind)
    text = kind.replace(package + ".", "", 1) if mentioned.startswith(package + ".") else kind
    text += "!" if required else ""
    if strategy := schema.get("x-kubernetes-patch-strategy"):
        key = schema.get("x-kubernetes-patch-merge-key")
        text += f" {strategy}" + (f":{key}" if key else "")
    listed = schema.get("x-kubernetes-list-type")
    if listed == "map":
        text += " =map:" + ",".join(schema["x-kubernetes-list-map-keys"])
    elif listed == "set" or schema.get("x-kubernetes-map-type") == "atomic":
        text += " =set" if listed else " =atomic"
    return text, mentioned


def types(definitions: dict[str, Any]) -> dict[str, dict[str, dict[str, str]]]:
    by_name = {short(name): schema for name, schema in definitions.items()}
    table: dict[str, dict[str, dict[str, str]]] = {}
    waiting = [type_of(kind) for kind in KINDS] + list(MORE_ROOTS)
    while waiting:
        name = waiting.pop()
        package, _, last = name.rpartition(".")
        if last in table.setdefault(package, {}):
            continue
        schema = by_name[name]
        made = table[package][last] = {"": "atomic"} if schema.get("x-kubernetes-map-type") == "atomic" else {}
        for each, inner in sorted(schema.get("properties", {}).items()):
            made[each], mentioned = field(inner, each in schema.get("required", ()), package)
            if "." in mentioned:
                waiting.append(mentioned)
    return {package: dict(sorted(found.items())) for package, found in sorted(table.items())}


def descriptors(binary: bytes) -> dict[str, FileDescriptorProto]:
    """The file descriptors of k8s.io APIs embedded in a Go binary."""
    found = {}
    for place in re.finditer(b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff", binary):
        try:
            data = zlib.decompressobj(wbits=31).decompress(binary[place.start() : place.start() + 4_000_000])
            proto = FileDescriptorProto.FromString(data)
        except (zlib.error, gzip.BadGzipFile, DecodeError):
            continue
        if proto.package.startswith("k8s.io."):
            found[proto.package] = proto
    return found


def numbers(binary: bytes, old: dict[str, Any], table: dict[str, Any]) -> dict[str, Any]:
    """Field numbers by package and type; what this binary lacks is kept from the former table."""
    made = {package: dict(found) for package, found in old.items()}
    for package, proto in sorted(descriptors(binary).items()):
        name = ".".join(package.split(".")[-2:])
        messages = {message.name: message for message in proto.message_type}
        waiting = [each for each in table.get(name, {}) if each in messages]
        while waiting:
            each = waiting.pop()
            if each in made.setdefault(name, {}):
                continue
            known = table[name].get(each)
            found = made[name][each] = {}
            for one in messages[each].field:
                # A Go struct that is embedded: its fields are the outer type's own in JSON.
                if known is not None and one.name not in known and one.type == FieldDescriptorProto.TYPE_MESSAGE:
                    inner = one.type_name.rpartition(".")[2]
                    found["*" + inner] = one.number
                    waiting.append(inner)
                else:
                    found[one.name] = one.number
    return {package: dict(sorted(found.items())) for package, found in sorted(made.items())}


def write(path: Path, table: dict[str, dict[str, dict[str, Any]]]) -> None:
    """One line a type, so that a diff reads."""
    packages = []
    for package, found in table.items():
        lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(fields)}" for name, fields in found.items())
        packages.append(f"{json.dumps(package)}: {{\n{lines}\n}}")
    path.write_text("{\n" + ",\n".join(packages) + "\n}\n")


def main() -> None:
    what, source = sys.argv[1:]
    schema = ROOT / "schema_types.json"
    if what == "types":
        document = json.loads(Path(source).read_text())
        write(schema, types(document.get("$defs") or document["definitions"]))
    else:
        path = ROOT / "wire_numbers.json"
        write(path, numbers(Path(source).read_bytes(), json.loads(path.read_text()), json.loads(schema.read_text())))


if __name__ == "__main__":
    main()
