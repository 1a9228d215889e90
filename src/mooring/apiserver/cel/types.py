"""How does the type checker learn of declared types? As protobuf messages, since those are the objects that CEL knows."""

from typing import Any

from cel_expr_python import cel
from google.protobuf import any_pb2, descriptor_pool, duration_pb2, struct_pb2, timestamp_pb2, wrappers_pb2
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto

from mooring.apiserver.cel.declared import Declared

_FIELD = FieldDescriptorProto
_SCALARS = {
    "bool": _FIELD.TYPE_BOOL, "int": _FIELD.TYPE_INT64, "double": _FIELD.TYPE_DOUBLE, "string": _FIELD.TYPE_STRING,
    "bytes": _FIELD.TYPE_BYTES,
}  # fmt: skip
_MESSAGES = {
    "dyn": ".google.protobuf.Value", "timestamp": ".google.protobuf.Timestamp", "duration": ".google.protobuf.Duration",
    "list": ".google.protobuf.ListValue", "map": ".google.protobuf.Struct",
}  # fmt: skip
_TYPES = {
    "dyn": cel.Type.DYN, "bool": cel.Type.BOOL, "int": cel.Type.INT, "double": cel.Type.DOUBLE, "string": cel.Type.STRING,
    "bytes": cel.Type.BYTES, "timestamp": cel.Type.TIMESTAMP, "duration": cel.Type.DURATION,
}  # fmt: skip
_IMPORTED = (any_pb2, struct_pb2, timestamp_pb2, duration_pb2, wrappers_pb2)
_FILE = "declared.proto"
OPAQUE = {
    "net": ("IP", "CIDR"),
    "kubernetes": ("URL", "Quantity", "Semver", "NamedFormat"),
    "kubernetes.authorization": ("Authorizer", "PathCheck", "GroupCheck", "ResourceCheck", "Decision"),
}
"""Of the function libraries: messages without fields, so that nothing can be done with them but by functions."""


class Messages:
    """Collects object types; `pool` closes the collection."""

    def __init__(self) -> None:
        files = [module.DESCRIPTOR.name for module in _IMPORTED]
        self._file = FileDescriptorProto(name=_FILE, syntax="proto2", dependency=files)
        self._names: dict[int, str] = {}
        self._kept: list[Declared] = []

    def type_of(self, declared: Declared) -> Any:
        match declared.form:
            case "list" if declared.element is not None:
                return cel.Type.List(self.type_of(declared.element))
            case "map" if declared.element is not None:
                return cel.Type.Map(cel.Type.STRING, self.type_of(declared.element))
            case "object":
                return cel.Type(self._message(declared))
        return _TYPES.get(declared.form, cel.Type.DYN)

    def pool(self) -> descriptor_pool.DescriptorPool:
        pool = descriptor_pool.DescriptorPool()
        for module in _IMPORTED:
            pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
        for package, names in OPAQUE.items():
            messages = [DescriptorProto(name=name) for name in names]
            opaque = FileDescriptorProto(name=f"{package}.proto", package=package, message_type=messages)
            pool.AddSerializedFile(opaque.SerializeToString())
        pool.AddSerializedFile(self._file.SerializeToString())
        return pool

    def _message(self, declared: Declared) -> str:
        """The name of the message that stands for an object type, made when it is first asked for."""
        if id(declared) not in self._names:
            name = self._names[id(declared)] = f"object{len(self._names)}"
            self._kept.append(declared)
            message = DescriptorProto(name=name)
            message.options.deprecated_legacy_json_field_conflicts = True
            for number, (field, of) in enumerate(declared.fields.items(), 1):
                self._field(message, name, field, number, of.type)
            self._file.message_type.append(message)
        return self._names[id(declared)]

    def _field(self, message: DescriptorProto, owner: str, name: str, number: int, type: Declared) -> None:
        label, inner = _FIELD.LABEL_OPTIONAL, type
        if type.form == "list" and type.element is not None and type.element.form not in ("list", "map"):
            label, inner = _FIELD.LABEL_REPEATED, type.element
        # Names in JSON are never used, but must differ: foo_bar and fooBar would not.
        field = _FIELD(name=name, number=number, label=label, json_name=f"f{number}")
        entry_name = "".join(part[:1].upper() + part[1:] for part in name.split("_")) + "Entry"
        taken = any(
            nested.name == entry_name for nested in message.nested_type
        )  # foo_bar beside fooBar: of those one is untyped
        if type.form == "map" and type.element is not None and type.element.form not in ("list", "map") and not taken:
            entry = DescriptorProto(name=entry_name)
            entry.options.map_entry = True
            entry.field.append(_FIELD(name="key", number=1, label=_FIELD.LABEL_OPTIONAL, type=_FIELD.TYPE_STRING))
            value = _FIELD(name="value", number=2, label=_FIELD.LABEL_OPTIONAL)
            self._put_type(value, type.element)
            entry.field.append(value)
            message.nested_type.append(entry)
            field.label, field.type, field.type_name = _FIELD.LABEL_REPEATED, _FIELD.TYPE_MESSAGE, f".{owner}.{entry.name}"
        else:
            self._put_type(field, inner)
        message.field.append(field)

    def _put_type(self, field: FieldDescriptorProto, declared: Declared) -> None:
        if declared.form in _SCALARS:
            field.type = _SCALARS[declared.form]
        else:
            field.type = _FIELD.TYPE_MESSAGE
            own = declared.form == "object"
            field.type_name = f".{self._message(declared)}" if own else _MESSAGES.get(declared.form, _MESSAGES["dyn"])
