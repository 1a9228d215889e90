"""Of a host's paths, which is looked at first? One sort key for the whole dialect; emitters never reorder.

https://kubernetes.io/docs/concepts/services-networking/ingress/#multiple-matches: the longest path, then Exact before Prefix.
Where paths are regular expressions it is the longest pattern, whatever it matches, and of equally long ones the alphabetically
last, as ingress-nginx writes its locations.
"""

from mooring.routing.table import PathKind, PathMatch

_RANK = {
    PathKind.EXACT: 0,
    PathKind.PREFIX: 1,
    PathKind.STRING_PREFIX: 2,
    PathKind.REGEX: 3,
    PathKind.REGEX_PREFIX: 3,
}
_INVERTED = bytes(255 - octet for octet in range(256))

Precedence = tuple[bool, int, int, bytes]


def precedence(match: PathMatch, is_default: bool) -> Precedence:
    """Sorts first what is looked at first. `is_default`: of a default backend, which has what nothing else matches.

    No two paths of a host compare equal, so the order of the input does not show.
    """
    return is_default, -len(match.value), _RANK[match.kind], match.value.encode().translate(_INVERTED)
