"""Which parts of the request does a value name? NGINX's variables, as a Template."""

import re

from mooring.routing.table import Template, Variable

VARIABLES = {
    "scheme": Variable.SCHEME,
    "pass_access_scheme": Variable.SCHEME,
    "host": Variable.HOST,
    "http_host": Variable.HOST,
    "best_http_host": Variable.HOST,
    "request_uri": Variable.REQUEST_URI,
    "escaped_request_uri": Variable.ESCAPED_REQUEST_URI,
    "uri": Variable.URI,
    "args": Variable.ARGUMENTS,
    "query_string": Variable.ARGUMENTS,
    "request_method": Variable.METHOD,
    "remote_addr": Variable.CLIENT_ADDRESS,
    "the_real_ip": Variable.CLIENT_ADDRESS,
    "req_id": Variable.REQUEST_ID,
    "request_id": Variable.REQUEST_ID,
}

_NAMED = re.compile(r"\$(?:\{([A-Za-z0-9_]+)\}|([A-Za-z0-9_]+)|)")


class UnknownVariable(ValueError):
    """`args[0]` is a sentence for people."""


def template(text: str) -> Template:
    """`$name` and `${name}` become Variables, the rest stays. Raises UnknownVariable; a brace of no variable is one."""
    parts: list[str | Variable] = []
    for piece in pieces(text):
        if isinstance(piece, str):
            parts.append(piece)
        elif piece[0] in VARIABLES:
            parts.append(VARIABLES[piece[0]])
        else:
            raise UnknownVariable(f"the variable ${piece[0][:40]} is not known here")
    return Template(tuple(parts))


def pieces(text: str) -> list[str | tuple[str]]:
    """Text as it is, variables as (name,). Raises UnknownVariable for a `$` or brace that names none."""
    found: list[str | tuple[str]] = []
    end = 0
    for matched in _NAMED.finditer(text):
        if matched.start() > end:
            found.append(text[end : matched.start()])
        name = matched[1] or matched[2]
        if not name:
            raise UnknownVariable("a $ names no variable")
        found.append((name,))
        end = matched.end()
    if end < len(text):
        found.append(text[end:])
    if any(isinstance(piece, str) and ("{" in piece or "}" in piece) for piece in found):
        raise UnknownVariable("a brace belongs to no variable")
    return found
