"""What does a reconciler answer?

Two pure functions and a name: which keys does a change concern, and what must be written for a key. The loop (loop.py) is
written once: it feeds changes, dedupes keys, waits until the informers have seen its own writes, carries plans out, backs off.
Planning again after applying gives the empty plan; one test asks that of every reconciler.
"""

from collections.abc import Iterable
from datetime import datetime
from random import Random
from typing import Any, Literal, Protocol

from msgspec import Struct

from mooring.model.kinds import Kind
from mooring.ports.api import ApiError

Document = dict[str, Any]
Key = tuple[str, str]
"""(namespace, name); namespace is '' for cluster-scoped objects."""


class Change(Struct, frozen=True):
    """An object appeared (before None), changed, or went (after None)."""

    kind: Kind
    before: Document | None
    after: Document | None


class Apply(Struct, frozen=True):
    """One write. `body` as for ports.api.Api.write; a Conflict or NotFound makes the key be planned again, nothing else.

    `ignore` lists Status reasons that count as done (AlreadyExists on an idempotent create, NotFound on a delete).
    """

    verb: Literal["create", "update", "patch", "delete"]
    kind: Kind
    namespace: str
    name: str
    body: Any = None
    subresource: str = ""
    patch_type: str = "application/merge-patch+json"
    ignore: tuple[str, ...] = ()
    part: str = ""
    """What it belongs to, a Pod say. A refusal of one write of a part keeps the rest of the part from being made, and whatever
    belongs to no part, but no other part; the key is planned again all the same. '' for none: its refusal ends the plan."""


class Refusal(Struct, frozen=True):
    """A write that the server would not make."""

    write: Apply
    error: ApiError


class Report(Struct, frozen=True):
    """An Event on an object: upstream's reason and message; repeated reports are counted, not repeated."""

    regarding: Document
    type: Literal["Normal", "Warning"]
    reason: str
    message: str
    part: str = ""
    """What it tells of: it is recorded once all writes of this part are made (Apply.part), '' for those of the whole plan."""


class Plan(Struct, frozen=True):
    """Writes in order (a refusal stops what rests on it: Apply.part), Events to record, when to look again unasked."""

    writes: tuple[Apply, ...] = ()
    reports: tuple[Report, ...] = ()
    again_after: float | None = None
    """Seconds."""
    facts: Any = None
    """What the plan amounts to, for the reconciler's own metrics (loop.Observer)."""
    assumed_node: str = ""
    """Where the key's Pod is taken to be by all plans that are made until the writes are through, or have failed: no other key
    waits for them. Only of a reconciler that `assumes`."""


NOTHING = Plan()


class World(Protocol):
    """What the informers have seen. Documents are shared: never mutate one, copy it first."""

    @property
    def now(self) -> datetime: ...

    @property
    def rng(self) -> Random: ...

    @property
    def customs(self) -> tuple[Kind, ...]:
        """The kinds that definitions have added, as far as their objects have been listed; in no version but one."""

    @property
    def complete(self) -> bool:
        """Whether all of them have been."""

    def get(self, kind: Kind, namespace: str, name: str) -> Document | None: ...

    def list(self, kind: Kind, namespace: str = "") -> Iterable[Document]:
        """All objects of a kind, in one namespace unless ''."""

    def indexed(self, kind: Kind, index: str, value: str) -> Iterable[Document]:
        """Objects by a named index of the informer: 'owner' (controller ownerReference's uid), 'co_owner' (the other owners'
        uids), 'node' (a Pod's spec.nodeName, '' while it has none), 'service' (a slice's kubernetes.io/service-name as
        'namespace/name'), 'ingress_class' (of an Ingress, '' for none), 'claim' (of a Pod, 'namespace/name' of each
        PersistentVolumeClaim that it mounts), 'volume' (of a claim, '' while it has none); all of them in control/cache.py."""


class Reconciler(Protocol):
    """Five things more may be offered: `customs = True`, to hear of all kinds that definitions add, and to read them;
    `initial: tuple[Key, ...]`, keys to plan at the start though no object exists yet;
    `refused(key, refusals, world) -> Plan`, what to say (writes, reports) when the server refused writes of a plan with an
    ApiError other than Conflict and NotFound, the world having seen what was made, and the key being planned again later in
    any case; `assumes = True`, that its plans may say `assumed_node`; and `observer`, a loop.Observer that hears of every plan
    carried out."""

    @property
    def name(self) -> str: ...

    @property
    def watches(self) -> tuple[Kind, ...]:
        """The kinds whose changes it hears of, and the only ones it may read from the world."""

    @property
    def serial(self) -> bool:
        """True when choices must be unique: one key at a time, from a world that has seen the last write."""

    def keys(self, change: Change, world: World) -> Iterable[Key]: ...

    def plan(self, key: Key, world: World) -> Plan: ...
