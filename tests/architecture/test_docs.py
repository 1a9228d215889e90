"""Is the documentation true where a machine can tell? Links, commands and metric names."""

import re
from pathlib import Path

import pytest

from mooring.cli.main import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
KNOWN = {name for group in COMMANDS.values() for name in group}
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"```.*?```|`[^`\n]+`", re.S)
COMMAND = re.compile(r"(?:^|[\s`|/&])mooring ([a-z][a-z-]*)", re.M)
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
METRIC = re.compile(r"`((?:apiserver|kubeproxy|workqueue|endpoint_slice_controller)_[a-z_]+)`")


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    links = [link for link in LINK.findall(page.read_text()) if "://" not in link]
    assert [link for link in links if not _leads(page, link)] == []


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_every_command_shown_exists(page: Path) -> None:
    code = "\n".join(CODE.findall(page.read_text()))
    assert set(COMMAND.findall(code)) - KNOWN == set()


def test_the_command_reference_has_a_section_for_each_command() -> None:
    sections = re.findall(r"^## mooring (\S+)$", (ROOT / "docs/reference/cli.md").read_text(), re.M)
    assert sorted(KNOWN) == sorted(sections)


@pytest.mark.parametrize("command", sorted(KNOWN))
def test_the_command_reference_shows_the_flags_that_a_command_has(command: str) -> None:
    section = re.split(r"^## mooring ", (ROOT / "docs/reference/cli.md").read_text(), flags=re.M)
    (shown,) = [part for part in section if part.startswith(f"{command}\n")]
    source = (ROOT / f"src/mooring/cli/{command}.py").read_text()
    in_source = set(re.findall(r'"(--[a-z][a-z-]+)', source))
    assert in_source - set(FLAG.findall(shown)) == set()


def test_every_metric_of_the_reference_is_made_somewhere() -> None:
    """Names are made of a prefix and a rest in some modules; the client library adds `_total` to a counter's."""
    sources = "\n".join(path.read_text() for path in (ROOT / "src" / "mooring").rglob("*.py"))
    named = set(METRIC.findall((ROOT / "docs/reference/metrics.md").read_text()))
    assert len(named) > 30
    assert [name for name in sorted(named) if not _is_made(name, sources)] == []


def _leads(page: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    return target.exists() and (not anchor or anchor in _anchors(target))


def _anchors(page: Path) -> set[str]:
    """As code hosts make them of headings."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def _is_made(name: str, sources: str) -> bool:
    rest = name.removeprefix("kubeproxy_").removeprefix("endpoint_slice_controller_").removeprefix("workqueue_")
    wanted = {name, name.removesuffix("_total"), rest, rest.removesuffix("_total")}
    return any(f'"{one}"' in sources for one in wanted)
