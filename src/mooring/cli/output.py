"""How are objects shown? Tables in columns, or the documents themselves as JSON, YAML, names or one JSONPath of them."""

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from mooring.cli.main import CommandError

Document = dict[str, Any]
FORMS = "wide, json, yaml, name or jsonpath={.PATH}"


def columns(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Left-aligned columns three spaces apart, as kubectl prints them. An empty header prints none."""
    cells = [[_cell(value) for value in row] for row in ([header] if header else []) + list(rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join("   ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in cells)


def _cell(value: Any) -> str:
    if value is None:
        return "<none>"
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def table(document: Document, *, wide: bool, namespaces: bool, prefix: str = "", header: bool = True) -> str:
    """A server-side Table (meta.k8s.io/v1): `namespaces` adds a first column, `prefix` goes before each name ('service/')."""
    shown = [index for index, column in enumerate(document["columnDefinitions"]) if wide or not column.get("priority")]
    titles = [document["columnDefinitions"][index]["name"].upper() for index in shown]
    rows = []
    for row in document.get("rows") or ():
        metadata = (row.get("object") or {}).get("metadata") or {}
        cells = [row["cells"][index] for index in shown]
        if prefix and cells:
            cells[0] = prefix + str(cells[0])
        rows.append(([metadata.get("namespace", "")] if namespaces else []) + cells)
    return columns((["NAMESPACE"] if namespaces else []) + titles if header else [], rows)


def document(value: Any, form: str) -> None:
    """Prints plain values as `form` says: json, yaml or jsonpath=... Raises CommandError for another form."""
    if form == "json":
        json.dump(value, sys.stdout, indent=4, ensure_ascii=False)
        print()
    elif form == "yaml":
        import yaml

        yaml.dump(value, sys.stdout, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), sort_keys=True, allow_unicode=True)
    elif form.startswith("jsonpath="):
        from mooring.cli.jsonpath import evaluate

        print(evaluate(form.removeprefix("jsonpath="), value))
    else:
        raise CommandError(f"unknown output {form!r}: {FORMS}", 2)
