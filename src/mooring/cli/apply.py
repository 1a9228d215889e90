"""mooring apply: create or change objects as manifests say."""

import copy
import json
from functools import partial
from typing import Annotated, Any, Protocol

import typer

from mooring.apiserver import schema
from mooring.app.connection import Refused
from mooring.cli.get import name_of
from mooring.cli.main import CommandError
from mooring.cli.manifests import read
from mooring.cli.resources import Resources
from mooring.cli.target import DataDir, Kubeconfig, Namespace, connection
from mooring.cli.three_way import LAST_APPLIED, patch, plain
from mooring.model.kinds import BY_KIND, Kind

Document = dict[str, Any]
TRIES = 5


class Server(Protocol):
    """What is asked of app/connection.py's Connection; `mooring plan` asks a copy of the cluster the same."""

    def get(self, path: str) -> Document: ...

    def send(self, method: str, path: str, body: Any = None, *, content_type: str = "application/json") -> Document: ...


def command(
    sources: Annotated[list[str], typer.Option("--filename", "-f", help="A file, a directory, or - for standard input.")],
    recursive: Annotated[bool, typer.Option("--recursive", "-R", help="Directories below directories too.")] = False,
    namespace: Namespace = "",
    data_dir: DataDir = None,
    config: Kubeconfig = None,
) -> None:
    """Create or change objects as manifests say; what others set on them stays."""
    documents = read(sources, recursive)
    if not documents:
        raise CommandError("no objects in " + ", ".join(sources))
    server = connection(data_dir, config)
    resources = Resources(server)
    for document in documents:
        kind = resources.of(document)
        print(f"{name_of(document)} {apply(server, kind, document, namespace or server.access.namespace)}")


def apply(server: Server, kind: Kind, document: Document, namespace: str) -> str:
    """'created', 'configured' or 'unchanged'. Raises Refused, CommandError."""
    wanted, place = _prepared(kind, document, namespace)
    name = wanted["metadata"]["name"]
    for attempt in range(TRIES):
        try:
            live = server.get(kind.path(place, name))
        except Refused as error:
            if error.code != 404 or error.reason != "NotFound":
                raise
            live = None
        try:
            if live is None:
                server.send("POST", kind.path(place), wanted)
                return "created"
            return _change(server, kind, kind.path(place, name), live, wanted)
        except Refused as error:
            # Somebody created or changed it in between: look again.
            if error.code != 409 or attempt == TRIES - 1:
                raise
    raise AssertionError("the last try returns or raises")


def _change(server: Server, kind: Kind, path: str, live: Document, wanted: Document) -> str:
    known = (kind.api_version, kind.kind) in BY_KIND
    lookup = partial(schema.patch_meta, kind) if known else plain
    last = json.loads((live["metadata"].get("annotations") or {}).get(LAST_APPLIED, "{}"))
    change = patch(last, live, wanted, lookup)
    if not change:
        return "unchanged"
    content_type = "application/strategic-merge-patch+json" if known else "application/merge-patch+json"
    after = server.send("PATCH", path, change, content_type=content_type)
    same = after["metadata"].get("resourceVersion") == live["metadata"].get("resourceVersion")
    return "unchanged" if same else "configured"


def _prepared(kind: Kind, document: Document, namespace: str) -> tuple[Document, str]:
    """The manifest with its namespace and the annotation that remembers it, and the namespace."""
    wanted = copy.deepcopy(document)
    metadata = wanted.setdefault("metadata", {})
    if not metadata.get("name"):
        raise CommandError(f"{document['kind']}: metadata.name is needed to apply")
    if kind.namespaced:
        metadata.setdefault("namespace", namespace)
    annotations = {key: value for key, value in (metadata.get("annotations") or {}).items() if key != LAST_APPLIED}
    metadata["annotations"] = annotations
    metadata["annotations"] = annotations | {LAST_APPLIED: json.dumps(wanted, separators=(",", ":"), sort_keys=True) + "\n"}
    return wanted, metadata.get("namespace", "") if kind.namespaced else ""
