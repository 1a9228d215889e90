"""Does Envoy take the bootstrap, and open no port but the readiness one?"""

import json
import subprocess
from pathlib import Path

import pytest

from mooring.edges.envoy import launch
from mooring.routing.placement import Placement
from mooring.routing.xds.bootstrap import admin_path, ads_path, bootstrap


@pytest.mark.parametrize("addresses", [("127.0.0.1",), ("::",), ("127.0.0.1", "127.0.0.2")])
def test_envoy_takes_it(tmp_path: Path, addresses: tuple[str, ...]) -> None:
    file = tmp_path / "envoy.json"
    file.write_bytes(bootstrap(Placement(str(tmp_path), addresses, {}, 18081), "node-a", 100))
    argv = [str(launch.binary()), "--mode", "validate", "--config-path", str(file), "--log-level", "error"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=100, check=False)
    assert (0, True) == (done.returncode, "OK" in done.stdout), done.stderr


def test_the_only_port_is_the_readiness_one() -> None:
    placement = Placement("/run/gateway", ("::",), {}, 18081)
    document = bootstrap(placement)
    ports = [part.split(b",")[0].rstrip(b"}]") for part in document.split(b'"port_value":')[1:]]
    pipes = {each["pipe"]["path"] for each in (json.loads(document)["admin"]["address"],)}
    assert ([b"18081"], {admin_path(placement)}) == (ports, pipes)
    assert ads_path(placement).encode() in document


def test_the_limit_of_connections_is_told() -> None:
    assert b'"max_active_downstream_connections":"123"' in bootstrap(Placement("/run/gateway"), connections=123)
