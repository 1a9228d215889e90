"""Will Envoy take this regular expression? RE2 is asked before Envoy is: one bad pattern makes it refuse a whole host."""

from functools import lru_cache

import re2

LARGEST = 5000
"""Instructions of a compiled pattern. Envoy has no limit of its own by default; a pattern of this size compiles in well under a
millisecond and is far beyond what people write."""


@lru_cache(4096)
def fault(pattern: str) -> str | None:
    """Why it cannot be used, None if it can."""
    if len(pattern) > LARGEST:
        return f"the regular expression has {len(pattern)} characters, more than {LARGEST}"
    program = _program(pattern)
    if isinstance(program, str):
        return f"the regular expression {pattern!r} is not RE2: {program}"
    if program.programsize > LARGEST:
        return f"the regular expression {pattern!r} compiles to {program.programsize} instructions, more than {LARGEST}"
    return None


def matches(pattern: str, value: str) -> bool:
    """Whether it takes the whole value; a pattern with a fault takes none."""
    program = _program(pattern)
    return not isinstance(program, str) and program.fullmatch(value) is not None


def groups(pattern: str) -> int:
    """Of a pattern without fault."""
    program = _program(pattern)
    return 0 if isinstance(program, str) else int(program.groups)


def _program(pattern: str) -> "re2._Regexp | str":
    try:
        return _compiled(pattern)
    except re2.error as error:
        reason = error.args[0] if error.args else "unknown"
        return reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)


@lru_cache(4096)
def _compiled(pattern: str) -> "re2._Regexp":
    options = re2.Options()
    options.log_errors = False
    return re2.compile(pattern, options)


def escaped(text: str) -> str:
    """A pattern for this text and nothing else."""
    return str(re2.escape(text))
