"""Which objects does a file, a directory or standard input hold?"""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mooring.cli.main import CommandError

Document = dict[str, Any]
SUFFIXES = (".yaml", ".yml", ".json")


def read(sources: Iterable[str], recursive: bool = False) -> list[Document]:
    """Every object in order, Lists taken apart; '-' is standard input. Raises CommandError, which names the file."""
    return [document for source in sources for name, text in _texts(source, recursive) for document in _documents(name, text)]


def read_apart(sources: Iterable[str], recursive: bool = False) -> tuple[list[Document], list[CommandError]]:
    """As `read`, but what cannot be read stands beside the rest: a broken file hides no other."""
    documents: list[Document] = []
    errors: list[CommandError] = []
    for source in sources:
        try:
            for name, text in _texts(source, recursive):
                try:
                    documents += _documents(name, text)
                except CommandError as error:
                    errors.append(error)
        except CommandError as error:
            errors.append(error)
    return documents, errors


def _texts(source: str, recursive: bool) -> Iterator[tuple[str, str]]:
    if source == "-":
        yield "standard input", sys.stdin.read()
        return
    path = Path(source)
    try:
        if path.is_dir():
            found = path.rglob("*") if recursive else path.iterdir()
            for file in sorted(file for file in found if file.suffix in SUFFIXES and file.is_file()):
                yield str(file), file.read_text()
        else:
            yield source, path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{source}: {getattr(error, 'strerror', None) or error}") from error


def _documents(name: str, text: str) -> Iterator[Document]:
    import yaml

    try:
        for found in yaml.load_all(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            if found is None:
                continue
            if not isinstance(found, dict):
                raise CommandError(f"{name}: an object is expected, not {type(found).__name__}")
            if str(found.get("kind", "")).endswith("List") and isinstance(found.get("items"), list):
                yield from found["items"]
            else:
                yield found
    except yaml.YAMLError as error:
        raise CommandError(f"{name} is not YAML: {' '.join(str(error).split())}") from error
