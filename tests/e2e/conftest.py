"""Clusters beside the shared one of the whole run (tests/conftest.py)."""

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


POOL = "172.30.1.8/30,fd00:172:30:1::1-fd00:172:30:1::1"
"""Two addresses of the one family and one of the other."""
DNS_CONFIG = """
forward:
- {zone: ., to: [172.30.0.250], except: [secret.example.test]}
- {zone: stub.example.test, to: ["172.30.0.250:5353"]}
hosts: {entries: [192.0.2.8 listed.example.test]}
"""


@pytest.fixture(scope="session")
def dual(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The cluster that has what the shared one has not: both families, zones, a small pool, and DNS settings.

    For the files that tests/conftest.py keeps together for it. Tests keep to a namespace of their own.
    """
    folder = tmp_path_factory.mktemp("dual")
    (folder / "dns.yaml").write_text(DNS_CONFIG)
    made = Cluster(f"t{secrets.token_hex(4)}", folder / "data")
    names = ("--dns-config", str(folder / "dns.yaml"))
    try:
        made.up("--dual-stack", "--zones", "2", "--load-balancer-pool", POOL, *names)
        yield made
    finally:
        made.down("--purge")


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster of the test's own, not started; whatever the test leaves is taken down."""
    made = Cluster(f"t{secrets.token_hex(4)}", tmp_path / "data")
    yield made
    made.down("--purge")
