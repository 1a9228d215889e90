"""Are the rules of the house kept? Imports, sizes, docstrings, and the paths that ARCHITECTURE.md names."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "src" / "mooring").rglob("*.py"))
LONG_FILE, LONG_FUNCTION = 400, 40


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_imports_run_one_way_and_the_core_touches_nothing_outside() -> None:
    lint = Path(sys.executable).parent / "lint-imports"
    done = subprocess.run([lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_every_module_says_which_question_it_answers(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), f"{relative(path)} has no docstring"


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_a_long_file_or_function_argues_for_itself(path: Path) -> None:
    text = path.read_text()
    tree = ast.parse(text)
    long = [
        f"{node.name} ({(node.end_lineno or 0) - node.lineno + 1} lines)"
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno + 1 > LONG_FUNCTION
        and not _argues(ast.get_docstring(node))
    ]
    if len(text.splitlines()) > LONG_FILE and not _argues(ast.get_docstring(tree)):
        long.append(f"the file ({len(text.splitlines())} lines)")
    assert long == []


def test_the_table_of_places_leads_to_places() -> None:
    architecture = (ROOT / "ARCHITECTURE.md").read_text()
    table = architecture.partition("## Where is")[2]
    paths = re.findall(r"`((?:src|tests|bench|docs|examples|scripts)/[^`]*)`", table)
    assert len(paths) > 20
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_no_lock_file_names_a_place_on_the_network() -> None:
    assert "://" not in (ROOT / "requirements.lock").read_text()


def _argues(docstring: str | None) -> bool:
    """A long thing must say why it is one: 'Long because ...' or 'One file because ...'."""
    return bool(docstring and re.search(r"\b(Long|One (file|function|place|table)) because\b", docstring))


def test_no_two_test_files_share_a_name() -> None:
    names = [path.name for path in (ROOT / "tests").rglob("*.py") if path.name != "conftest.py"]
    assert sorted(set(names)) == sorted(names)
