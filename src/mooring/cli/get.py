"""mooring get: show objects."""

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from mooring.app.connection import TABLE, Connection, Refused
from mooring.cli import output
from mooring.cli.resources import Resources
from mooring.cli.selection import Selection, select
from mooring.cli.target import DataDir, Kubeconfig, Namespace, connection
from mooring.model.kinds import Kind

Document = dict[str, Any]
PAGE = "500"


def command(
    what: Annotated[list[str], typer.Argument(help="KIND, KIND NAME..., KIND/NAME... or KIND,KIND")],
    namespace: Namespace = "",
    everywhere: Annotated[bool, typer.Option("--all-namespaces", "-A", help="In every namespace.")] = False,
    labels: Annotated[str, typer.Option("--selector", "-l", help="Only with these labels: a=b,c!=d")] = "",
    fields: Annotated[str, typer.Option("--field-selector", help="Only with these fields: spec.nodeName=node-1")] = "",
    form: Annotated[str, typer.Option("--output", "-o", help=output.FORMS)] = "",
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Then show every change.")] = False,
    no_headers: Annotated[bool, typer.Option("--no-headers")] = False,
    managed: Annotated[bool, typer.Option("--show-managed-fields", help="In JSON and YAML, who set which field.")] = False,
    data_dir: DataDir = None,
    config: Kubeconfig = None,
) -> None:
    """Show objects, as the server's own tables or in full."""
    server = connection(data_dir, config)
    wanted = select(Resources(server), what)
    place = "" if everywhere else namespace or server.access.namespace
    query = {key: value for key, value in (("labelSelector", labels), ("fieldSelector", fields)) if value}
    if watch:
        _watch(server, wanted[0], place, query, form, managed)
    elif form in ("", "wide"):
        _tables(server, wanted, place, query, wide=form == "wide", header=not no_headers)
    else:
        _documents(server, wanted, place, query, form, managed)


def path(selection: Selection, namespace: str) -> str:
    return selection.kind.path(namespace, selection.name)


def pages(server: Connection, selection: Selection, namespace: str, query: dict[str, str], accept: str) -> Iterator[Document]:
    """The object, or the collection in as many answers as the server likes."""
    chunk = dict(query) if selection.name else query | {"limit": PAGE}
    while True:
        answer = server.get(path(selection, namespace), chunk, accept)
        yield answer
        if not (token := (answer.get("metadata") or {}).get("continue")) or selection.name:
            return
        chunk["continue"] = token


def _tables(
    server: Connection, wanted: list[Selection], namespace: str, query: dict[str, str], *, wide: bool, header: bool
) -> None:
    several = len({selection.kind for selection in wanted}) > 1
    shown = False
    for kind in dict.fromkeys(selection.kind for selection in wanted):
        merged: Document = {}
        for selection in wanted:
            if selection.kind == kind:
                for page in pages(server, selection, namespace, query, TABLE):
                    merged = merged or page | {"rows": []}
                    merged["rows"] = merged["rows"] + (page.get("rows") or [])
        if not merged.get("rows"):
            continue
        if several and shown:
            print()
        prefix = f"{kind.singular}{'.' + kind.group if kind.group else ''}/" if several else ""
        everywhere = kind.namespaced and not namespace
        print(output.table(merged, wide=wide, namespaces=everywhere, prefix=prefix, header=header))
        shown = True
    if not shown:
        import sys

        where = f" in {namespace} namespace" if namespace and any(each.kind.namespaced for each in wanted) else ""
        print(f"No resources found{where}.", file=sys.stderr)


def _documents(
    server: Connection, wanted: list[Selection], namespace: str, query: dict[str, str], form: str, managed: bool
) -> None:
    items: list[Document] = []
    for selection in wanted:
        for page in pages(server, selection, namespace, query, "application/json"):
            items += [page] if selection.name else [_typed(item, selection.kind) for item in page.get("items") or ()]
    if not managed:
        items = [_unmanaged(item, form) for item in items]
    if form == "name":
        print("\n".join(name_of(item) for item in items))
    elif len(wanted) == 1 and wanted[0].name:
        output.document(items[0], form)
    else:
        output.document({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": items}, form)


def _unmanaged(document: Document, form: str) -> Document:
    """For people: without metadata.managedFields, as kubectl shows JSON and YAML."""
    metadata = document.get("metadata") or {}
    if form not in ("json", "yaml") or "managedFields" not in metadata:
        return document
    return document | {"metadata": {name: value for name, value in metadata.items() if name != "managedFields"}}


def name_of(document: Document) -> str:
    """'pod/a', 'deployment.apps/web', as `-o name` prints it."""
    group = document["apiVersion"].rpartition("/")[0]
    return f"{document['kind'].lower()}{'.' + group if group else ''}/{document['metadata']['name']}"


def _typed(item: Document, kind: Kind) -> Document:
    """Items of a list carry no type of their own."""
    return {"apiVersion": kind.api_version, "kind": kind.kind} | item


def _watch(server: Connection, selection: Selection, namespace: str, query: dict[str, str], form: str, managed: bool) -> None:
    """What is now, then every change, until interrupted. A watch the server ends goes on; an expired one begins anew."""
    tables = form in ("", "wide")
    accept = TABLE if tables else "application/json"
    wide = form == "wide"
    everywhere = selection.kind.namespaced and not namespace
    where = Selection(selection.kind)
    if selection.name:
        query = query | {"fieldSelector": f"metadata.name={selection.name}"}
    header, version = True, ""
    while True:
        if not version:
            listing = server.get(path(where, namespace), query, accept)
            version = listing["metadata"]["resourceVersion"]
            header = _show(listing, tables, wide, everywhere, header, form, selection.kind, managed)
        try:
            follow = query | {"watch": "true", "resourceVersion": version, "allowWatchBookmarks": "true"}
            for event in server.lines(path(where, namespace), follow, accept):
                if event["type"] == "ERROR":
                    version = ""
                    break
                version = _version(event["object"]) or version
                if event["type"] != "BOOKMARK":
                    header = _show(event["object"], tables, wide, everywhere, header, form, selection.kind, managed)
        except Refused as error:
            if error.code != 410:
                raise
            version = ""


def _show(
    found: Document, tables: bool, wide: bool, everywhere: bool, header: bool, form: str, kind: Kind, managed: bool
) -> bool:
    """Prints what arrived; returns whether the table's header is still to come."""
    if not tables:
        for item in found.get("items", [found]):
            item = _typed(item, kind) if managed else _unmanaged(_typed(item, kind), form)
            print(name_of(item)) if form == "name" else output.document(item, form)
        return False
    if not found.get("rows"):
        return header
    print(output.table(found, wide=wide, namespaces=everywhere, header=header), flush=True)
    return False


def _version(found: Document) -> str:
    rows = found.get("rows")
    holder = (rows[0].get("object") or {}) if rows else found
    version: str = (holder.get("metadata") or {}).get("resourceVersion", "")
    return version
