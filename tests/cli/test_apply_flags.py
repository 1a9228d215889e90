"""Which flags of mooring apply go together?"""

import pytest

from mooring.cli.apply import command
from mooring.cli.main import CommandError


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"force_conflicts": True}, "--force-conflicts only works with --server-side"),
        ({"dry_run": True}, "--dry-run only works with --server-side"),
    ],
)
def test_what_only_the_server_can_do_is_asked_of_it(flags: dict[str, bool], message: str) -> None:
    with pytest.raises(CommandError) as raised:
        command(["-"], **flags)
    assert message in str(raised.value)
