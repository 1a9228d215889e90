"""What does a word on the command line name? Plural, singular, short name or kind, found through the server's discovery."""

import difflib
from collections.abc import Iterator
from typing import Any

from mooring.app.connection import Connection, Refused
from mooring.cli.main import CommandError
from mooring.model.kinds import Kind

Document = dict[str, Any]


class Resources:
    """A server's kinds. Each API group is asked for once, and only when the groups before it did not know the word."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._groups: dict[str, list[Kind]] = {}

    def find(self, word: str) -> Kind:
        """The kind that `word` names: 'svc', 'services', 'Service', 'deployments.apps'. Raises CommandError."""
        name, _, group = word.lower().partition(".")
        for kinds in self._each():
            for kind in kinds:
                if name in _words(kind) and (not group or group == kind.group or group.startswith(f"{kind.version}.")):
                    return kind
        known = {each for kinds in self._groups.values() for kind in kinds for each in _words(kind)}
        nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
        hint = f"; the nearest known is {nearest[0]!r}" if nearest else ""
        raise CommandError(f"the server doesn't have a resource type {word!r}{hint}")

    def category(self, name: str) -> list[Kind]:
        """All kinds of a category such as 'all'; empty when there is none."""
        return [kind for kinds in self._each() for kind in kinds if name in kind.categories]

    def of(self, document: Document) -> Kind:
        """The kind of a manifest. Raises CommandError."""
        api_version, name = str(document.get("apiVersion", "")), str(document.get("kind", ""))
        if not api_version or not name:
            raise CommandError("a manifest needs apiVersion and kind")
        try:
            kinds = self._group(api_version)
        except Refused as error:
            raise CommandError(f"no matches for kind {name!r} in version {api_version!r}: {error}") from error
        for kind in kinds:
            if kind.kind == name:
                return kind
        raise CommandError(f"no matches for kind {name!r} in version {api_version!r}")

    def _each(self) -> Iterator[list[Kind]]:
        yield self._group("v1")
        for group in self._connection.get("/apis").get("groups") or ():
            yield self._group(group["preferredVersion"]["groupVersion"])

    def _group(self, api_version: str) -> list[Kind]:
        if api_version not in self._groups:
            path = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
            self._groups[api_version] = _kinds(api_version, self._connection.get(path))
        return self._groups[api_version]


def _kinds(api_version: str, listing: Document) -> list[Kind]:
    group, _, version = api_version.rpartition("/")
    rows = listing.get("resources") or ()
    return [
        Kind(
            group,
            version,
            row["kind"],
            row["name"],
            row.get("singularName") or row["kind"].lower(),
            bool(row.get("namespaced")),
            tuple(row.get("shortNames") or ()),
            tuple(row.get("categories") or ()),
            tuple(other["name"].partition("/")[2] for other in rows if other["name"].startswith(row["name"] + "/")),
        )
        for row in rows
        if "/" not in row["name"]
    ]


def _words(kind: Kind) -> tuple[str, ...]:
    return (kind.plural, kind.singular, kind.kind.lower(), *kind.short_names)
