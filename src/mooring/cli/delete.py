"""mooring delete: delete objects."""

import time
from typing import Annotated, Any

import typer

from mooring.app.connection import Connection, Refused
from mooring.cli.get import name_of, pages
from mooring.cli.main import CommandError
from mooring.cli.manifests import read
from mooring.cli.resources import Resources
from mooring.cli.selection import Selection, select
from mooring.cli.target import DataDir, Kubeconfig, Namespace, connection

Document = dict[str, Any]
PAUSE, LONGEST_PAUSE = 0.02, 0.5


def command(
    what: Annotated[list[str] | None, typer.Argument(help="KIND NAME... or KIND/NAME...")] = None,
    sources: Annotated[list[str] | None, typer.Option("--filename", "-f", help="What these manifests name.")] = None,
    namespace: Namespace = "",
    labels: Annotated[str, typer.Option("--selector", "-l", help="All of the kind with these labels.")] = "",
    everything: Annotated[bool, typer.Option("--all", help="All of the kind in the namespace.")] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Return when they are gone.")] = True,
    timeout: Annotated[float, typer.Option(help="Seconds to wait; 0: for ever.")] = 0.0,
    grace_period: Annotated[int, typer.Option(help="Seconds for pods to end; -1: their own.")] = -1,
    ignore_not_found: Annotated[bool, typer.Option("--ignore-not-found", help="Missing is as good as deleted.")] = False,
    data_dir: DataDir = None,
    config: Kubeconfig = None,
) -> None:
    """Delete objects and wait until they are gone."""
    server = connection(data_dir, config)
    resources = Resources(server)
    place = namespace or server.access.namespace
    if sources:
        found = [_from_manifest(resources, document, place) for document in reversed(read(sources))]
    else:
        found = _from_words(server, select(resources, what or []), place, labels, everything)
    options = {"propagationPolicy": "Background"} | ({"gracePeriodSeconds": grace_period} if grace_period >= 0 else {})
    deleted, refused = _delete(server, found, options, ignore_not_found)
    if wait:
        end = time.monotonic() + timeout if timeout > 0 else float("inf")
        for selection, where, uid in deleted:
            _until_gone(server, selection, where, uid, end)
    if refused:
        raise CommandError("\n".join(f"error from server ({error.reason}): {error}" for error in refused))


def _delete(
    server: Connection, found: list[tuple[Selection, str]], options: Document, ignore_not_found: bool
) -> tuple[list[tuple[Selection, str, str]], list[Refused]]:
    """Asks for each, whatever becomes of the others: what is going, with its namespace and uid, and what was refused."""
    deleted, refused = [], []
    for selection, where in found:
        try:
            gone = server.send("DELETE", selection.kind.path(where, selection.name), options)
        except Refused as error:
            if error.code != 404 or not ignore_not_found:
                refused.append(error)
            continue
        label = {"apiVersion": selection.kind.api_version, "kind": selection.kind.kind, "metadata": {"name": selection.name}}
        print(f"{name_of(label)} deleted")
        uid = (gone.get("metadata") or {}).get("uid") or (gone.get("details") or {}).get("uid", "")
        deleted.append((selection, where, uid))
    return deleted, refused


def _from_manifest(resources: Resources, document: Document, namespace: str) -> tuple[Selection, str]:
    kind = resources.of(document)
    metadata = document.get("metadata") or {}
    if not metadata.get("name"):
        raise CommandError(f"{document['kind']}: metadata.name is needed to delete")
    return Selection(kind, metadata["name"]), metadata.get("namespace") or namespace


def _from_words(
    server: Connection, wanted: list[Selection], namespace: str, labels: str, everything: bool
) -> list[tuple[Selection, str]]:
    found = []
    for selection in wanted:
        if selection.name:
            found.append((selection, namespace))
            continue
        if not labels and not everything:
            raise CommandError(f"say which {selection.kind.plural}: names, --selector or --all", 2)
        query = {"labelSelector": labels} if labels else {}
        for page in pages(server, selection, namespace, query, "application/json"):
            found += [(Selection(selection.kind, item["metadata"]["name"]), namespace) for item in page.get("items") or ()]
    return found


def _until_gone(server: Connection, selection: Selection, namespace: str, uid: str, end: float) -> None:
    """Gone is: not found, or another of the same name."""
    pause = PAUSE
    while True:
        try:
            now = server.get(selection.kind.path(namespace, selection.name))
        except Refused as error:
            if error.code == 404:
                return
            raise
        if uid and now["metadata"].get("uid") != uid:
            return
        if time.monotonic() > end:
            raise CommandError(f"timed out waiting until {selection.kind.singular}/{selection.name} is gone")
        time.sleep(pause)
        pause = min(pause * 1.5, LONGEST_PAUSE)
