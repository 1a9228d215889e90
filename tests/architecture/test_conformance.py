"""Is docs/reference/conformance.md true? Every upstream item has a row; what a row names exists, is run and is not skipped."""

import ast
import re
from functools import lru_cache
from pathlib import Path

import pytest
from msgspec import Struct

from mooring.testing.requests import find_requests
from mooring.testing.scenario import find

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/reference/conformance.md"

ITEMS = {
    "service.go (48)": 48,
    "endpointslice.go (5)": 5,
    "endpointslicemirroring.go (2)": 2,
    "dual_stack.go (23)": 23,
    "dns.go (14 and 3)": 17,
    "loadbalancer.go (16)": 16,
    "proxy.go (5)": 5,
    "conntrack.go (6)": 6,
    "networking.go (27)": 27,
    "ingress.go and ingressclass.go (6)": 6,
    "ingress-controller-conformance (30)": 30,
    "traffic_distribution.go (6)": 6,
    "service_cidrs.go (3)": 3,
    "kube_proxy.go (2)": 2,
    "nftables proxier_test.go: packet flows (13)": 13,
    "nftables proxier_test.go: others (15)": 15,
}
"""How many items upstream has in each file."""
ELSEWHERE = ("issue: api", "not here")
SKIPS = {"skip", "skipif", "xfail", "importorskip"}


class Row(Struct, frozen=True):
    section: str
    item: str
    shown: str
    note: str

    @property
    def folders(self) -> list[str]:
        return re.findall(r"`(tests/scenarios/[^`:]+)`", self.shown)

    @property
    def tests(self) -> list[str]:
        return re.findall(r"`(tests/[^`]+\.py::[^`]+)`", self.shown)


def rows() -> list[Row]:
    found = []
    for part in PAGE.read_text().split("\n## ")[1:]:
        title, _, rest = part.partition("\n")
        lines = [line for line in rest.splitlines() if line.startswith("| ") and not line.startswith("| upstream item")]
        found += [Row(title, *(cell.strip() for cell in line.strip("|").split("|"))) for line in lines]
    return found


ROWS = rows()
FOLDERS = sorted({folder for row in ROWS for folder in row.folders})
TESTS = sorted({test for row in ROWS for test in row.tests})


def test_no_upstream_item_is_missing() -> None:
    assert {title: sum(row.section == title for row in ROWS) for title in ITEMS} == ITEMS
    assert {row.section for row in ROWS} == ITEMS.keys()
    for title in ITEMS:
        items = [row.item for row in ROWS if row.section == title]
        assert len(set(items)) == len(items)
        numbers = [int(item.split(" ", 1)[0]) for item in items if item[0].isdigit()]
        assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize("row", [pytest.param(row, id=f"{row.section}: {row.item}") for row in ROWS])
def test_every_row_is_shown_or_says_which_issue_will_show_it_or_why_none_will(row: Row) -> None:
    named = [*row.folders, *row.tests]
    if named:
        assert row.shown == "<br>".join(f"`{each}`" for each in named)
    else:
        assert row.shown in ELSEWHERE
        assert row.note


@pytest.mark.parametrize("folder", FOLDERS, ids=str)
def test_a_named_scenario_has_packets_or_requests_that_are_asked(folder: str) -> None:
    packets = {str(scenario.folder.relative_to(ROOT)): scenario.expectations for scenario in _scenarios()}
    requests = {str(scenario.folder.relative_to(ROOT)): scenario.asks for scenario in _requests()}
    assert packets.get(folder) or requests.get(folder)


@pytest.mark.parametrize("named", TESTS, ids=lambda named: named.rpartition("::")[2])
def test_a_named_test_is_collected_and_not_skipped(named: str) -> None:
    path, _, name = named.partition("::")
    module = _module(path)
    assert _skips(module.body, nested=False) == set(), "the whole file is skipped"
    scope: list[ast.stmt] = module.body
    *classes, function = name.split("::")
    for each in classes:
        [scope] = [node.body for node in scope if isinstance(node, ast.ClassDef) and node.name == each]
    [found] = [node for node in scope if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == function]
    assert Path(path).name.startswith("test_") and function.startswith("test_")
    assert _skips([found], nested=True) == set()


@lru_cache
def _scenarios() -> list:
    return find(ROOT / "tests/scenarios")


@lru_cache
def _requests() -> list:
    return find_requests(ROOT / "tests/scenarios")


@lru_cache
def _module(path: str) -> ast.Module:
    return ast.parse((ROOT / path).read_text())


def _skips(statements: list[ast.stmt], *, nested: bool) -> set[str]:
    """Ways to leave a test out, anywhere below; or only where the module itself says so."""
    looked_at = statements if nested else [each for each in statements if isinstance(each, ast.Assign | ast.Expr)]
    names = {node.attr for each in looked_at for node in ast.walk(each) if isinstance(node, ast.Attribute)}
    return names & SKIPS
