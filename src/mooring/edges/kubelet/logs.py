"""What is asked of a log? The query of /containerLogs, in the words of the runtime's port."""

from datetime import UTC, datetime, timedelta
from typing import Literal

from mooring.edges.kubelet.request import Refused, Request
from mooring.ports.pods import LogOptions

_LONG_AGO = 10**10
"""Seconds, some 300 years: there is no older line, and a date can still say it."""
_STREAMS: dict[str, Literal["All", "Stdout", "Stderr"]] = {"": "All", "All": "All", "Stdout": "Stdout", "Stderr": "Stderr"}


def log_options(request: Request) -> LogOptions:
    """Raises Refused(400) naming the parameter."""
    values = dict(reversed(request.query))
    try:
        since = datetime.fromisoformat(values["sinceTime"]).astimezone(UTC) if values.get("sinceTime") else None
        if values.get("sinceSeconds"):
            since = datetime.now(UTC) - timedelta(seconds=min(int(values["sinceSeconds"]), _LONG_AGO))
        if values.get("stream", "") not in _STREAMS:
            raise ValueError(f"stream {values['stream']!r}")
        return LogOptions(
            follow=request.flag("follow"),
            previous=request.flag("previous"),
            timestamps=request.flag("timestamps"),
            tail_lines=int(values["tailLines"]) if values.get("tailLines") else None,
            since=since,
            limit_bytes=int(values["limitBytes"]) if values.get("limitBytes") else None,
            stream=_STREAMS[values.get("stream", "")],
        )
    except (ValueError, OverflowError) as error:
        raise Refused(400, f"invalid log option: {error}") from error
