"""Clusters of a test's own, beside the shared one of the whole run (tests/conftest.py)."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from local_cluster import Cluster

pytest.register_assert_rewrite("scene")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One worker has the shared cluster, another all tests with a cluster of their own: two at a time are load enough."""
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            shared = "cluster" in getattr(item, "fixturenames", ())
            item.add_marker(pytest.mark.xdist_group("cluster" if shared else "own-cluster"))
            item.add_marker(pytest.mark.root)


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster of the test's own, not started; whatever the test leaves is taken down."""
    made = Cluster(f"t{secrets.token_hex(4)}", tmp_path / "data")
    yield made
    made.down("--purge")
