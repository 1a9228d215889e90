"""One running cluster for all tests that need one, started once in a worker and taken down whatever happens.

With pytest-xdist all tests of a file run in one worker, so that what a module shares is made once; the files that share the
cluster's Ingress proxies, with the one whose tests come late, and those of the dual-stack cluster stay together too.
"""

import os
import secrets
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadFileScheduling

from local_cluster import Cluster
from mooring.testing.ports import free_port

INGRESS_PROXIES = (
    "tests/e2e/test_broken_services.py",
    "tests/e2e/test_ingress.py",
    "tests/e2e/test_ingress_changes.py",
    "tests/e2e/test_trace_request.py",
    "tests/examples/test_ingress_examples.py",
)
DUAL = (
    "tests/e2e/test_dual_stack.py",
    "tests/e2e/test_load_balancer.py",
    "tests/e2e/test_names_outside.py",
    "tests/e2e/test_upstream_dual_stack.py",
)
TOGETHER = {file: files[0] for files in (INGRESS_PROXIES, DUAL) for file in files}
"""Each file's group, by its first."""

EXAMPLES = os.environ.get("MOORING_EXAMPLES")
"""How many of each property, new ones every time; without it a few, and always the same."""
settings.register_profile(
    "mooring",
    max_examples=int(EXAMPLES or 30),
    derandomize=not EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("mooring")


class ByFile(LoadFileScheduling):
    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        return TOGETHER.get(file, file)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> ByFile:
    """In the order of collection: slow files (e2e) before many quick ones, so that all workers end together."""
    config.option.loadscopereorder = False
    return ByFile(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "cluster" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.root)
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    """Those that wait for time to pass come after all others, those of the Ingress proxies just before."""
    return 2 if item.get_closest_marker("late") else int("ingress_proxies" in getattr(item, "fixturenames", ()))


@pytest.fixture
def unused_tcp_port() -> int:
    """In the place of pytest-asyncio's, which a client may get before the test listens on it."""
    return free_port()


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The shared two-node cluster. Tests keep to a namespace of their own."""
    made = Cluster(f"t{secrets.token_hex(4)}", tmp_path_factory.mktemp("cluster") / "data")
    try:
        made.up()
        yield made
    finally:
        made.down("--purge")


@pytest.fixture(scope="session")
def ingress_proxies(cluster: Cluster) -> None:
    """Proxies of both classes in the shared cluster, kept by an Ingress of each from the first test that asks for them on.

    Begun, not waited for: the test's own Ingresses are.
    """
    kept = "{apiVersion: v1, kind: Namespace, metadata: {name: kept}}"
    for name in ("mooring-envoy", "mooring-nginx"):
        metadata = f"metadata: {{name: {name}, namespace: kept}}"
        spec = f"spec: {{ingressClassName: {name}, rules: [{{host: kept.{name}.example}}]}}"
        kept += f"\n---\n{{apiVersion: networking.k8s.io/v1, kind: Ingress, {metadata}, {spec}}}"
    cluster.mooring("apply", "-f", "-", stdin=kept)


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """A new namespace of the shared cluster."""
    yield from _namespace(cluster)


@pytest.fixture(scope="module")
def module_namespace(cluster: Cluster) -> Iterator[str]:
    """One for all tests of a module."""
    yield from _namespace(cluster)


def _namespace(cluster: Cluster) -> Iterator[str]:
    name = f"test-{secrets.token_hex(4)}"
    cluster.mooring("apply", "-f", "-", stdin=f"{{apiVersion: v1, kind: Namespace, metadata: {{name: {name}}}}}")
    yield name
    cluster.mooring("delete", "namespace", name, "--no-wait")
