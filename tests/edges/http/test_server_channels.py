"""Is an event taken to those who may tell of it, and to no others? Channels.hearing beside a search through all."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from mooring.apiserver.contract import Facet, Watch
from mooring.edges.http.server_channels import Channels
from mooring.store.records import Event, Record

KEYS = ("/pods/a/1", "/pods/a/2", "/pods/b/1", "/nodes/a")
PREFIXES = ("", "/", "/pods/", "/pods/a/", "/pods/a/1", "/nodes/")
VALUES = (b"", b"x", b"y")


class Channel(Struct, eq=False):
    watch: Watch


def first(record: Record) -> str:
    return record.value[:1].decode()


def length(record: Record) -> str:
    return str(len(record.value))


FACETS = (None, *(Facet("first", wanted, first) for wanted in ("", "x")), *(Facet("length", wanted, length) for wanted in "01"))
RECORDS = st.none() | st.builds(Record, st.just(""), st.sampled_from(VALUES), st.just(1), st.just(1))


def watch(prefix: str, facet: Facet | None) -> Watch:
    return Watch(prefix, 0, (), lambda event: None, lambda revision: None, (prefix, facet), 60.0, facet=facet)


@given(
    st.lists(
        st.tuples(st.sampled_from(PREFIXES), st.sampled_from(FACETS), st.booleans()), max_size=12, unique_by=lambda it: it[:2]
    ),
    st.builds(Event, st.just(2), st.sampled_from(KEYS), RECORDS, RECORDS),
)
def test_those_hear_who_watch_the_prefix_and_want_a_value_that_is_or_was(wishes, event):
    channels: Channels[Channel] = Channels()
    stay = set()
    for prefix, facet, stays in wishes:
        channel = Channel(watch(prefix, facet))
        channels.add(channel.watch.share, channel)
        assert channel is channels.get(prefix, channel.watch.share)
        if stays:
            stay.add(channel)
    for channel in channels:
        if channel not in stay:
            channels.drop(channel.watch.share, channel)
            channels.drop(channel.watch.share, channel)
    records = [record for record in (event.record, event.previous) if record]
    expected = {
        channel
        for channel in stay
        if event.key.startswith(channel.watch.prefix)
        and ((facet := channel.watch.facet) is None or facet.wanted in [facet.value(record) for record in records])
    }
    heard = list(channels.hearing(event))
    assert expected == set(heard) and len(expected) == len(heard)
    assert bool(stay) == bool(channels) and stay == set(channels)
