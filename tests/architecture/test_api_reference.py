"""Does docs/reference/api.md say what is so? Every test that it names exists, and it names every kind and parameter."""

import re
from pathlib import Path

import pytest

from mooring.apiserver import handle  # noqa: F401  (the order in which the core's modules are imported)
from mooring.apiserver.openapi_parameters import DELETE_COLLECTION, LIST, OF_SUBRESOURCE, PATCH
from mooring.apiserver.read import _own_fields
from mooring.apiserver.resources import resource_of
from mooring.model.kinds import KINDS, Kind

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/reference/api.md").read_text()
NAMED = sorted(set(re.findall(r"`(test_\w+\.py)::(\w+)`", PAGE)))


def test_the_page_names_tests() -> None:
    assert len(NAMED) > 60
    tables = ("Verbs", "Subresources", "Parameters", "Concepts")
    parts = [part for part in re.split(r"^## ", PAGE, flags=re.M) if part.startswith(tables)]
    lines = [line for part in parts for line in part.splitlines() if line.startswith("| ") and not line.startswith("| what ")]
    assert [line for line in lines if "::" not in line] == []


@pytest.mark.parametrize(("file", "function"), NAMED)
def test_every_test_that_the_page_names_exists(file: str, function: str) -> None:
    (path,) = ROOT.glob(f"tests/**/{file}")
    assert re.search(rf"^(async )?def {function}\(", path.read_text(), re.M)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind.kind}.{kind.group}")
def test_every_kind_is_there_with_what_it_has(kind: Kind) -> None:
    row = next(line for line in PAGE.splitlines() if line.startswith(f"| {kind.kind} | {kind.api_version} | {kind.plural} |"))
    assert all(name in row for name in kind.subresources)
    if kind.stored:
        assert set(re.findall(r"`([\w.]+)`", row)) == _own_fields(resource_of(kind))


def test_every_parameter_is_there() -> None:
    known = {*LIST, *PATCH, *DELETE_COLLECTION, *(name for names in OF_SUBRESOURCE.values() for name in names)} - {"path"}
    assert {name for name in known if f"`{name}" not in PAGE} == set()
