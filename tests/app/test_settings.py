"""Flags, variables, a file, what was stored, defaults: one name for each setting, the first that speaks wins."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mooring.app.settings import Settings, SettingsError, data_dir, dump, load


def test_the_first_that_speaks_wins(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("nodes: 3\napi-port: 7000\ncluster-domain: from.file\n")
    made = load({"nodes": 5}, {"MOORING_NODES": "4", "MOORING_API_PORT": "8000"}, file, {"nodes": 2, "controllers-port": 1234})
    assert (5, 8000, "from.file", 1234) == (made.nodes, made.api_port, made.cluster_domain, made.controllers_port)


def test_flags_that_were_not_given_do_not_speak() -> None:
    assert 4 == load({"nodes": None}, {"MOORING_NODES": "4"}).nodes


def test_foreign_variables_are_none_of_our_business() -> None:
    assert Settings() == load({}, {"PATH": "/bin", "KUBECONFIG": "x"})


@pytest.mark.parametrize(
    ("flags", "environment", "yaml", "expected"),
    [
        ({"node": 3}, {}, "", "unknown setting 'node' in the flags; the nearest known is 'nodes'"),
        ({}, {"MOORING_SERVICE_CIDRS": "x"}, "", "unknown setting 'service-cidrs' in the environment (MOORING_*); the nearest"),
        ({}, {}, "nodse: 3", "unknown setting 'nodse' in"),
        ({}, {}, "nodes: many", "nodes in"),
        ({}, {}, "- a list", "a mapping of settings is expected, not list"),
        ({}, {}, "a: [", "is not YAML"),
        ({}, {"MOORING_NODES": "two"}, "", "nodes in the environment (MOORING_*): Expected `int`, got `str`"),
        ({"nodes": 0}, {}, "", "nodes 0: from 1 to 200"),
        ({"name": "My-Cluster"}, {}, "", "name 'My-Cluster': lower-case letters and digits, at most 20"),
        ({"api-port": 65536}, {}, "", "api-port 65536"),
        ({}, {}, "resolv-conf: here.conf", "resolv-conf 'here.conf': an absolute path"),
        ({"dual-stack": True, "ipv6": True}, {}, "", "dual-stack and ipv6: choose one"),
        ({"service-cidr": "10.96.0.1/16"}, {}, "", "service-cidr '10.96.0.1/16': 10.96.0.1/16 has host bits set"),
        ({"service-cidr": "fd00:96::/112"}, {}, "", "one range per family is needed, IPv4"),
        ({"dual-stack": True, "pod-cidr": "10.244.0.0/16"}, {}, "", "one range per family is needed, IPv4 then IPv6"),
        ({"pod-cidr": "10.96.128.0/17"}, {}, "", "pod-cidr 10.96.128.0/17 overlaps service-cidr 10.96.0.0/16"),
        ({"pod-cidr": "10.244.0.0/24", "nodes": 2}, {}, "", "room for 1 nodes of a /24 each, not 2"),
        ({"node-port-range": "32767-30000"}, {}, "", "node-port-range '32767-30000'"),
        ({"cluster-domain": "Not A Name"}, {}, "", "cluster-domain 'Not A Name'"),
        ({"log-format": "xml"}, {}, "", "log-format 'xml': text or json"),
        ({}, {}, "zones: 0", "zones '0': how many, from 1, or names that are label values"),
        ({"zones": "a,,b"}, {}, "", "zones 'a,,b': how many"),
        ({"nodeport-addresses": "primary,eth0"}, {}, "", "nodeport-addresses 'primary,eth0': primary, all, localhost or CIDRs"),
        (
            {"load-balancer-pool": "172.30.1.9-172.30.1.1"},
            {},
            "",
            "load-balancer-pool: '172.30.1.9-172.30.1.1': the first address",
        ),
        (
            {"ingress-classes": "mooring-envoy,nginx"},
            {},
            "",
            "ingress-classes 'mooring-envoy,nginx': mooring-envoy and mooring-nginx",
        ),
        ({"load-balancer-pool": "fd00:9::/64"}, {}, "", "load-balancer-pool fd00:9::/64: this cluster has no IPv6"),
        ({"load-balancer-pool": "10.244.9.1-10.244.9.9"}, {}, "", "10.244.9.1-10.244.9.9 overlaps pod-cidr 10.244.0.0/16"),
        (
            {"node-network": "172.30.0.0/16"},
            {},
            "",
            "load-balancer-pool 172.30.1.0/24 overlaps node-network 172.30.0.0/16; give another, or 'none'",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_name(
    flags: dict[str, Any], environment: dict[str, str], yaml: str, expected: str, tmp_path: Path
) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(yaml)
    with pytest.raises(SettingsError) as raised:
        load(flags, environment, file)
    assert expected in str(raised.value)


DUAL_SWITCH = ("172.30.0.1", "fd00:172:30::1")


@pytest.mark.parametrize(
    ("flags", "services", "dns", "switch"),
    [
        ({}, ("10.96.0.0/16",), ("10.96.0.10",), ("172.30.0.1",)),
        ({"ipv6": True}, ("fd00:96::/112",), ("fd00:96::a",), ("fd00:172:30::1",)),
        (
            {"dual-stack": True},
            ("10.96.0.0/16", "fd00:96::/112"),
            ("10.96.0.10", "fd00:96::a"),
            ("172.30.0.1", "fd00:172:30::1"),
        ),
        ({"service-cidr": "10.5.0.0/20"}, ("10.5.0.0/20",), ("10.5.0.10",), ("172.30.0.1",)),
    ],
    ids=["IPv4 by default", "IPv6 alone", "both", "a range of one's own"],
)
def test_what_follows_from_the_families(
    flags: dict[str, Any], services: tuple[str, ...], dns: tuple[str, ...], switch: tuple[str, ...]
) -> None:
    made = load(flags, {})
    assert (services, dns, switch) == (made.service_cidrs, made.cluster_dns, made.switch_addresses)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({}, "172.30.1.0/24"),
        ({"ipv6": True}, "fd00:172:30:1::/64"),
        ({"dual-stack": True}, "172.30.1.0/24,fd00:172:30:1::/64"),
        ({"dual-stack": True, "load-balancer-pool": "192.0.2.10 - 192.0.2.20"}, "192.0.2.10 - 192.0.2.20"),
        ({"load-balancer-pool": "none"}, ""),
    ],
    ids=["IPv4 by default", "IPv6 alone", "both", "a pool of one's own, of one family", "none"],
)
def test_the_load_balancers_pool(flags: dict[str, Any], expected: str) -> None:
    assert expected == load(flags, {}).pool_ranges


@pytest.mark.parametrize(
    ("zones", "expected"),
    [
        ("", ("", "", "", "")),
        ("3", ("zone-1", "zone-2", "zone-3", "zone-1")),
        ("eu-a, eu-b", ("eu-a", "eu-b", "eu-a", "eu-b")),
        ("only", ("only",) * 4),
    ],
)
def test_nodes_get_the_zones_in_turn(zones: str, expected: tuple[str, ...]) -> None:
    assert expected == load({"nodes": 4, "zones": zones}, {}).node_zones


def test_a_number_in_the_file_is_as_good_as_its_text(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("zones: 2\n")
    assert ("zone-1", "zone-2") == load({}, {}, file).node_zones


def test_a_list_in_the_file_is_as_good_as_commas(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("dual-stack: true\nservice-cidr: [10.5.0.0/16, 'fd05::/112']\n")
    assert ("10.5.0.0/16", "fd05::/112") == load({}, {}, file).service_cidrs


def test_what_the_state_depends_on_cannot_change_later() -> None:
    stored = dump(load({}, {}))
    assert 5 == load({"nodes": 5}, {}, stored=stored).nodes
    with pytest.raises(SettingsError, match=r"service-cidr is .* and cannot become '10.5.0.0/16'; `mooring down --purge`"):
        load({"service-cidr": "10.5.0.0/16"}, {}, stored=stored)


@given(
    nodes=st.integers(1, 200),
    port=st.integers(0, 65535),
    families=st.sampled_from([{}, {"ipv6": True}, {"dual-stack": True}]),
    domain=st.sampled_from(["cluster.local", "a", "x-1.example"]),
    resolv_conf=st.sampled_from([{}, {"resolv-conf": Path("/etc/other.conf")}]),
)
def test_what_is_stored_is_read_back_as_it_was(
    nodes: int, port: int, families: dict[str, bool], domain: str, resolv_conf: dict[str, Path]
) -> None:
    made = load({"nodes": nodes, "api-port": port, "cluster-domain": domain, **families, **resolv_conf}, {})
    assert made == load({}, {}, stored=dump(made))


def test_the_directory_is_found_before_its_settings_can_be_read(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("data-dir: /from/file")
    environment = {"MOORING_DATA_DIR": "/from/environment"}
    assert Path("/from/flag") == data_dir(Path("/from/flag"), environment, file)
    assert Path("/from/environment") == data_dir(None, environment, file)
    assert Path("/from/file") == data_dir(None, {}, file)
    assert Path("/var/lib/mooring") == data_dir(None, {})
