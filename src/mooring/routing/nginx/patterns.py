"""How does a pattern of the table read to NGINX? RE2's syntax is nearly a part of PCRE's; what RE2 refuses is refused."""

import re

import re2

from mooring.routing.table import How, PathKind, PathMatch


class BadPattern(ValueError):
    """RE2 does not take it."""


def checked(pattern: str) -> str:
    """Raises BadPattern."""
    options = re2.Options()
    options.log_errors = False
    try:
        re2.compile(pattern, options)
    except re2.error as error:
        raise BadPattern(f"pattern {pattern!r}: {_words(error)}") from error
    return pattern


def _words(error: Exception) -> str:
    word = error.args[0] if error.args else error
    return word.decode("utf-8", "replace") if isinstance(word, bytes) else str(word)


def of_path(path: PathMatch) -> str:
    """Raises BadPattern."""
    match path.kind:
        case PathKind.EXACT:
            return rf"^{re.escape(path.value)}\z"
        case PathKind.PREFIX:
            return rf"^{re.escape(path.value.rstrip('/'))}(?:/|\z)"
        case PathKind.STRING_PREFIX:
            return "^" + re.escape(path.value)
        case PathKind.REGEX:
            return rf"^(?:{checked(path.value)})\z"
        case PathKind.REGEX_PREFIX:
            return f"^(?:{checked(path.value)})"


def of_value(how: How, value: str) -> str:
    """A condition's value as Lua takes it. Raises BadPattern."""
    return rf"^(?:{checked(value)})\z" if how is How.REGEX else value


def substitution(text: str) -> tuple[str | int, ...]:
    """`\\1` and the like as numbers, `\\\\` as one backslash."""
    parts: list[str | int] = []
    for match in re.finditer(r"\\(\d)|\\(.)|([^\\]+)|\\$", text, re.DOTALL):
        number, escaped, plain = match.groups()
        parts.append(int(number) if number else escaped or plain or "\\")
    return tuple(parts)
