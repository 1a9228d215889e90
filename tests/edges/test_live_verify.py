"""Is damage to a real kernel's tables named and repaired, and is work in progress left alone?"""

import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from typing import Any

import pytest
from msgspec import structs

from mooring.app import verify as verifying
from mooring.app.objects import Objects
from mooring.app.verify import Node, Report, verify
from mooring.dataplane.installed import Installed
from mooring.edges.nft.firewall import NftFirewall
from mooring.edges.nft.netlink import inside
from mooring.model.discovery import EndpointSlice, endpoint_slice
from mooring.model.node import node
from mooring.model.service import Service, service
from mooring.testing import builders
from mooring.testing.netlab import bare_namespace

pytestmark = pytest.mark.root


def a_service(name: str, address: str, protocol: str = "TCP", **spec: Any) -> Service:
    port = {"name": "http", "port": 80, "protocol": protocol, "targetPort": 8080}
    return service(builders.service(name, port, clusterIP=address, clusterIPs=[address], **spec))


def a_slice(owner: str, *addresses: str, protocol: str = "TCP") -> EndpointSlice:
    return endpoint_slice(
        {
            "metadata": {"name": f"{owner}-x", "namespace": "default", "labels": {"kubernetes.io/service-name": owner}},
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": 8080, "protocol": protocol}],
            "endpoints": [{"addresses": [each], "conditions": {"ready": True}, "nodeName": "a"} for each in addresses],
        }
    )


NODE = builders.node("a")
NODE["spec"] = {"podCIDRs": ["10.244.1.0/24"]}
NODE["status"]["addresses"] = [{"type": "InternalIP", "address": "172.30.0.11"}]
OBJECTS = Objects(
    (node(NODE),),
    (
        a_service("web", "10.96.0.1"),
        a_service("sticky", "10.96.0.2", sessionAffinity="ClientIP"),
        a_service("dns", "10.96.0.3", "UDP"),
    ),
    (
        a_slice("web", "10.244.1.2", "10.244.1.3"),
        a_slice("sticky", "10.244.1.2"),
        a_slice("dns", "172.30.0.11", protocol="UDP"),
    ),
    ("10.96.0.0/16",),
)
MORE = structs.replace(OBJECTS, services=(*OBJECTS.services, a_service("new", "10.96.0.9")))


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifying, "PAUSES", (0.0, 0.01, 0.01))


@pytest.fixture
def namespace() -> Iterator[str]:
    with bare_namespace("verify") as name:
        yield name


@pytest.fixture
async def firewall(namespace: str) -> AsyncIterator[NftFirewall]:
    """A kernel as wished."""
    with closing(NftFirewall(namespace)) as opened:
        await opened.replace(Installed.of(OBJECTS.view("a")).ruleset())
        yield opened


def nft(namespace: str, *command: str) -> str:
    words = ["ip", "netns", "exec", namespace, "nft", *command]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def ip(namespace: str, *command: str) -> None:
    subprocess.run(["ip", "-n", namespace, *command], check=True)


async def look(namespace: str, repair: bool = False) -> Report:
    [report] = await verify(lambda: OBJECTS, [Node("a", namespace)], repair=repair)
    return report


async def test_a_kernel_as_wished_is_told_so(namespace: str, firewall: NftFirewall) -> None:
    report = await look(namespace)
    assert ((), (), 3, False) == (report.drift, report.warnings, report.services, report.repaired)
    assert sum(map(len, (await firewall.read()).elements.values())) == report.elements


DAMAGE = [
    pytest.param(
        ["delete element ip mooring frontends { 10.96.0.1 . tcp . 80 }"],
        ["missing: frontend 10.96.0.1:80/TCP, which shall be to the cluster endpoints"],
        id="an element is gone",
    ),
    pytest.param(
        ["add element ip mooring frontends { 10.96.0.1 . tcp . 99 : 0x00000000 }"],
        ["foreign: frontend 10.96.0.1:99/TCP, which is refuse of number 0"],
        id="an element too many",
    ),
    pytest.param(
        [
            "delete element ip mooring endpoints { 0x00002000 . 0x00000001 }",
            "add element ip mooring endpoints { 0x00002000 . 0x00000001 : 192.0.2.9 . 99 }",
        ],
        ["altered: endpoint 1 (cluster pool of number 1) is 192.0.2.9:99, and shall be 10.244.1.3:8080 (service/web in"],
        id="an element is another",
    ),
    pytest.param(["flush map ip mooring slots"], ["missing: affinity slot 0"], id="affinity is gone"),
    pytest.param(
        ["flush chain ip mooring outside"],
        ['missing: rule "a frontend: go to the chain of its shape" of chain outside (ip mooring)'],
        id="a rule is gone",
    ),
    pytest.param(
        ["insert rule ip6 mooring services counter accept"],
        ["foreign: rule of chain services (ip6 mooring), which is counter; immediate accept"],
        id="a rule too many",
    ),
    pytest.param(
        ["flush chain ip mooring pick-2", "add rule ip mooring pick-2 dnat to 192.0.2.9"],
        [
            'altered: rule "one of 2" of chain pick-2 (ip mooring) is immediate c0000209; nat dnat ip',
            'missing: rule "no such slot: a commit overtook this packet" of chain pick-2 (ip mooring)',
        ],
        id="a rule is another",
    ),
    pytest.param(
        ["flush chain ip mooring refuse", "delete element ip mooring cluster-ips { 10.96.0.1 }"],
        [
            "missing: rule of chain refuse (ip mooring), which shall be meta l4proto; cmp == 06; reject tcp reset 0",
            "missing: rule of chain refuse (ip mooring), which shall be reject icmp 3",
            "missing: cluster IP 10.96.0.1 (service/web in default, port http)",
        ],
        id="rules and an element are gone",
    ),
    pytest.param(["add chain ip mooring mine"], ["foreign: chain mine (ip mooring)"], id="a chain too many"),
    pytest.param(["delete table ip mooring"], ["missing: table ip mooring"], id="a table is gone"),
    pytest.param(["flush ruleset"], ["missing: table ip mooring", "missing: table ip6 mooring"], id="everything is gone"),
    pytest.param(
        ["delete table ip mooring", "add table ip mooring"],
        ["altered: table ip mooring is without a version"],
        id="a table of somebody else's",
    ),
]


