"""mooring plan: what manifests would change, before they are applied.

The server is asked what it thinks of each manifest (dryRun=All: nothing is kept), and a copy of the cluster in memory shows
what would become of them all: app/forecast.
"""

import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Annotated, Any

import typer
from msgspec import Struct

from mooring.alloc.pool import parse
from mooring.app.connection import Connection, Refused
from mooring.app.forecast.difference import forecast
from mooring.app.forecast.read import READ, read
from mooring.app.forecast.rehearsal import Rehearsal, Surroundings
from mooring.app.forecast.report import Forecast, ObjectChange, plain
from mooring.app.settings import load
from mooring.cli import output, plan_text
from mooring.cli.apply import Server, apply
from mooring.cli.get import name_of
from mooring.cli.main import CommandError
from mooring.cli.manifests import read_apart
from mooring.cli.resources import Resources
from mooring.cli.target import DataDir, Kubeconfig, Namespace, access, connection, files
from mooring.edges.http.client import ApiClient
from mooring.model.kinds import BY_KIND, NAMESPACE, SECRET, Kind
from mooring.ports.api import ApiError, ApiUnavailable

Document = dict[str, Any]
REFUSED = "refused"
BACKGROUND = {"propagationPolicy": "Background"}
CLASH = ("already allocated", "already exists")
"""What the copy may refuse though the server does not: the server has not seen the manifests before this one."""
UNTOLD = ("resourceVersion", "generation", "managedFields")
"""Metadata that every write may change."""


class Manifest(Struct, frozen=True):
    """A manifest with its kind, and its namespace filled in."""

    kind: Kind
    document: Document
    namespace: str

    @property
    def path(self) -> str:
        return self.kind.path(self.namespace, self.document["metadata"]["name"])


def command(
    sources: Annotated[list[str], typer.Option("--filename", "-f", help="A file, a directory, or - for standard input.")],
    recursive: Annotated[bool, typer.Option("--recursive", "-R", help="Directories below directories too.")] = False,
    delete: Annotated[bool, typer.Option("--delete", help="What deleting these objects would change.")] = False,
    namespace: Namespace = "",
    form: Annotated[str, typer.Option("--output", "-o", help="json, yaml or jsonpath={.PATH}")] = "",
    data_dir: DataDir = None,
    config: Kubeconfig = None,
) -> int:
    """Say what manifests would change before they are applied. Exit code 2 when something reachable would be lost."""
    if form and form not in ("json", "yaml") and not form.startswith("jsonpath="):
        raise CommandError(f"unknown output {form!r}: json, yaml or jsonpath={{.PATH}}", 2)
    documents, broken = read_apart(sources, recursive)
    if not documents and not broken:
        raise CommandError("no objects in " + ", ".join(sources))
    server = connection(data_dir, config)
    rehearsal = Rehearsal(
        asyncio.run(_cluster(data_dir, config)), _surroundings(data_dir, config), datetime.now(UTC), Random(0)
    )
    manifests, unknown = _manifests(Resources(server), documents, namespace or server.access.namespace)
    steps = Steps(rehearsal, DryRun(server))
    refused = [ObjectChange("", REFUSED, message=str(error)) for error in (*broken, *unknown)]
    changes = steps.delete(manifests) if delete else steps.apply(manifests)
    # What the server has refused may be of any shape.
    asked = [] if delete else [each.document for each, told in zip(manifests, changes, strict=True) if told.change != REFUSED]
    found = forecast(rehearsal.outcome(), [*refused, *changes], asked)
    for each in found.refused:
        print(f"mooring: {plan_text.refusal(each)}", file=sys.stderr)
    if form:
        output.document(plain(found), form)
    else:
        print("\n".join(plan_text.lines(found)))
    return exit_code(found)


def exit_code(found: Forecast) -> int:
    """1: something was refused, so the plan is not that of all manifests; 2: something reachable would be lost."""
    return 1 if found.refused else 2 if found.lost else 0


class DryRun:
    """The server, asked with dryRun=All: it decides and keeps nothing. `answer` is the last object it would have written."""

    def __init__(self, server: Connection) -> None:
        self._server = server
        self._live: Document = {}
        self.answer: Document = {}

    def get(self, path: str) -> Document:
        self._live = self._server.get(path)
        return self._live

    def send(self, method: str, path: str, body: Any = None, *, content_type: str = "application/json") -> Document:
        if method == "DELETE":
            # Upstream's server does not look at the query of a deletion that has a body.
            body = {**body, "dryRun": ["All"]}
        self.answer = self._server.send(method, path, body, query={"dryRun": "All"}, content_type=content_type)
        if method == "PATCH" and _content(self.answer) != _content(self._live):
            # Nothing was written, so the version is the old one; `apply` takes that for no change.
            return {**self.answer, "metadata": {**self.answer["metadata"], "resourceVersion": ""}}
        return self.answer


