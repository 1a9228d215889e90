"""How do objects look as a server-side Table, which `kubectl get` prints?

https://kubernetes.io/docs/reference/using-api/api-concepts/#receiving-resources-as-tables
"""

from collections.abc import Iterable

from mooring.apiserver.call import Call
from mooring.apiserver.contract import Env
from mooring.apiserver.errors import bad_request
from mooring.apiserver.resources import raw_metadata
from mooring.apiserver.strategy import Column, Document
from mooring.model import codec

_NAMES = {
    "Name": "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a "
    "client to request the generation of an appropriate name automatically.",
    "Age": "CreationTimestamp is a timestamp representing the server time when this object was created.",
}


def whole(call: Call, items: Iterable[tuple[bytes, int]], meta: Document, env: Env) -> bytes:
    """A Table of stored (value, revision) pairs, `includeObject` saying what each row carries of its object.

    Column definitions are repeated in every frame of a watch, so that a frame depends on nothing but its event.
    """
    strategy, resource, form = call.resource.strategy, call.resource, call.accepted
    include = call.query("includeObject") or "Metadata"
    if include not in ("None", "Metadata", "Object"):
        raise bad_request(f"unrecognized includeObject value: {include!r}")
    rows = []
    for stored, revision in items:
        value = resource.served(stored)
        document = codec.decode(value)
        cells = codec.encode(list(strategy.cells(document, env)))
        if include == "None":
            rows.append(b'{"cells":%s}' % cells)
            continue
        if include == "Object":
            shown = codec.stamp(value, revision) if revision else value
        else:
            version = form.version.encode()
            metadata = raw_metadata(value, revision)
            shown = b'{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/%s","metadata":%s}' % (version, metadata)
        rows.append(b'{"cells":%s,"object":%s}' % (cells, shown))
    head = codec.encode(
        {
            "kind": "Table",
            "apiVersion": f"meta.k8s.io/{form.version}",
            "metadata": meta,
            "columnDefinitions": [_definition(column) for column in strategy.columns],
        }
    )
    return b'%s,"rows":[%s]}' % (head[:-1], b",".join(rows))


def _definition(column: Column) -> Document:
    return {
        "name": column.name,
        "type": column.type,
        "format": column.format,
        "description": column.description or _NAMES.get(column.name, ""),
        "priority": column.priority,
    }
