"""Does `mooring verify` tell a report so that it can be read at a glance?"""

import pytest

from mooring.app.verify import Report
from mooring.cli.verify import _lines
from mooring.dataplane.verify import Drift, Kind

GONE = Drift(Kind.MISSING, "ip mooring cluster-ips", "cluster IP 10.96.0.1", "service/web in default, port http")
WARNING = "table ip nat rewrites destinations too, and not after us: chain PREROUTING (prerouting -100)."


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        pytest.param(Report("a", (), (), 3, 40), ["a: as wished (3 Services, 40 elements)"], id="as wished"),
        pytest.param(
            Report("a", (), (WARNING,), 3, 40),
            ["a: as wished (3 Services, 40 elements)", f"  warning: {WARNING}"],
            id="as wished, with a warning",
        ),
        pytest.param(
            Report("a", (GONE,), (), 3, 40),
            [
                "a: 1 difference (3 Services, 40 elements)",
                "  missing: cluster IP 10.96.0.1 (service/web in default, port http)",
            ],
            id="a difference",
        ),
        pytest.param(
            Report("a", (GONE, GONE), (), 3, 40, repaired=True),
            [
                "a: 2 differences; now as wished (3 Services, 40 elements)",
                "  repaired: missing: cluster IP 10.96.0.1 (service/web in default, port http)",
                "  repaired: missing: cluster IP 10.96.0.1 (service/web in default, port http)",
            ],
            id="repaired",
        ),
    ],
)
def test_a_report_in_lines(report: Report, expected: list[str]) -> None:
    assert expected == list(_lines(report))