def _content(document: Document) -> Document:
    metadata = {key: value for key, value in (document.get("metadata") or {}).items() if key not in UNTOLD}
    return {**document, "metadata": metadata}


class Steps:
    """Manifests carried out one after another, on the copy and, as far as it goes, by the server."""

    def __init__(self, rehearsal: Rehearsal, server: DryRun) -> None:
        self._copy, self._fork, self._server = rehearsal.client, rehearsal.fork, server
        self._made: set[str] = set()
        """Namespaces that the manifests make: the server does not know them."""

    def apply(self, manifests: list[Manifest]) -> list[ObjectChange]:
        return [self._one(each, self._apply) for each in manifests]

    def delete(self, manifests: list[Manifest]) -> list[ObjectChange]:
        """In reverse order, as `mooring delete -f`."""
        return [self._one(each, self._delete) for each in reversed(manifests)]

    def _one(self, manifest: Manifest, step: Any) -> ObjectChange:
        name, namespace = name_of(manifest.document), manifest.namespace
        try:
            return ObjectChange(name, step(manifest), namespace)
        except Refused as error:
            return ObjectChange(name, REFUSED, namespace, error.reason, str(error))
        except CommandError as error:
            return ObjectChange(name, REFUSED, namespace, "", str(error))

    def _apply(self, manifest: Manifest) -> str:
        kind, known = manifest.kind, BY_KIND.get((manifest.kind.api_version, manifest.kind.kind))
        if known == SECRET:
            # Not even one is read: it is only looked at by itself.
            apply(self._copy, kind, manifest.document, manifest.namespace)
            return "not compared"
        asked = manifest.namespace not in self._made
        said = self._put(self._server, manifest) if asked else ""
        if known not in READ:
            return said or "created"
        try:
            word = self._put(self._copy, manifest)
        except Refused as error:
            if not asked or any(words in str(error) for words in CLASH):
                raise
            self._fork.take({"apiVersion": kind.api_version, "kind": kind.kind, **self._server.answer})
            return said
        if known == NAMESPACE and word == "created":
            self._made.add(manifest.document["metadata"]["name"])
        return word

    def _put(self, server: Server, manifest: Manifest) -> str:
        return apply(server, manifest.kind, manifest.document, manifest.namespace)

    def _delete(self, manifest: Manifest) -> str:
        self._server.send("DELETE", manifest.path, BACKGROUND)
        if BY_KIND.get((manifest.kind.api_version, manifest.kind.kind)) in READ:
            self._copy.send("DELETE", manifest.path, BACKGROUND)
        return "deleted"


def _manifests(resources: Resources, documents: list[Document], namespace: str) -> tuple[list[Manifest], list[CommandError]]:
    found: list[Manifest] = []
    errors: list[CommandError] = []
    for document in documents:
        try:
            kind = resources.of(document)
        except CommandError as error:
            errors.append(error)
            continue
        metadata = document.get("metadata")
        if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str):
            errors.append(CommandError(f"{document['kind']}: metadata.name is needed"))
            continue
        where = (metadata.get("namespace") or namespace) if kind.namespaced else ""
        placed = {**metadata, "namespace": where} if kind.namespaced else metadata
        found.append(Manifest(kind, {**document, "metadata": placed}, where))
    return found, errors


async def _cluster(data_dir: Path | None, config: Path | None) -> list[Document]:
    try:
        async with ApiClient(access(data_dir, config)) as api:
            return await read(api)
    except ApiError as error:
        raise CommandError(f"error from server ({error.reason}): {error}") from error
    except ApiUnavailable as error:
        raise CommandError(str(error)) from error


def _surroundings(data_dir: Path | None, config: Path | None) -> Surroundings:
    """What the directory of a local cluster says of it; of another nothing is known."""
    found = files(data_dir, config)
    if not found.settings.exists():
        return Surroundings()
    settings = load({"data-dir": found.root}, {}, stored=found.stored_settings())
    return Surroundings(parse(settings.pool_ranges), settings.node_ports)
