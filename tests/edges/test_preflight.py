"""Each check says what is wrong and what to do."""

import os
import socket
from pathlib import Path

import pytest

from mooring.edges import preflight
from mooring.edges.netlink import namespaces
from mooring.testing.netlab_topology import bare_namespace


@pytest.mark.root
def test_this_machine_passes() -> None:
    assert preflight.failures(preflight.machine()) == []


@pytest.mark.root
def test_trying_leaves_no_table_and_no_namespace_behind() -> None:
    before = os.stat("/proc/thread-self/ns/net").st_ino
    preflight.check_nftables()
    preflight.check_namespaces()
    assert before == os.stat("/proc/thread-self/ns/net").st_ino


@pytest.mark.root
def test_a_missing_feature_is_named_with_the_kernels_complaint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "FEATURES", (("sets of the future", "ip", "set s { type unheard_of; }"),))
    check = preflight.check_nftables()[0]
    assert (check.name, check.passed) == ("nftables: sets of the future", False)
    assert "Error" in check.found


def test_a_taken_port_names_its_holder() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        check = preflight.check_port(port, "the API", "api-port")
    assert not check.passed
    assert check.found.startswith(f"taken on 127.0.0.1 by process {os.getpid()} (")
    assert "--api-port" in check.remedy


def test_any_free_port_is_free() -> None:
    assert preflight.check_port(0, "the API", "api-port").passed


@pytest.mark.parametrize(
    ("release", "passes"),
    [("5.12.19", False), ("5.13.0-rc1", True), ("6.1.0-18-amd64", True), ("4.19.0", False), ("6.18.44-fc-v595", True)],
)
def test_kernel_versions(release: str, passes: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.uname()
    monkeypatch.setattr(
        os, "uname", lambda: os.uname_result((real.sysname, real.nodename, release, real.version, real.machine))
    )
    assert passes == preflight.check_kernel().passed


def test_without_root_the_first_check_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 65534)
    failed = preflight.failures(preflight.machine())
    assert [check.name for check in failed][:1] == ["root"]
    assert "sudo" in failed[0].remedy


def test_a_missing_program_names_its_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "apt-get install iproute2" in preflight.check_program("ip").remedy


@pytest.mark.root
def test_node_ports_that_are_ephemeral_ports_too_are_advised_against_with_the_command() -> None:
    with bare_namespace("preflight") as name:
        assert preflight.check_node_ports((30000, 32767), name).passed
        namespaces.within(name, lambda: Path("/proc/sys/net/ipv4/ip_local_port_range").write_text("20000 61000"))
        check = preflight.check_node_ports((30000, 32767), name)
        assert (check.passed, check.needed, check.name) == (False, False, f"node ports 30000-32767 in {name}")
        assert check.found.startswith("node ports 30000-32767 are also ephemeral ports here")
        command = check.remedy.partition(": ")[2]
        assert command == f"ip netns exec {name} sysctl -w net.ipv4.ip_local_reserved_ports=30000-32767"
        assert preflight.failures([check]) == [], "a cluster runs all the same"
        setting, _, value = command.rpartition(" ")[2].partition("=")
        namespaces.within(name, lambda: Path("/proc/sys", setting.replace(".", "/")).write_text(value))
        assert preflight.check_node_ports((30000, 32767), name).passed
