"""How do the Table's cells read? As upstream's printers: ages, lists, selectors."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from mooring.apiserver.contract import Env
from mooring.apiserver.strategy import Document

NONE = "<none>"
UNKNOWN = "<unknown>"
UNSET = "<unset>"


def human_duration(seconds: float) -> str:
    """As apimachinery's duration.HumanDuration: two units at most, coarser as it grows; '<invalid>' for the future."""
    whole = int(seconds)
    if whole < -1:
        return "<invalid>"
    if whole < 0:
        return "0s"
    if whole < 120:
        return f"{whole}s"
    minutes = whole // 60
    if minutes < 10:
        return f"{minutes}m{whole % 60}s" if whole % 60 else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    hours = whole // 3600
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    days = hours // 24
    if hours < 192:
        return f"{days}d{hours % 24}h" if hours % 24 else f"{days}d"
    if hours < 24 * 365 * 2:
        return f"{days}d"
    years = days // 365
    if hours < 24 * 365 * 8:
        return f"{years}y{days % 365}d" if days % 365 else f"{years}y"
    return f"{years}y"


def since(timestamp: str | None, now: datetime) -> str:
    """How long ago an RFC 3339 time was."""
    if not timestamp:
        return UNKNOWN
    then = datetime.fromisoformat(timestamp)
    if then.tzinfo is None:
        then = then.replace(tzinfo=UTC)
    return human_duration((now - then).total_seconds())


def age(document: Document, env: Env) -> str:
    return since(document["metadata"].get("creationTimestamp"), env.now)


def labels(pairs: Mapping[str, str] | None) -> str:
    """'a=b,c=d' in key order, or '<none>'."""
    return ",".join(f"{key}={value}" for key, value in sorted((pairs or {}).items())) or NONE


def selector(value: Mapping[str, Any] | None) -> str:
    """A LabelSelector as kubectl shows it: 'a=b,c in (d,e),!f'."""
    if value is None:
        return NONE
    parts = [f"{key}={item}" for key, item in (value.get("matchLabels") or {}).items()]
    for rule in value.get("matchExpressions") or ():
        key, values = rule.get("key", ""), ",".join(sorted(rule.get("values") or ()))
        parts.append(
            {"In": f"{key} in ({values})", "NotIn": f"{key} notin ({values})", "Exists": key, "DoesNotExist": f"!{key}"}.get(
                rule.get("operator", ""), key
            )
        )
    return ",".join(sorted(parts)) or NONE


def more(items: Sequence[str], limit: int) -> str:
    """The first few, and how many more there are."""
    shown = ",".join(items[:limit])
    return f"{shown} + {len(items) - limit} more..." if len(items) > limit else shown
