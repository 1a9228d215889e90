"""Clusters of a test's own, beside the shared one of the whole run (tests/conftest.py)."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from local_cluster import Cluster

pytest.register_assert_rewrite("scene")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.root)


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster of the test's own, not started; whatever the test leaves is taken down."""
    made = Cluster(f"t{secrets.token_hex(4)}", tmp_path / "data")
    yield made
    made.down("--purge")
