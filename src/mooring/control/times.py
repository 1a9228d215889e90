"""How are moments written in documents? As RFC 3339 in UTC: whole seconds (metav1.Time) or microseconds (metav1.MicroTime)."""

from datetime import UTC, datetime


def stamp(moment: datetime) -> str:
    """metav1.Time, e.g. '2026-01-01T00:00:00Z'."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def moment(text: str) -> datetime:
    """The moment of either form. Raises ValueError."""
    return datetime.fromisoformat(text)


def seconds_since(text: str, now: datetime) -> float:
    return (now - moment(text)).total_seconds()
