"""Is what a pod asks for foreseen: each name of its search path, who answers it, and where only others know?"""

from pathlib import Path
from random import Random
from typing import Any

import pytest

from mooring.app.files import Files
from mooring.app.objects import Objects
from mooring.app.places import PlaceError
from mooring.app.querying import THE_NODES_OWN, Asked, Live, Names, Naming, Said, ask, asker, resolving, said_of
from mooring.app.resolver import ResolverOptions, chain_of
from mooring.app.settings import Settings
from mooring.cli import trace_query
from mooring.dns.build import build_zone
from mooring.dns.names import from_text
from mooring.dns.records import Rcode, Type
from mooring.dns.settings import DnsSettings, ForwardSetting
from mooring.dns.zone import ZoneOptions
from mooring.model.node import Node, node
from mooring.model.service import service
from mooring.pods.resolv_conf import NodeDns

DNS = "10.96.0.10"
TEN = bytes((10, 96, 0, 7))


def a_service(name: str, **spec: Any) -> Any:
    return service({"metadata": {"name": name, "namespace": "default"}, "spec": {"type": "ClusterIP", **spec}})


def a_pod(name: str, **spec: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "default", "uid": name}
    status = {"podIPs": [{"ip": "10.244.0.5"}], "phase": "Running"}
    return {
        "metadata": metadata,
        "spec": {"nodeName": "a", "containers": [], "dnsPolicy": "ClusterFirst", **spec},
        "status": status,
    }


def a_node() -> Node:
    return node(
        {
            "metadata": {"name": "a"},
            "spec": {"podCIDRs": ["10.244.0.0/24"]},
            "status": {"addresses": [{"type": "InternalIP", "address": "172.30.0.11"}]},
        }
    )


SERVICES = (
    a_service("web", clusterIP="10.96.0.7", clusterIPs=["10.96.0.7"], ports=[{"port": 80, "name": "http"}]),
    a_service("near", type="ExternalName", externalName="web.default.svc.cluster.local"),
    a_service("far", type="ExternalName", externalName="db.example.org"),
)
PODS = (
    a_pod("client"),
    a_pod("strange", dnsPolicy="None", dnsConfig={"nameservers": ["192.0.2.53"]}),
    a_pod("mute", dnsPolicy="None"),
    a_pod("host", hostNetwork=True, dnsPolicy="ClusterFirstWithHostNet"),
)
SEARCH = ("default.svc.cluster.local", "svc.cluster.local", "cluster.local")


def names(*upstreams: str) -> Names:
    objects = Objects((a_node(),), SERVICES, (), ("10.96.0.0/16",), PODS)
    zone = build_zone(ZoneOptions(), SERVICES, (), ("default",))
    settings = DnsSettings(forward=(ForwardSetting(upstreams),)) if upstreams else DnsSettings()
    options = ResolverOptions(settings, (DNS,), ("10.244.0.0/16", "172.30.0.0/24"))
    return Names(objects, zone, chain_of(options, lambda: zone, Random(1)), NodeDns((DNS,), "cluster.local", ""))


def asked(name: str, kind: int = Type.A, source: str = "client", *upstreams: str) -> list[Asked]:
    known = names(*upstreams)
    return list(ask(known.chain, asker(known, source, "default"), name, kind))


def told(found: list[Asked]) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(each.name, each.foreseen.outcome, each.foreseen.records) for each in found]


def test_the_first_name_that_has_an_answer_ends_it() -> None:
    assert [("web.default.svc.cluster.local", "NOERROR", ("A 10.96.0.7",))] == told(asked("web"))


def test_every_name_of_the_search_path_is_asked_for() -> None:
    found = asked("no.such")
    assert [*(f"no.such.{each}" for each in SEARCH), "no.such"] == [each.name for each in found]
    assert ["NXDOMAIN", "NXDOMAIN", "NXDOMAIN", "REFUSED"] == [each.foreseen.outcome for each in found]


def test_each_answer_names_the_object_and_the_reason() -> None:
    [found] = asked("web")
    assert ["service/web in default: the Service has a cluster IP"] == [each.because for each in found.notes]


def test_an_alias_within_the_cluster_is_followed() -> None:
    [found] = asked("near")
    assert Said("NOERROR", ("CNAME web.default.svc.cluster.local.", "A 10.96.0.7"), found=True) == found.foreseen


def test_an_alias_that_leads_outside_is_open_where_others_are_asked() -> None:
    [*_, last] = asked("far", Type.A, "client", "192.0.2.1")
    first = asked("far", Type.A, "client", "192.0.2.1")[0]
    assert ("far.default.svc.cluster.local", Said("", upstream="192.0.2.1:53")) == (first.name, first.foreseen)
    assert not last.settled


