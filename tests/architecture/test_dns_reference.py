"""Does the reference of the cluster's DNS name the scenarios that show what it says, all of them?"""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROWS = [line for line in (ROOT / "docs/reference/dns.md").read_text().splitlines() if line.startswith("| ")]
SHOWN = re.compile(r"`([a-z_]+/[a-z_]+)`")


def test_every_record_is_shown_by_a_scenario_that_asks_for_names() -> None:
    named = {each for row in ROWS for each in SHOWN.findall(row.split("|")[-2])}
    there = {f"{path.parent.parent.name}/{path.parent.name}" for path in (ROOT / "tests/scenarios").glob("*/*/queries.txt")}
    assert named == there


def test_every_row_of_a_table_of_records_names_one() -> None:
    titles = [place for place, row in enumerate(ROWS) if row.endswith("| shown by |")]
    assert len(titles) == 2
    for title in titles:
        rows = []
        for row in ROWS[title + 1 :]:
            if row.count("|") != 5 or row.endswith("| shown by |"):
                break
            rows.append(row)
        assert [row for row in rows if not SHOWN.findall(row.split("|")[-2])] == []
