"""Is docs/reference/ingress.md true? It names every scenario, and everything that a proxy says it lacks, in the same words."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/reference/ingress.md").read_text()


def lacks(proxy: str) -> list[str]:
    """The sentences of a proxy's lacks.py, in its order; what is filled in is `…`."""
    module = ast.parse((ROOT / f"src/mooring/routing/{proxy}/lacks.py").read_text())
    found = [node.value for node in ast.walk(module) if isinstance(node, ast.Yield)]
    told = [each.elts[1] if isinstance(each, ast.Tuple) else each for each in found]
    return sorted(_text(each) for each in told if isinstance(each, ast.Constant | ast.JoinedStr))


def _text(told: ast.Constant | ast.JoinedStr) -> str:
    parts = [told] if isinstance(told, ast.Constant) else told.values
    return "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in parts)


def test_every_scenario_is_named() -> None:
    there = {folder.name for folder in (ROOT / "tests/scenarios/ingress").iterdir()}
    assert set() == {name for name in there if f"`{name}`" not in PAGE}


@pytest.mark.parametrize(("proxy", "title"), [("xds", "### Envoy"), ("nginx", "### NGINX")], ids=["Envoy", "NGINX"])
def test_all_that_a_proxy_lacks_is_listed(proxy: str, title: str) -> None:
    part = PAGE.split(title + "\n", 1)[1].split("\n#", 1)[0]
    assert lacks(proxy) == sorted(line.removeprefix("- ") for line in part.splitlines() if line.startswith("- "))
