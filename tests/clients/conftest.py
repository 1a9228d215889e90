"""Every kubectl on this machine, each in a namespace of its own on the shared cluster."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from kubectl_command import Kubectl

from local_cluster import Cluster, kubectls

VERSIONED = {
    "test_applying_is_creating_then_changing_then_nothing",  # schemas by OpenAPI v2, v3 since 1.27
    "test_exec_passes_streams_and_the_exit_code",  # SPDY, WebSockets since 1.31
    "test_exec_in_a_terminal",
    "test_watching_shows_what_is_and_then_what_changes",  # and a body from `create`: protobuf since 1.32
}
"""What kubectl asks of a server differently from version to version."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The rest is the same in every version: the oldest and the newest show it, or the tests would take minutes."""
    brief = set(kubectls()[1:-1])
    dropped = {
        item
        for item in items
        if isinstance(item, pytest.Function)
        and item.originalname not in VERSIONED
        and hasattr(item, "callspec")
        and item.callspec.params.get("kubectl") in brief
    }
    config.hook.pytest_deselected(items=list(dropped))
    items[:] = [item for item in items if item not in dropped]


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One home for all: kubectl keeps what it discovered there."""
    return tmp_path_factory.mktemp("home")


def _in_a_namespace(binary: Path, name: str, cluster: Cluster, home: Path) -> Iterator[Kubectl]:
    made = Kubectl(binary, cluster, name, home)
    made("create", "namespace", name)
    yield made
    made("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="module", params=kubectls(), ids=lambda path: path.name)
def kubectl(request: pytest.FixtureRequest, cluster: Cluster, home: Path) -> Iterator[Kubectl]:
    """Each kubectl in turn, with a namespace for all tests of the module."""
    name = f"{request.module.__name__.replace('_', '-')}-{request.param.name.replace('.', '-')}"
    yield from _in_a_namespace(request.param, name, cluster, home)


@pytest.fixture(scope="module")
def stock(request: pytest.FixtureRequest, cluster: Cluster, home: Path) -> Iterator[Kubectl]:
    """The newest kubectl: for what is the server's answer whoever asks."""
    name = f"{request.module.__name__.replace('_', '-')}-stock"
    yield from _in_a_namespace(kubectls()[-1], name, cluster, home)
