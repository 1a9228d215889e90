"""What does a plan tell? Frozen values, the same for people and for programs; `null` stands for what is not known before.

What the server will choose (a cluster IP, a node port) and the addresses of pods that do not exist yet are such.
"""

from typing import Any

import msgspec
from msgspec import Struct

Document = dict[str, Any]


class ObjectChange(Struct, frozen=True):
    """`change`: created, configured, unchanged, deleted, or refused. `message` is the server's, for a refusal."""

    object: str
    change: str
    namespace: str = ""
    reason: str = ""
    message: str = ""


class Address(Struct, frozen=True, order=True):
    """`what`: cluster IP, node port, health check node port, load balancer, external IP. `port` is the Service's, 80/TCP."""

    what: str
    value: str | None
    port: str = ""


class ServiceChange(Struct, frozen=True):
    """`change`: created, changed or deleted. Types are '' where there is none."""

    service: str
    change: str
    type_before: str = ""
    type_after: str = ""
    released: tuple[Address, ...] = ()
    allocated: tuple[Address, ...] = ()


class NameChange(Struct, frozen=True):
    """Records of one type under one name of the cluster's domain. `change`: gained, lost, changed, or rolled (other pods of the
    same workloads).
    """

    name: str
    type: str
    change: str
    before: tuple[str | None, ...]
    after: tuple[str | None, ...]


class Door(Struct, frozen=True):
    """Where packets enter: an address and port, or a node port at its nodes' own addresses (`address` '')."""

    entry: str
    address: str | None
    port: int | None
    protocol: str


class Backend(Struct, frozen=True):
    """`new` of the `pods` do not exist yet: they are assumed to come up. `share` is the part of all connections."""

    workload: str
    port: int
    pods: int
    new: int
    share: float


class End(Struct, frozen=True, omit_defaults=True):
    """What the effect is about, and no more. `sees`: client, node, or client and node (it depends on the pod)."""

    outcome: str = ""
    reason: str = ""
    backends: tuple[Backend, ...] = ()
    sees: str = ""
    affinity: int | None = None
    allowed: tuple[str, ...] = ()


class Flow(Struct, frozen=True):
    """One effect on many ways at once: from these `sources` (pod, node, outside) on these `nodes` through these `doors`."""

    service: str
    effect: str
    doors: tuple[Door, ...]
    sources: tuple[str, ...]
    nodes: tuple[str, ...]
    all_nodes: bool
    before: End
    after: End


class Forecast(Struct, frozen=True):
    """`lost` is true when something that is reachable would no longer be: a flow, some of its sources, or a name."""

    summary: str
    lost: bool
    objects: tuple[ObjectChange, ...]
    services: tuple[ServiceChange, ...]
    names: tuple[NameChange, ...]
    flows: tuple[Flow, ...]
    notes: tuple[str, ...]

    @property
    def refused(self) -> tuple[ObjectChange, ...]:
        return tuple(each for each in self.objects if each.change == "refused")


def plain(forecast: Forecast) -> Document:
    """As JSON has it."""
    document: Document = msgspec.to_builtins(forecast)
    return document
