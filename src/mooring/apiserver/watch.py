"""What changes does a watcher see? Frames in the order of revisions, as its selectors see them.

https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes and KEP-3157 (sendInitialEvents).
"""

from collections.abc import Callable, Iterable
from itertools import chain

from msgspec import structs

from mooring.apiserver import errors, read, render
from mooring.apiserver.call import Call
from mooring.apiserver.contract import Answer, Question, Response, Watch
from mooring.apiserver.errors import StatusError
from mooring.apiserver.negotiate import JSON
from mooring.model import codec
from mooring.store.records import Compacted, Event, FutureRevision

INITIAL_EVENTS_END = "k8s.io/initial-events-end"
_MIN_TIMEOUT = 1800.0
"""Seconds; upstream's --min-request-timeout: a watch without timeoutSeconds lasts once to twice this long."""


def watch(call: Call) -> Response | Watch:
    read.check_match(call)
    wanted = read.selection(call)
    version = read.parse_version(call.query("resourceVersion"))
    call.accepted  # noqa: B018  (refuses now what frames could not be encoded as)
    prefix = call.resource.prefix(call.namespace)
    if wanted.only and (call.namespace or not call.kind.namespaced):
        prefix = call.resource.key(call.namespace, wanted.only)
    initial_events = call.flag("sendInitialEvents")
    initial: Iterable[bytes]
    start = version
    if initial_events or (not version and not call.has_query("sendInitialEvents")):
        if version > call.snapshot.revision:
            return _refused(errors.too_large_resource_version(version, call.snapshot.revision))
        start = call.snapshot.revision
        initial = _initial(call, wanted, initial_events)
    else:
        start = version or call.snapshot.revision
        initial = ()
        try:
            call.snapshot.since(prefix, start)
        except Compacted as error:
            return _refused(errors.expired(f"too old resource version: {error.asked} ({error.oldest})"))
        except FutureRevision as error:
            return _refused(errors.too_large_resource_version(error.asked, error.current))
    return _following(call, wanted, prefix, start, initial)


def _initial(call: Call, wanted: read.Selection, told_when_over: bool) -> Iterable[bytes]:
    """What there is now, selected and encoded as it is asked for: of a large collection that takes long, and much memory."""
    revision = call.snapshot.revision
    everything = structs.replace(wanted, labels=None, terms=())
    records = tuple(call.resource.gathered(read.records(call, everything)))
    found = records if wanted.everything else filter(wanted.sees, records)
    lines = (_frame(b"ADDED", render.item(call, each.value, each.mod_revision)) for each in found)
    return chain(lines, [_bookmark(call, revision, {INITIAL_EVENTS_END: "true"})]) if told_when_over else lines


def _following(call: Call, wanted: read.Selection, prefix: str, start: int, initial: Iterable[bytes]) -> Watch:
    """The stream, whose frames are made long after the decision, with answers of their own."""
    bookmarks = call.flag("allowWatchBookmarks")
    answers: dict[Question, Answer] = {}
    call = call.asking(answers)
    wanted = structs.replace(wanted, resource=call.resource)
    return Watch(
        prefix=prefix,
        revision=start,
        initial=initial,
        encode=encoder(call, wanted),
        bookmark=(lambda revision: _bookmark(call, revision)) if bookmarks else _no_bookmark,
        share=(call.resource, prefix, call.name, call.query("labelSelector"), call.query("fieldSelector"),
               call.accepted, call.query("includeObject")),
        timeout=_timeout(call),
        content_type=JSON,
        answers=answers,
        rests_on=call.resource.rests_on,
        outdated=_redefined,
        facet=read.facet(call, wanted),
    )  # fmt: skip


def _redefined(event: Event) -> bool:
    """Whether a definition says something else than before, or has gone."""
    if event.record is None or event.previous is None:
        return True
    after, before = codec.decode(event.record.value), codec.decode(event.previous.value)
    return bool(after["spec"] != before["spec"])


def encoder(call: Call, wanted: read.Selection) -> Callable[[Event], bytes | None]:
    """What comes to match is ADDED, what ceases to is DELETED; a deleted object carries the deletion's revision."""
    item = render.item
    if wanted.everything:

        def plain(event: Event) -> bytes | None:
            if event.record is None:
                return _frame(b"DELETED", item(call, event.previous.value, event.revision)) if event.previous else None
            word = b"MODIFIED" if event.previous else b"ADDED"
            return _frame(word, item(call, event.record.value, event.revision))

        return plain

    def selected(event: Event) -> bytes | None:
        record, previous = event.record, event.previous
        before = previous is not None and wanted.sees(previous)
        if record is not None and wanted.sees(record):
            return _frame(b"MODIFIED" if before else b"ADDED", item(call, record.value, event.revision))
        if previous is not None and before:
            return _frame(b"DELETED", item(call, previous.value, event.revision))
        return None

    return selected


def error_frame(error: StatusError) -> bytes:
    """The line that ends a watch with an error, as the edge needs it when a slow watcher loses its place."""
    return _frame(b"ERROR", codec.encode(error.document()))


def _refused(error: StatusError) -> Response:
    """Once a watch request is well formed, upstream reports errors as an event in a stream that ends at once."""
    return Response(200, error_frame(error), JSON)


def _frame(word: bytes, shown: bytes) -> bytes:
    return b'{"type":"%s","object":%s}\n' % (word, shown)


def _bookmark(call: Call, revision: int, annotations: dict[str, str] | None = None) -> bytes:
    meta = {"resourceVersion": str(revision), "creationTimestamp": None} | ({"annotations": annotations} if annotations else {})
    kind, api_version = call.kind.kind, call.kind.api_version
    form = call.accepted
    if form.transform == "Table":
        row = {
            "cells": [],
            "object": {"kind": "PartialObjectMetadata", "apiVersion": f"meta.k8s.io/{form.version}", "metadata": meta},
        }
        shown = {
            "kind": "Table",
            "apiVersion": f"meta.k8s.io/{form.version}",
            "metadata": meta,
            "columnDefinitions": [],
            "rows": [row],
        }
        return _frame(b"BOOKMARK", codec.encode(shown))
    if form.transform:
        kind, api_version = "PartialObjectMetadata", f"meta.k8s.io/{form.version}"
    return _frame(b"BOOKMARK", codec.encode({"kind": kind, "apiVersion": api_version, "metadata": meta}))


def _no_bookmark(_: int) -> bytes | None:
    return None


def _timeout(call: Call) -> float:
    asked = call.number("timeoutSeconds")
    return float(asked) if asked and asked > 0 else _MIN_TIMEOUT * (1 + call.env.rng.random())
