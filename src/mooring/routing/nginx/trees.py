"""What does Lua look a request's route up in? One value for each host: its regions of paths, and the routes of each, in order.

A host's tree names the groups of its routes, which are NGINX's; everything else about a route is data, so most changes take no
reload. What a tree says is said by its key: hosts that are the same share one, and one that is unchanged is not told again.
"""

import re
from collections.abc import Iterable, Mapping
from urllib.parse import unquote

import msgspec
from msgspec import Struct

from mooring.routing.nginx.config import Bare, check, directive
from mooring.routing.nginx.data import encoded
from mooring.routing.nginx.emission import Emission, digest, set_name
from mooring.routing.nginx.locations import INTERNAL, Candidate, regions
from mooring.routing.nginx.patterns import of_path, of_value
from mooring.routing.nginx.routes import answer_of, arm, shown
from mooring.routing.table import (
    NO_FILTERS,
    Condition,
    Forward,
    How,
    PathMatch,
    Policy,
    Redirect,
    Route,
    VirtualHost,
)

_HOWS = {How.EXACT: "is", How.PREFIX: "begins", How.REGEX: "matches", How.PRESENT: "present"}
_SLASH = re.compile("(%2f|%5c)", re.IGNORECASE)
COMMON = Policy(buffer_response=False)
"""What an Ingress without annotations asks for: routes like this are served where they are looked up."""


class OnChain(Struct, frozen=True):
    """A virtual host as the connections of one chain see it; `chain` '': as all see it."""

    host: VirtualHost
    chain: str = ""


class Tree(Struct, frozen=True):
    """`key` is that of its value in the shared dict; `groups`: the names of the locations that it leads to."""

    key: str
    groups: frozenset[str]


def tree(emission: Emission, views: Iterable[OnChain]) -> Tree:
    return _Growing(emission, views).grown()


class _Growing:
    """One host's routes on their way to a tree."""

    def __init__(self, emission: Emission, views: Iterable[OnChain]) -> None:
        self._emission = emission
        self._alike: dict[tuple[object, ...], dict[str, object]] = {}
        self._groups: set[str] = set()
        self._routes: list[Route] = []
        self._conditions: list[list[Mapping[str, object]]] = []
        self._paths: list[PathMatch] = []
        for view in views:
            for route in view.host.routes:
                self._take(route, view)

    def grown(self) -> Tree:
        """Long lists are only where routes share a region: a number alone is one route."""
        candidates = [
            Candidate(path, len(conditions) > _is_pattern(path))
            for path, conditions in zip(self._paths, self._conditions, strict=True)
        ]
        exact: dict[str, object] = {}
        prefixes: dict[str, object] = {}
        for region, members in regions(candidates).items():
            numbers = [index + 1 for index in members]
            if numbers or region.exact or region.path != "/":
                (exact if region.exact else prefixes)[region.path] = numbers[0] if len(numbers) == 1 else numbers
        value = {
            "routes": [self._route(index) for index in range(len(self._routes))],
            "exact": exact,
            "prefixes": prefixes,
            "longest": max((len(path.encode()) for path in prefixes), default=0),
            # Lengths of prefixes that may end within an element of a path.
            "lengths": sorted({len(path.encode()) for path in prefixes if not path.endswith("/")}, reverse=True),
        }
        written = encoded(value)
        key = digest(written)
        self._emission.state[f"tree/{key}"] = written
        return Tree(key, frozenset(self._groups))

    def _take(self, route: Route, view: OnChain) -> None:
        emission = self._emission
        emission.whose[route.name] = route.source
        conditions: list[Mapping[str, object]] = []
        path = route.match.path
        if view.chain:
            conditions.append({"part": "chain", "value": view.chain})
        try:
            if (not path.value.startswith("/") and not _is_pattern(path)) or path.value.startswith(INTERNAL):
                raise ValueError(f"{path.value!r} is not a path")
            if _is_pattern(path):
                pattern = emission.pattern(of_path(path), path.ignore_case, route.name)
                conditions.append({"part": "path", "value": pattern, "ignore_case": path.ignore_case})
            else:
                path = msgspec.structs.replace(path, value=_decoded(path.value)) if "%" in path.value else path
                check((directive("location", Bare(path.value)),))
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

    def _route(self, index: int) -> Mapping[str, object]:
        route, conditions = self._routes[index], self._conditions[index]
        told: dict[str, object] = {"name": shown(route.name), "conditions": conditions or None}
        action = route.action
        if not isinstance(action, Forward) or not any(each.weight > 0 for each in action.to):
            return told | self._arm(route if not isinstance(action, Forward) else answer_of(route, 503, "no backend"), "")
        names = tuple(dict.fromkeys(each.cluster for each in action.to))
        if len(names) == 1:
            return told | self._arm(route, names[0])
        # Workers that know the route as it was must not find the weights of other clusters.
        key = f"weights/{digest(' '.join((route.name, *sorted(names))).encode())}"
        self._emission.state[key] = "".join(f"{each.weight} {shown(each.cluster)}\n" for each in action.to).encode()
        clusters = self._emission.table.clusters
        return told | {
            "weights": key,
            "affinity": action.affinity.name if action.affinity else None,
            "arms": [
                {
                    "of": shown(each),
                    "from": set_name(clusters[each].where) if each in clusters else "",
                    **self._arm(route, each),
                }
                for each in names
            ],
        }

    def _arm(self, route: Route, name: str) -> dict[str, object]:
        """Routes of a host are mostly alike: what is the same of them is made once."""
        action, cluster = route.action, self._emission.table.clusters.get(name)
        key: tuple[object, ...] | None = None
        if route.filters == NO_FILTERS:
            if not isinstance(action, Forward):
                key = (action, route.policy) if not isinstance(action, Redirect) or action.path is None else None
            elif cluster is not None and cluster.tls is None and action.affinity is None and not action.hash_on:
                key = (route.policy, cluster.speaks, cluster.balance)
        alike = self._alike.get(key) if key else None
        if alike is None:
            alike = self._made(route, name)
            if not key or route.name in self._emission.refused:
                return alike
            self._alike[key] = alike
        self._emission.users.setdefault(str(alike["group"]), set()).add(route.name)
        if cluster is None or "set" not in alike:
            return alike
        members = set_name(cluster.where)
        self._emission.sets[members] = cluster.where
        return alike | {"cluster": shown(name), "set": members}

    def _made(self, route: Route, cluster: str) -> dict[str, object]:
        part = self._emission.part()
        try:
            made = arm(part, route, cluster)
        except ValueError as error:
            self._emission.refused[route.name] = str(error)
            made = arm(self._emission, answer_of(route, 500, "this rule cannot be served"), "")
        else:
            self._emission.absorb(part)
        self._groups.add(str(made["group"]))
        return made


def _decoded(path: str) -> str:
    """As Lua sees paths: an escaped slash is none."""
    return "".join(each if _SLASH.fullmatch(each) else unquote(each) for each in _SLASH.split(path))


def _is_pattern(path: PathMatch) -> bool:
    return Candidate(path).is_pattern