@pytest.mark.parametrize(("damage", "expected"), DAMAGE)
async def test_damage_is_named_and_repaired(
    namespace: str, firewall: NftFirewall, damage: list[str], expected: list[str]
) -> None:
    for command in damage:
        nft(namespace, command)
    for report in (await look(namespace), await look(namespace, repair=True)):
        assert len(expected) == len(report.drift)
        for drift, words in zip(report.drift, expected, strict=True):
            assert drift.words.startswith(words)
    assert report.repaired
    assert (await look(namespace)).drift == ()
    assert Installed.of(OBJECTS.view("a")).ruleset() == await firewall.read()


async def test_a_small_repair_keeps_everything_else(namespace: str, firewall: NftFirewall) -> None:
    """A client's affinity lives in the tables: a whole replacement would forget it."""
    nft(namespace, "add element ip mooring affinity { 192.0.2.1 . 0x00004000 timeout 60s : 0x00000001 }")
    nft(namespace, "delete element ip mooring cluster-ips { 10.96.0.1 }")
    assert (await look(namespace, repair=True)).repaired
    assert "192.0.2.1" in nft(namespace, "list map ip mooring affinity")


async def test_tables_made_anew_keep_their_numbers(namespace: str, firewall: NftFirewall) -> None:
    """Else the node's agent, which remembers them, would have to change everything once more."""
    installed = Installed.of(OBJECTS.view("a"))
    removed = installed.change(("default", "web"), ())
    await firewall.apply(removed)
    await firewall.apply(installed.change(("default", "web"), OBJECTS.view("a").services[("default", "web")]))
    assert installed.ruleset() != Installed.of(OBJECTS.view("a")).ruleset()
    nft(namespace, "flush chain ip mooring refuse")
    assert (await look(namespace, repair=True)).repaired
    assert installed.ruleset() == await firewall.read()


async def test_a_change_under_way_is_no_drift(namespace: str, firewall: NftFirewall) -> None:
    """The API is ahead of the kernel at the first reading, and the kernel catches up."""
    answers = iter((MORE, MORE, OBJECTS))
    [report] = await verify(lambda: next(answers), [Node("a", namespace)])
    assert report.drift == ()


async def test_of_a_busy_node_only_what_lasts_is_told_and_repaired(namespace: str, firewall: NftFirewall) -> None:
    nft(namespace, "delete element ip mooring cluster-ips { 10.96.0.1 }")
    answers = [OBJECTS, MORE, OBJECTS, MORE, OBJECTS]

    def read() -> Objects:
        return answers.pop(0) if answers else OBJECTS

    [report] = await verify(read, [Node("a", namespace)], repair=True)
    assert ["missing: cluster IP 10.96.0.1 (service/web in default, port http)"] == [each.words for each in report.drift]
    assert report.repaired
    assert Installed.of(OBJECTS.view("a")).ruleset() == await firewall.read()


async def test_each_node_is_told_by_itself(firewall: NftFirewall, namespace: str) -> None:
    other = structs.replace(OBJECTS, nodes=(*OBJECTS.nodes, node({**NODE, "metadata": {"name": "b"}})))
    with bare_namespace("verify") as empty:
        reports = await verify(lambda: other, [Node("a", namespace), Node("b", empty)], repair=True)
        assert [("a", 0, False), ("b", 2, True)] == [(each.node, len(each.drift), each.repaired) for each in reports]


async def test_another_tables_rewriting_is_warned_of(namespace: str, firewall: NftFirewall) -> None:
    nft(namespace, "add table ip theirs; add chain ip theirs pre { type nat hook prerouting priority -100; }")
    nft(namespace, "add rule ip theirs pre ip daddr 10.96.0.1 tcp dport 80 dnat to 192.0.2.1:80")
    report = await look(namespace)
    assert report.drift == ()
    assert report.warnings == (
        "table ip theirs rewrites destinations too, and not after us: chain pre (prerouting -100). It names 10.96.0.1.",
    )


async def test_a_stale_flow_is_named_and_forgotten(namespace: str, firewall: NftFirewall) -> None:
    """A node's own datagram to a cluster IP went to an endpoint in its own network, which then is none any more."""
    ip(namespace, "address", "add", "172.30.0.11/32", "dev", "lo")
    ip(namespace, "route", "add", "default", "dev", "lo")
    with inside(namespace):
        sender, receiver = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    with sender, receiver:
        receiver.bind(("172.30.0.11", 8080))
        receiver.settimeout(60)
        sender.bind(("172.30.0.11", 4000))
        sender.sendto(b"?", ("10.96.0.3", 80))
        receiver.recv(10)
    await firewall.replace(Installed.of(left().view("a")).ruleset())
    [report] = await verify(left, [Node("a", namespace)], repair=True)
    assert [
        "foreign: UDP flow 172.30.0.11:4000 -> 10.96.0.3:80, which is answered by 172.30.0.11:8080, no endpoint "
        "(service/dns in default, port http)"
    ] == [each.words for each in report.drift]
    assert report.repaired


def left() -> Objects:
    """What is there once the endpoint of dns has gone."""
    return structs.replace(OBJECTS, slices=OBJECTS.slices[:2])
