"""Which routes may take a path? NGINX finds the location by its own tree, quickly; the order of the table rules within it.

A region is what one location gets: one path, or all paths below a prefix that no longer prefix and no exact path takes away.
Every exact path and prefix of a route begins a region, so a route matches all of a region or nothing of it, and a region's
routes are those of the table, in its order, up to the first that takes everything. Patterns take part in every region.
"""

from collections.abc import Iterable, Sequence

from msgspec import Struct

from mooring.routing.table import PathKind, PathMatch

INTERNAL = "/:mooring:/"
"""Under it are the locations that no client may reach."""


class Region(Struct, frozen=True, gc=False, order=True):
    """`path` is decoded, as NGINX compares."""

    path: str
    exact: bool


class Candidate(Struct, frozen=True, gc=False):
    """`path`: how a request's path must be looked at, `is_pattern` if that is still to be done in the region."""

    path: PathMatch
    is_conditional: bool = False

    @property
    def is_pattern(self) -> bool:
        return self.path.ignore_case or self.path.kind in (PathKind.REGEX, PathKind.REGEX_PREFIX)


def regions(candidates: Sequence[Candidate]) -> dict[Region, tuple[int, ...]]:
    """For each region the indices of its routes, in order."""
    exact: dict[str, list[int]] = {}
    elements: dict[str, list[int]] = {}
    prefixes: dict[str, list[int]] = {}
    patterns: list[int] = []
    found: dict[Region, None] = {}
    for index, candidate in enumerate(candidates):
        if candidate.is_pattern:
            patterns.append(index)
            continue
        value = candidate.path.value
        match candidate.path.kind:
            case PathKind.EXACT:
                exact.setdefault(value, []).append(index)
                found[Region(value, True)] = None
                slashed = value
            case PathKind.PREFIX:
                bare = value.rstrip("/")
                elements.setdefault(bare, []).append(index)
                found[Region(bare + "/", False)] = None
                slashed = bare + "/"
            case _:
                prefixes.setdefault(value, []).append(index)
                found[Region(value, False)] = None
                slashed = value
        if len(slashed) > 1 and slashed.endswith("/"):
            # Without its own region `/foo` would be redirected to `/foo/` by NGINX.
            found[Region(slashed[:-1], True)] = None
    found[Region("/", False)] = None
    return {region: _members(region, candidates, exact, elements, prefixes, patterns) for region in found}


def _members(
    region: Region,
    candidates: Sequence[Candidate],
    exact: dict[str, list[int]],
    elements: dict[str, list[int]],
    prefixes: dict[str, list[int]],
    patterns: list[int],
) -> tuple[int, ...]:
    path = region.path
    members = list(patterns)
    members += elements.get("", ())
    members += (
        index for end, character in enumerate(path) if character == "/" and end for index in elements.get(path[:end], ())
    )
    if region.exact:
        members += exact.get(path, ())
        if not path.endswith("/"):
            members += elements.get(path, ())
    if prefixes:
        members += (index for end in range(1, len(path) + 1) for index in prefixes.get(path[:end], ()))
    return tuple(_up_to_the_first_sure(sorted(members), candidates))


def _up_to_the_first_sure(members: Iterable[int], candidates: Sequence[Candidate]) -> Iterable[int]:
    for index in members:
        yield index
        if not candidates[index].is_pattern and not candidates[index].is_conditional:
            return
