"""Which paths would climb out of an element, were their escaped slashes taken for slashes?

Where `%2F` and `%5C` are kept as parts of an element (FrontDoor.keeps_encoded_slashes), a backend may decode them before it
resolves dots, and would then see another path than the rules did. So an element with an escaped slash must not have `.` or `..`
between its slashes, escaped or not, nor such dots with parameters (`..;a`), which some servers take for dots.
"""

_SLASH = "(?:%2f|%5c)"
_DOTS = r"(?:\.|%2e){1,2}"
CLIMBS = rf"(?:(?:/|{_SLASH}){_DOTS}(?:(?:;|%3b)[^/?]*)?{_SLASH}|{_SLASH}{_DOTS}(?:;|%3b|[/?]|$))"
"""A part of such a path, in any letter case; PCRE, RE2 and Python read it alike."""
