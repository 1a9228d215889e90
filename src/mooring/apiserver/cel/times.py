"""How does the evaluator take times? As protobuf messages only."""

from datetime import UTC, datetime, timedelta

from google.protobuf import duration_pb2, timestamp_pb2


def message(value: datetime | timedelta) -> duration_pb2.Duration | timestamp_pb2.Timestamp:
    if isinstance(value, timedelta):
        span = duration_pb2.Duration()
        span.FromTimedelta(value)
        return span
    stamp = timestamp_pb2.Timestamp()
    stamp.FromDatetime(value.astimezone(UTC).replace(tzinfo=None))
    return stamp
