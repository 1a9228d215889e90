"""core/v1 and events.k8s.io/v1 Event: one record, two spellings (event_forms.py); rules and rows are written for core's."""

from collections.abc import Sequence
from typing import Any

from mooring.apiserver.contract import Env
from mooring.apiserver.event_forms import to_core
from mooring.apiserver.kinds import printing
from mooring.apiserver.kinds.metadata import path_segment
from mooring.apiserver.kinds.plain import Plain
from mooring.apiserver.kinds.problems import invalid, required
from mooring.apiserver.strategy import Column, Document, FieldError
from mooring.model.kinds import CORE_EVENT, EVENT

MAX_NOTE, MAX_REASON = 1024, 128


class CoreEvent(Plain):
    kind = CORE_EVENT
    columns: tuple[Column, ...] = (
        Column("Last Seen"),
        Column("Type"),
        Column("Reason"),
        Column("Object"),
        Column("Subobject", priority=1),
        Column("Source", priority=1),
        Column("Message"),
        Column("First Seen", priority=1),
        Column("Count", priority=1),
        Column("Name", priority=1),
    )

    def name_rule(self, name: str) -> list[str]:
        return path_segment(name)

    def check(self, document: Document, old: Document | None, subresource: str) -> list[FieldError]:
        event = to_core(document)
        namespace = event["metadata"].get("namespace", "")
        about = (event.get("involvedObject") or {}).get("namespace", "")
        field = "involvedObject" if self.kind is CORE_EVENT else "regarding"
        if about != namespace and not (about == "" and namespace == "default"):
            return [invalid(f"{field}.namespace", about, "does not match event.namespace")]
        return []

    def fields(self, document: Document) -> dict[str, str]:
        event = to_core(document)
        prefix = "involvedObject" if self.kind is CORE_EVENT else "regarding"
        about, source = event.get("involvedObject") or {}, event.get("source") or {}
        names = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
        reporter = "reportingComponent" if self.kind is CORE_EVENT else "reportingController"
        return {f"{prefix}.{name}": about.get(name, "") for name in names} | {
            "reason": event.get("reason", ""),
            "type": event.get("type", ""),
            "source": source.get("component", "") or event.get("reportingComponent", ""),
            reporter: event.get("reportingComponent", ""),
        }

    def cells(self, document: Document, env: Env) -> Sequence[Any]:
        event = to_core(document)
        about = event.get("involvedObject") or {}
        series = event.get("series") or {}
        event_time = event.get("eventTime")
        first = printing.since(event.get("firstTimestamp") or event_time, env.now)
        last_time = series.get("lastObservedTime") or event.get("lastTimestamp") or event_time
        return [
            printing.since(last_time, env.now),
            event.get("type", ""),
            event.get("reason", ""),
            f"{about.get('kind', '').lower()}/{about.get('name', '')}",
            about.get("fieldPath", ""),
            _source(event),
            event.get("message", "").strip(),
            first,
            series.get("count") or event.get("count") or 1,
            event["metadata"].get("name", ""),
        ]


class Event(CoreEvent):
    kind = EVENT

    def check(self, document: Document, old: Document | None, subresource: str) -> list[FieldError]:
        found = super().check(document, old, subresource)
        if old is not None:
            return found
        if not document.get("eventTime"):
            found.append(required("eventTime"))
        found += [
            required(name)
            for name in ("reportingController", "reportingInstance", "action", "reason")
            if not document.get(name)
        ]
        for name, limit in (("note", MAX_NOTE), ("reason", MAX_REASON), ("action", MAX_REASON)):
            if len(document.get(name) or "") > limit:
                found.append(invalid(name, "", f"can have at most {limit} characters"))
        if document.get("type", "") not in ("Normal", "Warning"):
            found.append(invalid("type", document.get("type", ""), 'has invalid value: must be "Normal" or "Warning"'))
        return found


def _source(event: Document) -> str:
    source = event.get("source") or {}
    component = source.get("component") or event.get("reportingComponent") or ""
    instance = source.get("host") or event.get("reportingInstance") or ""
    return f"{component}, {instance}" if instance else component
