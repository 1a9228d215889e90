"""Are the defaults of a schema themselves right? (pkg/apiserver/schema/defaulting/validation.go)"""

import msgspec
from msgspec import UNSET

from mooring.apiserver.custom.pruning import prune
from mooring.apiserver.custom.structural import Schema
from mooring.apiserver.custom.validation import check
from mooring.apiserver.kinds.problems import invalid
from mooring.apiserver.strategy import FieldError


def check_defaults(schema: Schema, path: str) -> list[FieldError]:
    """Each default must be what the schema would accept, with no field that it would drop."""
    found: list[FieldError] = []
    if schema.default is not UNSET:
        field = f"{path}.default"
        copied = msgspec.json.decode(msgspec.json.encode(schema.default))
        if prune(copied, schema, root=schema.embedded):
            found.append(invalid(field, schema.default, "must not have unknown fields"))
        found += check(schema.default, schema, path=field, root=schema.embedded)
    if schema.items is not None:
        found += check_defaults(schema.items, f"{path}.items")
    for name, each in schema.properties.items():
        found += check_defaults(each, f"{path}.properties[{name}]")
    return found
