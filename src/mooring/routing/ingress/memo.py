"""What of the last translation can be used again? Kept by the identity of the views that it was made of."""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from mooring.model.ingress import Ingress
from mooring.routing.ingress import reading
from mooring.routing.ingress.hosts import HostOptions, HostView, merge
from mooring.routing.ingress.listeners import Served
from mooring.routing.ingress.objects import Name, Objects
from mooring.routing.ingress.parameters import Defaults
from mooring.routing.ingress.reading import Reading
from mooring.routing.ingress.watched import Looked, Notes, still_holds


class _Kept(Struct, frozen=True, gc=False):
    ingress: Ingress
    defaults: Defaults
    looked: tuple[Looked, ...]
    since: datetime
    reading: Reading


class Memo:
    """For one front end; the result is that of a translation without it. Objects must be replaced, not changed in place.

    What a translation did not use is forgotten by the next one.
    """

    def __init__(self) -> None:
        self._readings: dict[Name, _Kept] = {}
        self._hosts: dict[str, tuple[tuple[Reading, ...], HostOptions, HostView]] = {}
        self._served: dict[str, tuple[HostView, tuple[str, ...], Served]] = {}

    def read(self, ingress: Ingress, objects: Objects, defaults: Defaults, now: datetime) -> Reading:
        name = ingress.metadata.namespace, ingress.metadata.name
        kept = self._readings.get(name)
        if (
            kept is not None
            and kept.ingress is ingress
            and kept.defaults == defaults
            and kept.since <= now <= kept.reading.until
            and still_holds(kept.looked, objects)
        ):
            return kept.reading
        notes = Notes(objects)
        found = reading.read(ingress, notes.objects, defaults, now)
        self._readings.pop(name, None)
        if notes.complete:
            self._readings[name] = _Kept(ingress, defaults, tuple(notes.looked), now, found)
        return found

    def merge(self, host: str, readings: Sequence[Reading], options: HostOptions) -> HostView:
        kept, wanted = self._hosts.get(host), tuple(readings)
        if kept is not None and kept[0] == wanted and kept[1] == options:
            return kept[2]
        view = merge(host, wanted, options)
        self._hosts[host] = (wanted, options, view)
        return view

    def served(self, host: str, view: HostView, names: tuple[str, ...], made: Served | None) -> Served | None:
        """Keeps `made`; or, without it, what was kept of the same view and names."""
        if made is not None:
            self._served[host] = (view, names, made)
            return made
        kept = self._served.get(host)
        return kept[2] if kept is not None and kept[0] is view and kept[1] == names else None

    def forget(self, ingresses: frozenset[Name], hosts: frozenset[str]) -> None:
        """All but these."""
        for name in [each for each in self._readings if each not in ingresses]:
            del self._readings[name]
        for kept in (self._hosts, self._served):
            for host in [each for each in kept if each not in hosts]:
                del kept[host]