def test_an_alias_that_leads_nowhere_is_no_answer() -> None:
    first = asked("far")[0]
    assert Said("NOERROR", ("CNAME db.example.org.",)) == first.foreseen
    assert not first.settled


def test_names_outside_are_known_only_to_the_servers_that_are_asked() -> None:
    last = asked("www.example.org", Type.A, "client", "192.0.2.1")[-1]
    assert ("www.example.org", Said("", upstream="192.0.2.1:53")) == (last.name, last.foreseen)


def test_a_pod_with_a_name_server_of_its_own_asks_a_stranger() -> None:
    found = asked("web", Type.A, "strange")
    assert [("web", "192.0.2.53", Said("", upstream="192.0.2.53"))] == [(e.name, e.server, e.foreseen) for e in found]


def test_a_pod_without_a_name_server_asks_nobody() -> None:
    found = asked("web", Type.A, "mute")
    assert [("web", "", Said(""))] == [(each.name, each.server, each.foreseen) for each in found]


def test_a_pod_of_the_host_network_asks_the_cluster_when_its_policy_says_so() -> None:
    assert [("web.default.svc.cluster.local", "NOERROR", ("A 10.96.0.7",))] == told(asked("web", Type.A, "host"))


def test_a_node_asks_for_the_very_name() -> None:
    assert [("web", "REFUSED", ())] == told(asked("web", Type.A, "node/a"))


@pytest.mark.parametrize("source", ["192.0.2.7/a", "outside", "outside/a"])
def test_somebody_outside_asks_for_no_names_here(source: str) -> None:
    with pytest.raises(PlaceError, match="names are asked for by a pod or a node"):
        asker(names(), source, "default")


def test_a_name_that_cannot_be_is_not_asked_for() -> None:
    found = asked("x" * 64 + ".")
    assert [("NXDOMAIN", "no name can be like that: a label has 1 to 63 octets, not 64")] == [
        (each.foreseen.outcome, each.notes[0].because) for each in found
    ]


@pytest.mark.parametrize(
    ("live", "expected"),
    [
        pytest.param(said_of(Rcode.NOERROR, [(Type.A, TEN)], Type.A), "", id="the same"),
        pytest.param(Said("NXDOMAIN"), f"NOERROR was foreseen, {DNS} answers NXDOMAIN", id="another outcome"),
        pytest.param(
            said_of(Rcode.NOERROR, [(Type.A, bytes((1, 2, 3, 4)))], Type.A),
            f"{DNS} answers without A 10.96.0.7 and with A 1.2.3.4",
            id="other records",
        ),
        pytest.param(None, f"{DNS} did not answer: timeout", id="no answer"),
    ],
)
def test_a_server_that_answers_otherwise_is_told_of(live: Said | None, expected: str) -> None:
    known = names()
    given = Live(DNS, live, 0.0, "" if live else "timeout")
    [first, *_] = ask(known.chain, asker(known, "client", "default"), "web", Type.A, lambda server, name, kind: given)
    assert expected == first.difference


def test_letters_of_another_case_are_no_difference() -> None:
    upper = said_of(Rcode.NOERROR, [(Type.CNAME, from_text("WEB.default.svc.cluster.local")), (Type.A, TEN)], Type.A)
    known = names()
    [first] = ask(known.chain, asker(known, "client", "default"), "near", Type.A, lambda *_: Live(DNS, upper))
    assert "" == first.difference


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(None, Said("", upstream=THE_NODES_OWN), id="not known here"),
        pytest.param("nameserver 192.0.2.7\n", Said("", upstream="192.0.2.7:53"), id="one that is known"),
        pytest.param(f"nameserver {DNS}\n", Said("REFUSED"), id="ourselves alone"),
        pytest.param("", Said("REFUSED"), id="nobody"),
    ],
)
def test_without_forward_those_of_the_node_are_asked(text: str | None, expected: Said) -> None:
    known = names()
    options = resolving(Naming(resolv_conf=text), (DNS,), ("10.244.0.0/16",))
    chain = chain_of(options, lambda: known.zone, Random(1))
    last = list(ask(chain, asker(known, "client", "default"), "www.example.org", Type.A))[-1]
    assert expected == last.foreseen


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        pytest.param(None, "", id="none: nobody"),
        pytest.param("resolv.conf", "nameserver 192.0.2.7\n", id="a file"),
        pytest.param("gone", None, id="one that is gone: not known"),
    ],
)
def test_what_is_known_of_whom_the_nodes_ask(path: str | None, expected: str | None, tmp_path: Path) -> None:
    (tmp_path / "resolv.conf").write_text("nameserver 192.0.2.7\n")
    settings = Settings(resolv_conf=tmp_path / path if path else None)
    assert expected == trace_query._naming((settings, Files(tmp_path)), "", None).resolv_conf
