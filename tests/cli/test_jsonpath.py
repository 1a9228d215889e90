"""kubectl's JSONPath templates, the everyday part; expected texts follow kubectl's reference page."""

from typing import Any

import pytest

from mooring.cli.jsonpath import evaluate
from mooring.cli.main import CommandError

LIST: dict[str, Any] = {
    "kind": "List",
    "items": [
        {"kind": "None", "metadata": {"name": "127.0.0.1", "labels": {"kubernetes.io/hostname": "a"}},
         "status": {"capacity": {"cpu": "4"}, "addresses": [{"type": "LegacyHostIP", "address": "127.0.0.1"}]}},
        {"kind": "None", "metadata": {"name": "127.0.0.2"},
         "status": {"capacity": {"cpu": "8"}, "addresses": [{"type": "LegacyHostIP", "address": "127.0.0.2"},
                                                            {"type": "another", "address": "127.0.0.3"}]}},
    ],
    "count": 3,
    "yes": True,
}  # fmt: skip


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{.kind}", "List"),
        (".kind", "List"),
        ("kind is {.kind}", "kind is List"),
        ("{['kind']}", "List"),
        ("{..name}", "127.0.0.1 127.0.0.2"),
        ("{.items[*].metadata.name}", "127.0.0.1 127.0.0.2"),
        ("{.items[0].metadata.name}", "127.0.0.1"),
        ("{.items[-1].metadata.name}", "127.0.0.2"),
        ("{.items[0:1].metadata.name}", "127.0.0.1"),
        ("{.items[*].status.capacity.cpu}", "4 8"),
        (r"{.items[0].metadata.labels.kubernetes\.io/hostname}", "a"),
        ('{.items[*].status.addresses[?(@.type=="another")].address}', "127.0.0.3"),
        ("{.items[?(@.metadata.labels)].metadata.name}", "127.0.0.1"),
        ('{range .items[*]}[{.metadata.name}, {.status.capacity.cpu}] {end}', "[127.0.0.1, 4] [127.0.0.2, 8] "),
        ('{range .items[*]}{.metadata.name}{"\\n"}{end}', "127.0.0.1\n127.0.0.2\n"),
        ("{range .nothing[*]}x{end}after", "after"),
        ("{.count} {.yes}", "3 true"),
        ("{.items[0].status.capacity}", '{"cpu":"4"}'),
        ("{.missing}", ""),
        ("{.items[7].metadata.name}", ""),
        ("{@.kind} {$.kind}", "List List"),
    ],
)  # fmt: skip
def test_templates(template: str, expected: str) -> None:
    assert evaluate(template, LIST) == expected


@pytest.mark.parametrize("template", ["{.items[}", "{range .items[*]}x", "{end}", "{.items[?(oops)]}"])
def test_what_cannot_be_read_is_a_usage_error(template: str) -> None:
    with pytest.raises(CommandError) as raised:
        evaluate(template, LIST)
    assert raised.value.code == 2
