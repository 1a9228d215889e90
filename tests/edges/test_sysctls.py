"""Are a node's kernel settings what they should be, only where they differ, and only in its own network namespace?"""

from pathlib import Path

import pytest

from mooring.edges.netlink import namespaces
from mooring.edges.netlink.sysctls import ConntrackOptions, Outcome, Overlap, Sysctl, ensure, overlap, wished
from mooring.testing.netlab_topology import bare_namespace

TRACKED = "net/netfilter/nf_conntrack_max"
ESTABLISHED = "net/netfilter/nf_conntrack_tcp_timeout_established"
CLOSE_WAIT = "net/netfilter/nf_conntrack_tcp_timeout_close_wait"
LIBERAL = "net/netfilter/nf_conntrack_tcp_be_liberal"


def values(options: ConntrackOptions, cores: int = 1, localhost: bool = False) -> dict[str, int]:
    return {each.name.rpartition("/")[2]: each.value for each in wished(options, cores, localhost)}


def test_the_defaults_are_kube_proxys_but_for_liberal_tracking() -> None:
    assert values(ConntrackOptions()) == {
        "nf_conntrack_max": 131072,
        "nf_conntrack_buckets": 32768,
        "nf_conntrack_tcp_timeout_established": 86400,
        "nf_conntrack_tcp_timeout_close_wait": 3600,
        "nf_conntrack_tcp_be_liberal": 1,
    }


@pytest.mark.parametrize(
    ("options", "cores", "tracked"),
    [
        pytest.param(ConntrackOptions(), 8, 262144, id="by cores"),
        pytest.param(ConntrackOptions(min=300000), 8, 300000, id="not less than the least"),
        pytest.param(ConntrackOptions(), 96, 1048576, id="many cores do not raise it without bound"),
        pytest.param(ConntrackOptions(min=2000000), 1, 2000000, id="but who asks for more gets it"),
    ],
)
def test_how_many_flows_are_tracked(options: ConntrackOptions, cores: int, tracked: int) -> None:
    assert values(options, cores)["nf_conntrack_max"] == tracked


def test_zero_leaves_a_setting_as_it_is() -> None:
    assert values(ConntrackOptions(0, 0, 0, 0, False)) == {}


def test_localhost_node_ports_need_loopback_addresses_to_be_routed() -> None:
    assert values(ConntrackOptions(0, 0, 0, 0, False), localhost=True) == {"route_localnet": 1}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Files as below /proc/sys."""
    for name, value in ((TRACKED, "65536"), (LIBERAL, "0"), (ESTABLISHED, "86400")):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(value + "\n")
    (tmp_path / "net/ipv4").mkdir()
    return tmp_path


def test_only_what_differs_is_written_and_told(root: Path) -> None:
    before = (root / ESTABLISHED).stat().st_mtime_ns
    assert ensure([Sysctl(LIBERAL, 1), Sysctl(ESTABLISHED, 86400)], root) == [Outcome(LIBERAL, "0", 1)]
    assert (root / LIBERAL).read_text() == "1"
    assert before == (root / ESTABLISHED).stat().st_mtime_ns
    assert ensure([Sysctl(LIBERAL, 1), Sysctl(ESTABLISHED, 86400)], root) == []


def test_a_setting_that_is_missing_is_told_and_the_others_are_set(root: Path) -> None:
    (missing, done) = ensure([Sysctl("net/netfilter/unheard_of", 1), Sysctl(LIBERAL, 1)], root)
    assert (missing.name, missing.value) == ("net/netfilter/unheard_of", 1)
    assert "No such file" in missing.error
    assert done.error == ""


def test_machine_wide_settings_are_left_alone_where_they_cannot_be_set(root: Path) -> None:
    wish = [Sysctl(TRACKED, 131072, machine_wide=True)]
    (root / TRACKED).chmod(0o444)
    assert ensure(wish, root) == []
    (root / TRACKED).chmod(0o644)
    assert ensure(wish, root) == [Outcome(TRACKED, "65536", 131072)]


def test_what_is_more_than_enough_is_left_alone(root: Path) -> None:
    assert ensure([Sysctl(TRACKED, 1000, at_least=True)], root) == []


@pytest.mark.parametrize(
    ("ephemeral", "reserved", "exposed", "command"),
    [
        pytest.param("32768\t60999", "", (), "", id="apart, as Linux has them"),
        pytest.param("15000\t61000", "30000-32767", (), "", id="reserved"),
        pytest.param("15000\t61000", "29000-31000,31001-40000", (), "", id="reserved in parts"),
        pytest.param(
            "1024\t65535", "", ((30000, 32767),), "sysctl -w net.ipv4.ip_local_reserved_ports=30000-32767", id="all of them"
        ),
        pytest.param(
            "32000\t60999",
            "8080,32100-32199",
            ((32000, 32099), (32200, 32767)),
            "sysctl -w net.ipv4.ip_local_reserved_ports=8080,32100-32199,30000-32767",
            id="some of them, and what is reserved stays so",
        ),
    ],
)
def test_node_ports_among_the_ephemeral_ports(
    root: Path, ephemeral: str, reserved: str, exposed: tuple[tuple[int, int], ...], command: str
) -> None:
    (root / "net/ipv4/ip_local_port_range").write_text(ephemeral + "\n")
    (root / "net/ipv4/ip_local_reserved_ports").write_text(reserved + "\n")
    found = overlap((30000, 32767), root)
    low, high = map(int, ephemeral.split())
    assert found == (Overlap((low, high), exposed, command) if exposed else None)


def test_the_overlap_says_which_ports() -> None:
    assert str(Overlap((1024, 65535), ((30000, 30010), (30020, 30020)), "")) == (
        "node ports 30000-30010, 30020 are also ephemeral ports here (net.ipv4.ip_local_port_range 1024-65535)"
    )


@pytest.mark.root
def test_in_a_namespace_of_its_own_a_node_gets_all_but_the_machines_settings() -> None:
    machine = Path("/proc/sys", TRACKED).read_text()
    with bare_namespace("sysctls") as name:
        done = namespaces.within(name, lambda: ensure(wished(ConntrackOptions(), 1000, True)))
        assert [each.error for each in done if each.error] == []
        assert {each.name for each in done} >= {LIBERAL, CLOSE_WAIT, "net/ipv4/conf/all/route_localnet"}
        assert namespaces.within(name, lambda: ensure(wished(ConntrackOptions(), 1000, True))) == []
        assert namespaces.within(name, lambda: Path("/proc/sys", CLOSE_WAIT).read_text()) == "3600\n"
        assert namespaces.within(name, lambda: overlap((30000, 32767))) is None
        namespaces.within(name, lambda: Path("/proc/sys/net/ipv4/ip_local_port_range").write_text("20000 61000"))
        found = namespaces.within(name, lambda: overlap((30000, 32767)))
        assert found and found.exposed == ((30000, 32767),)
    assert machine == Path("/proc/sys", TRACKED).read_text()
