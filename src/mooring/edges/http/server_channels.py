"""Which watchers' channels hear of an event, without asking each of them?

By the prefix that they watch, and among those of one prefix by the value that they want a label or a field to have, so that of
a thousand kubelets with a spec.nodeName each an event finds the one that it concerns. Upstream's cacher keeps the same index
(SelectionPredicate.MatcherIndex). What a channel then tells its watchers is its own affair: the index leaves out only those
that could tell nothing.
"""

from collections.abc import Hashable, Iterator
from itertools import chain
from typing import Any, Generic, Protocol, TypeVar

from mooring.apiserver.contract import Facet, Watch
from mooring.store.records import Event

Share = tuple[Any, ...]


class Channel(Hashable, Protocol):
    watch: Watch


C = TypeVar("C", bound=Channel)


class Channels(Generic[C]):
    """By prefix, and by what watchers share who are told the same."""

    def __init__(self) -> None:
        self._collections: dict[str, _Collection[C]] = {}

    def __bool__(self) -> bool:
        return bool(self._collections)

    def __iter__(self) -> Iterator[C]:
        """All, as they are now."""
        return iter([channel for collection in self._collections.values() for channel in collection.shared.values()])

    def get(self, prefix: str, share: Share) -> C | None:
        collection = self._collections.get(prefix)
        return collection.shared.get(share) if collection else None

    def add(self, share: Share, channel: C) -> None:
        self._collections.setdefault(channel.watch.prefix, _Collection()).add(share, channel)

    def drop(self, share: Share, channel: C) -> None:
        """Does nothing when it is not there."""
        prefix = channel.watch.prefix
        if (collection := self._collections.get(prefix)) and collection.shared.get(share) is channel:
            collection.drop(share, channel)
            if not collection.shared:
                del self._collections[prefix]

    def hearing(self, event: Event) -> Iterator[C]:
        for prefix in _prefixes(event.key):
            if collection := self._collections.get(prefix):
                yield from collection.hearing(event)


class _Collection(Generic[C]):
    """The channels of one prefix; those with a facet by its value, too."""

    def __init__(self) -> None:
        self.shared: dict[Share, C] = {}
        self._others: dict[C, None] = {}
        self._faceted: dict[Hashable, tuple[Facet, dict[str, dict[C, None]]]] = {}

    def add(self, share: Share, channel: C) -> None:
        self.shared[share] = channel
        if facet := channel.watch.facet:
            _, by_value = self._faceted.setdefault(facet.of_what, (facet, {}))
            by_value.setdefault(facet.wanted, {})[channel] = None
        else:
            self._others[channel] = None

    def drop(self, share: Share, channel: C) -> None:
        del self.shared[share]
        if facet := channel.watch.facet:
            _, by_value = self._faceted[facet.of_what]
            del by_value[facet.wanted][channel]
            if not by_value[facet.wanted]:
                del by_value[facet.wanted]
            if not by_value:
                del self._faceted[facet.of_what]
        else:
            del self._others[channel]

    def hearing(self, event: Event) -> Iterator[C]:
        found = [self._others]
        for facet, by_value in self._faceted.values():
            values = {facet.value(record) for record in (event.record, event.previous) if record}
            found += [by_value[value] for value in values if value in by_value]
        return chain.from_iterable(found)


def _prefixes(key: str) -> Iterator[str]:
    """What a watch on this key may have as its prefix: everything up to and with each '/', and the key itself."""
    position = key.find("/")
    while position >= 0:
        yield key[: position + 1]
        position = key.find("/", position + 1)
    yield key
    yield ""
