"""RouteTables of one plain listener and one host, for what the emitter is asked most."""

from collections.abc import Mapping

from mooring.routing.table import (
    Chain,
    Cluster,
    Endpoints,
    Filters,
    Forward,
    FrontDoor,
    Listener,
    Match,
    PathKind,
    PathMatch,
    Policy,
    Route,
    RouteTable,
    VirtualHost,
    WeightedCluster,
)

HOST = "a.test"
TO = Forward((WeightedCluster("echo"),))
CLUSTERS = {"echo": Cluster("echo", Endpoints("echo"))}


def at(path: str, kind: PathKind = PathKind.PREFIX) -> Match:
    return Match(PathMatch(kind, path))


def route(
    path: str, action: object = TO, filters: Filters | None = None, policy: Policy | None = None, match: Match | None = None
) -> Route:
    """Named by its path."""
    return Route(path, match or at(path), action, filters or Filters(), policy or Policy(), f"ingress shop/web {path}")  # type: ignore[arg-type]


def table(
    *routes: Route,
    clusters: Mapping[str, Cluster] = CLUSTERS,
    front_door: FrontDoor | None = None,
    hosts: tuple[str, ...] = (HOST,),
) -> RouteTable:
    host = VirtualHost("host", hosts, routes)
    return RouteTable((Listener("http", 80, (Chain(("*",), (host,)),)),), clusters, {}, front_door or FrontDoor())
