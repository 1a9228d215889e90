"""Does the reference name every metric of a node's dataplane, with its type and its labels, and no other?"""

import re
from pathlib import Path

from prometheus_client import CollectorRegistry

from mooring.control.dataplane_metrics import DataplaneMetrics

REFERENCE = Path(__file__).resolve().parents[2] / "docs/reference/metrics.md"
ROW = re.compile(r"^\| `(kubeproxy_\w+)` \| (\w+) \| ([\w, ]*?) ?\|", re.M)


def test_the_reference_is_complete() -> None:
    registry = CollectorRegistry()
    DataplaneMetrics(registry)
    made = {
        each._name + ("_total" if each._type == "counter" else ""): (each._type, ", ".join(each._labelnames))  # type: ignore[attr-defined]
        for each in registry._collector_to_names
    }
    assert made == {name: (kind, labels.strip()) for name, kind, labels in ROW.findall(REFERENCE.read_text())}
