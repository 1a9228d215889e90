"""What the tests of upstream's behaviours share: who answers at a door, asked by several clients at once."""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from scene import ANSWER, SILENCE, Document, Place, Scene, until, until_equal

Value = TypeVar("Value")
Door = tuple[str, int]
"""(address, port)"""

NODES = ("172.30.0.11", "172.30.0.12")
"""The addresses of node-1 and node-2 of a cluster with the default ranges."""
OUTSIDE = "172.30.0.250"
TCP_AND_UDP = (
    {"name": "tcp", "port": 80, "targetPort": 8080},
    {"name": "udp", "port": 80, "targetPort": 8080, "protocol": "UDP"},
)
UDP = ({"port": 80, "targetPort": 8080, "protocol": "UDP"},)
TIMEOUT = "timeoutSeconds"


def sticky(seconds: int) -> Document:
    """The part of a Service's spec that remembers clients."""
    return {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {TIMEOUT: seconds}}}


def lingers(ready: bool = True) -> Document:
    """The part of a server that goes on serving after it was told to end, until the test has it gone at once."""
    return {"env": {"DRAIN": "300", **({} if ready else {"READY": "off"})}, "terminationGracePeriodSeconds": 300}


def inside(here: Scene) -> tuple[Place, ...]:
    return here.one, here.two, here.node_one, here.node_two


def everywhere(here: Scene) -> tuple[Place, ...]:
    return *inside(here), here.outside


def node_ports(here: Scene, service: str) -> list[int]:
    return [port["nodePort"] for port in here.get("Service", service)["spec"]["ports"] if "nodePort" in port]


def at_nodes(here: Scene, service: str) -> list[Door]:
    """Its first node port, at each node."""
    return [(node, node_ports(here, service)[0]) for node in NODES]


def answers(place: Place, door: Door, tries: int = 10, timeout: float = ANSWER) -> set[str]:
    """Who answers new connections."""
    return {place.http(*door, timeout=timeout) for _ in range(tries)}


def together(calls: Iterable[Callable[[], Value]]) -> list[Value]:
    """What each gives, in order, all begun at once: no two of them may use one Place."""
    calls = list(calls)
    with ThreadPoolExecutor(max(len(calls), 1)) as pool:
        return list(pool.map(lambda call: call(), calls))


def until_each(places: Sequence[Place], expected: object, what: Callable[[Place], object]) -> None:
    """`expected == what(place)`, as soon as it holds, for every place. `what` runs in a thread of its own: it asks no API."""
    together(lambda place=place: until_equal(expected, lambda: what(place)) for place in places)


def until_served(places: Sequence[Place], doors: Sequence[Door], by: set[str]) -> None:
    """Every place gets its answers at every door from exactly these pods; `{"refused"}` and `{"silence"}` are answers too."""
    tries = 2 if by == {"silence"} else 10
    until_each(places, [by] * len(doors), lambda place: [answers(place, door, tries, SILENCE) for door in doors])


def deleting(here: Scene, pod: str) -> None:
    """Asks for its end, and returns once everybody can know."""
    here.delete("Pod", pod)
    until(lambda: here.get("Pod", pod), lambda found: "deletionTimestamp" in found["metadata"])


def seen_from(place: Place, door: Door) -> str:
    """The client's address as the server sees it."""
    return place.http(*door, "/clientip", timeout=ANSWER).rpartition(":")[0]


def balancer(here: Scene, service: str) -> str:
    """Its first load balancer address, once it has one."""

    def ingress() -> list[Document]:
        found: list[Document] = here.get("Service", service)["status"]["loadBalancer"].get("ingress") or []
        return found

    return str(until(ingress)[0]["ip"])
