"""How are things put in words, so that every problem speaks in one voice?"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

MOST = 3
"""Names in a list before the rest is only counted."""


def listing(names: Iterable[str], most: int = MOST) -> str:
    """'a, b and c', 'a, b, c and 4 more'."""
    found = list(names)
    if len(found) > most + 1:
        return f"{', '.join(found[:most])} and {len(found) - most} more"
    return " and ".join(filter(None, (", ".join(found[:-1]), found[-1]))) if found else ""


def pod_names(pods: Iterable[Mapping[str, Any]]) -> str:
    """'pod/a, pod/b and 3 more', of documents."""
    return listing(f"pod/{pod['metadata']['name']}" for pod in pods)


def counted(number: int, noun: str) -> str:
    """'1 pod', '2 pods'."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def verb(count: int | Collection[object], one: str, several: str) -> str:
    """The form that fits so many."""
    return one if (count if isinstance(count, int) else len(count)) == 1 else several


def are(count: int | Collection[object]) -> str:
    return verb(count, "is", "are")


def have(count: int | Collection[object]) -> str:
    return verb(count, "has", "have")


def labels(pairs: Mapping[str, str] | None) -> str:
    """'app=web,tier=front', as selectors are written on a command line."""
    return ",".join(f"{key}={value}" for key, value in (pairs or {}).items())


def place(address: str, port: int, protocol: str) -> str:
    """'10.96.0.1:80/TCP', '[fd00::1]:80/TCP'."""
    return f"{f'[{address}]' if ':' in address else address}:{port}/{protocol}"
