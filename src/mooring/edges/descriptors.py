"""How many descriptors may this process hold, and how many what it starts?"""

import contextlib
import resource

_GIVEN = resource.getrlimit(resource.RLIMIT_NOFILE)
"""(soft, hard), as this process was started."""


def take_all() -> None:
    """Up to the hard limit: each question to another server holds one, and more may wait than the usual 1024."""
    hard = _GIVEN[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def give_back(pid: int) -> None:
    """What a child inherits is what we were given: programs that use select(2) or close every descriptor rely on it."""
    with contextlib.suppress(ProcessLookupError):
        resource.prlimit(pid, resource.RLIMIT_NOFILE, _GIVEN)
