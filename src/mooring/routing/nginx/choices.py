"""Which locations has a server? One for each region of paths, and a named one for each route that a region must choose."""

from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import unquote

import msgspec
from msgspec import Struct

from mooring.routing.nginx.config import Bare, Call, Directive, check, directive
from mooring.routing.nginx.emission import NOT_FOUND, Emission, set_name
from mooring.routing.nginx.filters import Place
from mooring.routing.nginx.locations import INTERNAL, Candidate, regions
from mooring.routing.nginx.patterns import of_path, of_value
from mooring.routing.nginx.routes import answer_of, arm
from mooring.routing.table import (
    Condition,
    Forward,
    How,
    PathMatch,
    Route,
    VirtualHost,
)

_HOWS = {How.EXACT: "is", How.PREFIX: "begins", How.REGEX: "matches", How.PRESENT: "present"}


class OnChain(Struct, frozen=True):
    """A virtual host as the connections of one chain see it; `listener` '' and `chain` 0: as all see it."""

    host: VirtualHost
    listener: str = ""
    chain: int = 0


class _Server:
    """One server's routes on their way to locations."""

    def __init__(self, emission: Emission, views: tuple[OnChain, ...]) -> None:
        self._emission = emission
        self._place = Place()
        self._leaves: dict[tuple[int, str], str] = {}
        self._choices: dict[tuple[int, ...], int] = {}
        self._routes: list[Route] = []
        self._conditions: list[list[Mapping[str, object]]] = []
        self._paths: list[PathMatch] = []
        for view in views:
            for route in view.host.routes:
                self._take(route, view)

    def _take(self, route: Route, view: OnChain) -> None:
        emission = self._emission
        emission.whose[route.name] = route.source
        conditions: list[Mapping[str, object]] = []
        path = route.match.path
        if view.chain:
            conditions.append({"part": "chain", "listener": view.listener, "value": view.chain})
        try:
            if (not path.value.startswith("/") and not _is_pattern(path)) or path.value.startswith(INTERNAL):
                raise ValueError(f"{path.value!r} is not a path")
            if _is_pattern(path):
                pattern = emission.pattern(of_path(path), path.ignore_case, route.name)
                conditions.append({"part": "path", "value": pattern, "ignore_case": path.ignore_case})
            else:
                path = msgspec.structs.replace(path, value=unquote(path.value))
            check((directive("location", Bare(path.value if not _is_pattern(path) else "/")),))
            conditions += (self._condition(route, each) for each in route.match.conditions)
        except ValueError as error:
            # Its path cannot be told: there is nothing that it could answer.
            emission.refused[route.name] = str(error)
            return
        if route.name in emission.quarantined:
            emission.refused[route.name] = emission.quarantined[route.name]
            if _is_pattern(path) and "pattern" in emission.quarantined[route.name]:
                return
            route = answer_of(route, 500, "this rule was refused")
        self._routes.append(route)
        self._paths.append(path)
        self._conditions.append(conditions)

    def _condition(self, route: Route, condition: Condition) -> Mapping[str, object]:
        value = of_value(condition.how, condition.value)
        if condition.how is How.REGEX:
            self._emission.pattern(value, False, route.name)
        return {
            "part": "query" if condition.part.value == "query parameter" else condition.part.value,
            "how": _HOWS[condition.how],
            "name": condition.name.lower() if condition.part.value == "header" else condition.name,
            "value": value,
            "invert": condition.invert,
        }

    def locations(self) -> Iterator[Directive]:
        candidates = [
            Candidate(path, len(conditions) > _is_pattern(path))
            for path, conditions in zip(self._paths, self._conditions, strict=True)
        ]
        for region, members in regions(candidates).items():
            words = ("=", Bare(region.path)) if region.exact else (Bare(region.path),)
            yield directive(
                "location", *words, block=self._region(members), source=self._routes[members[0]].name if members else ""
            )
        yield from self._place

    def _region(self, members: tuple[int, ...]) -> tuple[Directive, ...]:
        if not members:
            return (NOT_FOUND,)
        first = members[0]
        if not self._conditions[first]:
            route = self._routes[first]
            arms = self._arms(route)
            if len(arms) == 1:
                return self._arm(route, arms[0])
        number = self._choices.get(members)
        if number is None:
            number = self._choices[members] = self._emission.choice([self._choice(index) for index in members])
        return (directive("client_max_body_size", "0"), directive("rewrite_by_lua_block", Call("choose", (number,))))

    def _arms(self, route: Route) -> tuple[str, ...]:
        """Its clusters; '' alone for none."""
        if not isinstance(route.action, Forward) or not any(each.weight > 0 for each in route.action.to):
            return ("",)
        return tuple(dict.fromkeys(each.cluster for each in route.action.to))

    def _choice(self, index: int) -> Mapping[str, object]:
        route = self._routes[index]
        choice: dict[str, object] = {"name": route.name, "conditions": self._conditions[index]}
        arms = self._arms(route)
        action = route.action
        if isinstance(action, Forward):
            choice["body"] = route.policy.body or None
        if len(arms) == 1 or not isinstance(action, Forward):
            return choice | {"to": self._leaf(index, arms[0])}
        clusters = self._emission.table.clusters
        return choice | {
            "affinity": action.affinity.name if action.affinity else None,
            "arms": [
                {
                    "cluster": each,
                    "to": self._leaf(index, each),
                    "set": set_name(clusters[each].where) if each in clusters else "",
                }
                for each in arms
            ],
        }

    def _leaf(self, index: int, cluster: str) -> str:
        name = self._leaves.get((index, cluster))
        if name is None:
            route = self._routes[index]
            block = self._arm(route, cluster)
            name = self._leaves[index, cluster] = f"@route{len(self._leaves) + 1}"
            self._place.append(directive("location", Bare(name), block=block, source=route.name))
        return name

    def _arm(self, route: Route, cluster: str) -> tuple[Directive, ...]:
        emission = self._emission
        if isinstance(route.action, Forward):
            weighted = route.action.to
            if not cluster:
                route = answer_of(route, 503, "no backend")
            elif len(weighted) > 1:
                emission.state[f"weights/{route.name}"] = "".join(f"{each.weight} {each.cluster}\n" for each in weighted)
        added = Place()
        try:
            block = arm(emission, added, route, cluster)
            check((*block, *added))
        except ValueError as error:
            emission.refused[route.name] = str(error)
            return arm(emission, Place(), answer_of(route, 500, "this rule cannot be served"), "")
        self._place += added
        return block


def _is_pattern(path: PathMatch) -> bool:
    return Candidate(path).is_pattern


def locations_of(emission: Emission, views: tuple[OnChain, ...]) -> Iterable[Directive]:
    return list(_Server(emission, views).locations())
