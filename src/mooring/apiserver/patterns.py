"""What does a regular expression of clients' match? RE2 says, as Go's do: in linear time, whatever the pattern."""

from typing import Any

from mooring.apiserver.remembered import remembered


@remembered(256, 65_536)
def compiled(pattern: str) -> Any:
    """Raises ValueError, with the reason alone."""
    import re2  # a megabyte, only for those who ask

    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        why = error.args[0]
        raise ValueError(why.decode() if isinstance(why, bytes) else why) from None
