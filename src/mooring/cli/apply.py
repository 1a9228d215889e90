"""mooring apply: create or change objects as manifests say."""

import copy
import json
from functools import partial
from typing import Annotated, Any, Protocol
from urllib.parse import urlencode

import typer
from msgspec import Struct

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
_CONFLICT_ADVICE = (
    "These fields have other managers. Leave them out of the manifest, or give them the values they have and share them, "
    "or take them with --force-conflicts."
)


class Server(Protocol):
    """What is asked of app/connection.py's Connection; `mooring plan` asks a copy of the cluster the same."""

    def get(self, path: str) -> Document: ...

    def send(self, method: str, path: str, body: Any = None, *, content_type: str = "application/json") -> Document: ...


def command(
    sources: Annotated[list[str], typer.Option("--filename", "-f", help="A file, a directory, or - for standard input.")],
    recursive: Annotated[bool, typer.Option("--recursive", "-R", help="Directories below directories too.")] = False,
    server_side: Annotated[bool, typer.Option("--server-side", help="Let the server merge and know who set what.")] = False,
    force_conflicts: Annotated[bool, typer.Option("--force-conflicts", help="Take fields that others manage.")] = False,
    field_manager: Annotated[str, typer.Option("--field-manager", help="Whose the fields become (server-side).")] = "kubectl",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Let the server say what would be, and change nothing.")] = False,
    namespace: Namespace = "",
    data_dir: DataDir = None,
    config: Kubeconfig = None,
) -> None:
    """Create or change objects as manifests say; what others set on them stays."""
    if (force_conflicts or dry_run) and not server_side:
        raise CommandError(f"{'--force-conflicts' if force_conflicts else '--dry-run'} only works with --server-side")
    documents = read(sources, recursive)
    if not documents:
        raise CommandError("no objects in " + ", ".join(sources))
    server = connection(data_dir, config)
    resources = Resources(server)
    for document in documents:
        kind = resources.of(document)
        place = namespace or server.access.namespace
        if server_side:
            done = apply_on_server(server, kind, document, place, ServerSide(field_manager, force_conflicts, dry_run))
        else:
            done = apply(server, kind, document, place)
        print(f"{name_of(document)} {done}")


class ServerSide(Struct, frozen=True):
    """How an object is applied on the server. The manager is kubectl's, so that both tools are one hand."""

    manager: str = "kubectl"
    force: bool = False
    dry_run: bool = False


def apply_on_server(server: Server, kind: Kind, document: Document, namespace: str, how: ServerSide) -> str:
    """'serverside-applied', as kubectl says. Raises Refused, CommandError."""
    wanted = copy.deepcopy(document)
    metadata = wanted.get("metadata") or {}
    if not metadata.get("name"):
        raise CommandError(f"{document['kind']}: metadata.name is needed to apply")
    if kind.namespaced:
        metadata.setdefault("namespace", namespace)
    query = {"fieldManager": how.manager, "fieldValidation": "Strict"}
    query |= {"force": "true"} if how.force else {}
    query |= {"dryRun": "All"} if how.dry_run else {}
    path = kind.path(metadata.get("namespace", "") if kind.namespaced else "", metadata["name"])
    try:
        server.send("PATCH", f"{path}?{urlencode(query)}", wanted, content_type="application/apply-patch+yaml")
    except Refused as error:
        causes = (error.status.get("details") or {}).get("causes") or ()
        if error.code == 409 and any(cause.get("reason") == "FieldManagerConflict" for cause in causes):
            raise CommandError(f"{name_of(document)}: {error.message}\n{_CONFLICT_ADVICE}") from None
        raise
    return "serverside-applied" + (" (server dry run)" if how.dry_run else "")


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
