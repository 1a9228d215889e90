"""How do the documents of built-in kinds merge? Merge types from the table of published types."""

from functools import cache

from mooring.apiserver import schema
from mooring.apiserver.apply.types import (
    BOOLEAN,
    DEDUCED,
    NUMERIC,
    SCALAR,
    STRING,
    FieldType,
    ListType,
    MapType,
    MergeType,
    associative,
)
from mooring.apiserver.schema import Field
from mooring.model.kinds import Kind

_SCALARS = {
    "string": STRING, "bytes": STRING, "bool": BOOLEAN, "int32": NUMERIC, "int64": NUMERIC, "time": SCALAR,
    "micro-time": SCALAR, "quantity": SCALAR, "int-or-string": SCALAR, "any": DEDUCED,
}  # fmt: skip
_KEY_DEFAULTS = {"core.v1.ContainerPort": {"protocol": "TCP"}, "core.v1.ServicePort": {"protocol": "TCP"}}
"""The defaults that the published schema has for keys of associative lists."""
_POINTERS = frozenset({"core.v1.PersistentVolumeClaimTemplate", "core.v1.EphemeralVolumeSource"})
_ALWAYS_WRITTEN = frozenset({"metadata", "spec", "status", "template", "jobTemplate"})
_PRESENT = {
    "apps.v1.DaemonSetSpec": {"updateStrategy"},
    "apps.v1.DeploymentSpec": {"strategy"},
    "apps.v1.StatefulSetSpec": {"updateStrategy"},
    "core.v1.Container": {"resources"},
    "core.v1.ContainerStatus": {"state", "lastState"},
    "core.v1.Event": {"involvedObject", "source"},
    "core.v1.NodeDaemonEndpoints": {"kubeletEndpoint"},
    "core.v1.NodeStatus": {"daemonEndpoints", "nodeInfo"},
    "core.v1.PersistentVolumeClaimSpec": {"resources"},
    "core.v1.PodSpec": {"containers"},
    "core.v1.ServiceStatus": {"loadBalancer"},
    "discovery.v1.Endpoint": {"conditions"},
    "networking.v1.HTTPIngressPath": {"backend"},
    "networking.v1.IngressStatus": {"loadBalancer"},
    "apiextensions.v1.CustomResourceDefinitionSpec": {"names"},
    "apiextensions.v1.CustomResourceDefinitionStatus": {"acceptedNames"},
    "admissionregistration.v1.MutatingWebhook": {"clientConfig"},
    "admissionregistration.v1.ValidatingWebhook": {"clientConfig"},
    "rbac.v1.ClusterRoleBinding": {"roleRef"},
    "rbac.v1.RoleBinding": {"roleRef"},
}
"""Structs that Go holds by value, beside those of these names everywhere, and lists that it writes even if they are nil."""


def merge_type(kind: Kind) -> MergeType:
    return of_type(schema.type_of(kind))


@cache
def of_type(name: str) -> MergeType:
    """The merge type of a type by its full name, e.g. 'meta.v1.ObjectMeta'."""
    return _of_type(name)


_known: dict[str, MergeType] = {}


def _of_type(name: str) -> MergeType:
    if name in _known:
        return _known[name]
    fields: dict[str, FieldType] = {}
    _known[name] = made = MergeType(map=MapType(fields, None, name in schema.atomic_types()))
    defaults, present = _KEY_DEFAULTS.get(name, {}), _PRESENT.get(name, set())
    for field_name, field in schema.types()[name].items():
        struct = not field.wrappers and field.base not in schema.SCALARS
        always = field_name in present or (struct and name not in _POINTERS and field_name in _ALWAYS_WRITTEN)
        fields[field_name] = FieldType(_of_field(field, 0), defaults.get(field_name), always)
    return made


def _of_field(field: Field, depth: int) -> MergeType:
    if depth == len(field.wrappers):
        return _SCALARS[field.base] if field.base in schema.SCALARS else _of_type(field.base)
    inner = _of_field(field, depth + 1)
    # How it merges is said of the outermost list or map alone.
    topology = field.topology if depth == 0 else ""
    if field.wrappers[depth] == "map[string]":
        return MergeType(map=MapType(element=inner, atomic=topology == "atomic"))
    if topology == "map":
        return associative(inner, field.keys)
    return MergeType(list=ListType(inner, "set" if topology == "set" else "atomic"))


METADATA = of_type("meta.v1.ObjectMeta")
"""Of the metadata of every kind, custom resources among them."""
