"""EndpointSlices and Endpoints: limits, addresses, rows."""

import pytest
from direct import NOW, Direct, Refused

from mooring.apiserver.contract import Env, Settings
from mooring.apiserver.kinds import STRATEGIES
from mooring.model.kinds import ENDPOINT_SLICE, ENDPOINTS


def piece(**fields):
    return {"metadata": {"name": "web-1"}, "addressType": "IPv4", "endpoints": [], "ports": []} | fields


def at(*addresses, **fields):
    return [{"addresses": list(addresses), **fields}]


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        pytest.param({"addressType": ""}, "addressType", "Required value", id="no address type"),
        pytest.param(
            {"addressType": "Mail"},
            "addressType",
            'Unsupported value: "Mail": supported values: "FQDN", "IPv4", "IPv6"',
            id="a strange type",
        ),
        pytest.param(
            {"endpoints": at("10.0.0.1") * 1001},
            "endpoints",
            "Too many: 1001: must have at most 1000 items",
            id="1001 endpoints",
        ),
        pytest.param(
            {"ports": [{"name": f"p{n}"} for n in range(101)]},
            "ports",
            "Too many: 101: must have at most 100 items",
            id="101 ports",
        ),
        pytest.param(
            {"endpoints": at()}, "endpoints[0].addresses", "Required value: must contain at least 1 address", id="no address"
        ),
        pytest.param(
            {"endpoints": at(*["10.0.0.1"] * 101)},
            "endpoints[0].addresses",
            "Too many: 101: must have at most 100 items",
            id="101 addresses",
        ),
        pytest.param(
            {"endpoints": at("fd00::1")},
            "endpoints[0].addresses[0]",
            'Invalid value: "fd00::1": must be an IPv4 address',
            id="other family",
        ),
        pytest.param(
            {"endpoints": at("127.0.0.1")},
            "endpoints[0].addresses[0]",
            'Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)',
            id="loopback",
        ),
        pytest.param(
            {"endpoints": at("10.0.0.1", hints={"forZones": [{"name": f"z{n}"} for n in range(9)]})},
            "endpoints[0].hints.forZones",
            "Too many: 9: must have at most 8 items",
            id="nine zones",
        ),
        pytest.param(
            {"endpoints": at("10.0.0.1", hints={"forNodes": [{"name": "a"}, {"name": "a"}]})},
            "endpoints[0].hints.forNodes[1].name",
            'Duplicate value: "a"',
            id="a node twice",
        ),
        pytest.param(
            {"ports": [{"port": 1}, {"port": 2}]}, "ports[1].name", 'Duplicate value: ""', id="two ports without a name"
        ),
        pytest.param(
            {"ports": [{"port": 0}]},
            "ports[0].port",
            "Invalid value: 0: must be between 1 and 65535, inclusive",
            id="port 0",
        ),
    ],
)
def test_a_broken_slice_is_refused(fields, field, words):
    with pytest.raises(Refused) as refusal:
        Direct().create(ENDPOINT_SLICE, piece(**fields))
    assert {field: words} == refusal.value.causes


def test_ports_get_a_name_and_a_protocol():
    made = Direct().create(ENDPOINT_SLICE, piece(ports=[{"port": 80}]))
    assert [{"port": 80, "name": "", "protocol": "TCP"}] == made["ports"]


def test_a_hundred_addresses_and_no_port_number_are_fine():
    assert Direct().create(
        ENDPOINT_SLICE, piece(endpoints=at(*(f"10.0.0.{n}" for n in range(1, 101))), ports=[{"name": "all"}])
    )


def test_the_address_type_never_changes():
    api = Direct()
    api.create(ENDPOINT_SLICE, piece())
    with pytest.raises(Refused, match="field is immutable"):
        api.patch(ENDPOINT_SLICE, "web-1", {"addressType": "IPv6"})


def test_deprecated_topology_is_ignored():
    made = Direct().create(ENDPOINT_SLICE, piece(endpoints=at("10.0.0.1", deprecatedTopology={"a": "b"})))
    assert [{"addresses": ["10.0.0.1"]}] == made["endpoints"]


@pytest.mark.parametrize(
    ("subset", "field"),
    [
        ({}, "subsets[0]"),
        ({"addresses": [{"ip": "x"}]}, "subsets[0].addresses[0].ip"),
        ({"addresses": [{"ip": "169.254.1.1"}]}, "subsets[0].addresses[0].ip"),
        ({"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 1}, {"port": 2, "name": "b"}]}, "subsets[0].ports[0].name"),
    ],
)
def test_broken_endpoints_are_refused(subset, field):
    with pytest.raises(Refused) as refusal:
        Direct().create(ENDPOINTS, {"metadata": {"name": "web"}, "subsets": [subset]})
    assert [field] == list(refusal.value.causes)


def test_endpoints_are_deprecated():
    api = Direct()
    api.create(ENDPOINTS, {"metadata": {"name": "web"}})
    assert any("EndpointSlice" in warning for warning in api.warnings)


def test_rows():
    env = Env(NOW, None, Settings())
    addresses = [{"ip": f"10.0.0.{n}"} for n in range(1, 6)]
    old = {"metadata": {"name": "web"}, "subsets": [{"addresses": addresses, "ports": [{"port": 80}]}]}
    assert ["web", "10.0.0.1:80,10.0.0.2:80,10.0.0.3:80 + 2 more...", "<unknown>"] == STRATEGIES[ENDPOINTS].cells(old, env)
    new = piece(endpoints=at("10.0.0.1") + at("10.0.0.2"), ports=[{"port": 80}, {"name": "http"}])
    assert ["web-1", "IPv4", "80,http", "10.0.0.1,10.0.0.2", "<unknown>"] == STRATEGIES[ENDPOINT_SLICE].cells(new, env)
    assert ["web-1", "IPv4", "<unset>", "<unset>", "<unknown>"] == STRATEGIES[ENDPOINT_SLICE].cells(piece(), env)
