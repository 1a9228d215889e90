"""One running cluster for all end-to-end tests, started once and taken down whatever happens.

With pytest-xdist every test of this folder runs in one worker (`--dist loadgroup`): one cluster, not one per core.
"""

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
            item.add_marker(pytest.mark.xdist_group("cluster"))
            item.add_marker(pytest.mark.root)


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster of the test's own, not started; whatever the test leaves is taken down."""
    made = Cluster(f"t{secrets.token_hex(4)}", tmp_path / "data")
    yield made
    made.down("--purge")


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The shared two-node cluster. Tests keep to a namespace of their own."""
    made = Cluster(f"t{secrets.token_hex(4)}", tmp_path_factory.mktemp("cluster") / "data")
    try:
        made.up()
        yield made
    finally:
        made.down("--purge")


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """A new namespace of the shared cluster."""
    name = f"test-{secrets.token_hex(4)}"
    cluster.mooring("apply", "-f", "-", stdin=f"{{apiVersion: v1, kind: Namespace, metadata: {{name: {name}}}}}")
    yield name
    cluster.mooring("delete", "namespace", name, "--no-wait")
