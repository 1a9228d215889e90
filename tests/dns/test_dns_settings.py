"""Do the DNS settings mean what they say, and is every mistake named?"""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from mooring.dns.chain import Upstream
from mooring.dns.chain_order import ORDER
from mooring.dns.handlers.cache import CacheOptions
from mooring.dns.handlers.forward import Policy, Route
from mooring.dns.handlers.rewrite import Match, Rule
from mooring.dns.names import ROOT, from_text
from mooring.dns.records import Rcode
from mooring.dns.settings import (
    DnsSettings,
    DnsSettingsError,
    ForwardSetting,
    HostsSetting,
    LogClass,
    RateLimitSetting,
    TransferSetting,
    decode,
    host_entries,
    routes,
    rules,
)
from mooring.dns.zone import PodNames

OWN = ("10.96.0.10",)


def test_nothing_said_means_the_defaults() -> None:
    assert DnsSettings() == decode({}, "file")


def test_all_of_it_can_be_said() -> None:
    settings = decode(
        {
            "ttl": 30,
            "pods": "verified",
            "endpoint-pod-names": True,
            "external-zone": "apps.example",
            "reverse": ["192.0.2.0/24"],
            "access": ["10.0.0.0/8", "fd00::/8"],
            "rate-limit": {"per-second": 100, "burst": 500},
            "any": False,
            "rewrite": [
                {"match": "suffix", "from": ".Corp.", "to": ".default.svc.cluster.local."},
                {"match": "type", "from": "aaaa", "to": "A"},
                {"match": "regex", "from": "^(x)", "to": "{1}y"},
            ],
            "autopath": True,
            "hosts": {"entries": ["192.0.2.7 db.example db", "# nothing"], "ttl": 60},
            "loop": False,
            "cache": {"success": 60, "serve-stale": 0, "prefetch": 0},
            "forward": [
                {"to": ["192.0.2.1", "tls://[2001:db8::1]:8853"], "tls-servername": "dns.example", "policy": "sequential"},
                {"zone": "Corp.example.", "to": ["192.0.2.2:5353"], "except": ["x.corp.example"], "failover": ["servfail"]},
            ],
            "transfer": {"to": ["192.0.2.0/24"], "notify": ["192.0.2.3:5300"]},
            "log": ["denial", "error"],
        },
        "file",
    )
    assert (PodNames.VERIFIED, (LogClass.DENIAL, LogClass.ERROR)) == (settings.pods, settings.log)
    assert CacheOptions(success=60, serve_stale=0, prefetch=0) == settings.cache
    assert (("192.0.2.7", (from_text("db.example"), from_text("db"))),) == host_entries(settings)
    assert (
        Rule(Match.SUFFIX, ".corp", ".default.svc.cluster.local"),
        Rule(Match.TYPE, "28", "1"),
        Rule(Match.REGEX, "^(x)", "{1}y"),
    ) == rules(settings)
    assert (
        Route(ROOT, (Upstream("192.0.2.1"), Upstream("2001:db8::1", 8853, "dns.example")), policy=Policy.SEQUENTIAL),
        Route(
            from_text("corp.example"),
            (Upstream("192.0.2.2", 5353),),
            (from_text("x.corp.example"),),
            failover=(Rcode.SERVFAIL,),
        ),
    ) == routes(settings, ["192.0.2.9"], OWN)


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        pytest.param({"log": True}, DnsSettings(log=(LogClass.ALL,)), id="log: true is all"),
        pytest.param({"log": False}, DnsSettings(), id="log: false is nothing"),
        pytest.param({"cache": False}, DnsSettings(cache=None), id="cache: false is none"),
        pytest.param({"cache": True}, DnsSettings(), id="cache: true is the default"),
        pytest.param({"forward": []}, DnsSettings(forward=()), id="no forwarding at all"),
    ],
)
def test_short_forms(document: dict[str, Any], expected: DnsSettings) -> None:
    assert expected == decode(document, "file")


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        pytest.param({"cach": {}}, "unknown setting cach; the nearest known is cache", id="an unknown key"),
        pytest.param({"cache": {"sucess": 1}}, "unknown setting cache.sucess; the nearest known is cache.success", id="within"),
        pytest.param(
            {"forward": [{"to": ["192.0.2.1"], "polcy": "random"}]},
            "unknown setting forward.polcy; the nearest known is forward.policy",
            id="in a list",
        ),
        pytest.param({"ttl": "5"}, "Expected `int`, got `str` - at `$.ttl`", id="another kind of value"),
        pytest.param({"pods": "on"}, "Invalid enum value 'on' - at `$.pods`", id="a word that is none"),
        pytest.param({"ttl": 3601}, "ttl 3601: from 0 to 3600", id="a number out of range"),
        pytest.param(
            {"access": ["10.0.0.1/8"]}, "access: '10.0.0.1/8': 10.0.0.1/8 has host bits set", id="a range that is none"
        ),
        pytest.param({"forward": [{"to": []}]}, "forward.to for '.': from 1 to 15 servers", id="no server"),
        pytest.param(
            {"forward": [{"to": ["dns.example"]}]}, "forward.to: 'dns.example' is no address", id="a name for a server"
        ),
        pytest.param(
            {"forward": [{"to": ["192.0.2.1:0"]}]}, "forward.to: '192.0.2.1:0': a port is from 1 to 65535", id="no port"
        ),
        pytest.param(
            {"forward": [{"to": ["192.0.2.1"]}, {"to": ["192.0.2.2"]}]}, "forward: zone '.' is there twice", id="a zone twice"
        ),
        pytest.param(
            {"forward": [{"to": ["192.0.2.1"], "failover": ["BAD"]}]}, "forward.failover: 'BAD' is no rcode", id="no rcode"
        ),
        pytest.param({"forward": [{"to": ["192.0.2.1"], "zone": "a..b"}]}, "forward.zone: 'a..b'", id="no name"),
        pytest.param({"rewrite": [{"match": "regex", "from": "(a+)+", "to": ""}]}, "no repeated groups", id="a dear pattern"),
        pytest.param({"rewrite": [{"match": "type", "from": "B", "to": "A"}]}, "'B' is no type of record", id="no type"),
        pytest.param({"hosts": {"entries": ["192.0.2.1"]}}, "hosts.entries: '192.0.2.1'", id="a line without names"),
        pytest.param({"rate-limit": {"per-second": 0}}, "rate-limit.per-second 0", id="no rate"),
        pytest.param({"rate-limit": {"per-second": 1, "burst": 0.5}}, "rate-limit.burst 0.5: from 1", id="no whole question"),
        pytest.param({"rate-limit": {"per-second": 1, "burst": -1}}, "rate-limit.burst -1", id="less than no question"),
        pytest.param({"rate-limit": {"per-second": 1, "burst": 1e30}}, "rate-limit.burst 1e+30", id="more than workers count"),
        pytest.param(
            {"forward": [{"to": ["192.0.2.1"], "max-fails": -1}]}, "forward.max-fails -1: from 0 to 1000", id="no failures"
        ),
        pytest.param(
            {"forward": [{"to": ["192.0.2.1"], "max-concurrent": -1}]}, "forward.max-concurrent -1: from 0", id="nobody waits"
        ),
        pytest.param(
            {"forward": [{"to": ["tls://192.0.2.1"], "tls-servername": ".corp"}]},
            "forward.tls-servername: '.corp'",
            id="a name that no certificate has",
        ),
        pytest.param({"transfer": {"notify": ["x"]}}, "transfer.notify: 'x' is no address", id="nobody to tell"),
        pytest.param({"external-zone": "a..b"}, "external-zone: 'a..b'", id="no zone"),
    ],
)
def test_a_mistake_is_named_with_its_place(document: dict[str, Any], complaint: str) -> None:
    with pytest.raises(DnsSettingsError, match=r"^file: ") as raised:
        decode(document, "file")
    assert complaint in str(raised.value)


def test_we_are_no_upstream_of_our_own() -> None:
    with pytest.raises(DnsSettingsError, match="is this server itself"):
        routes(decode({"forward": [{"to": ["10.96.0.10"]}]}, "file"), (), OWN)
    assert (Route(ROOT, (Upstream("192.0.2.9"),)),) == routes(DnsSettings(), ["10.96.0.10", "192.0.2.9"], OWN)
    assert () == routes(DnsSettings(), [], OWN)


PAGE = (Path(__file__).resolve().parents[2] / "docs/reference/dns-resolver.md").read_text()


def test_the_example_of_the_reference_can_be_used() -> None:
    example = re.search(r"```yaml\n(.*?)```", PAGE, re.S)
    assert example is not None
    assert 2 == len(routes(decode(yaml.safe_load(example[1]), "page"), (), OWN))


@pytest.mark.parametrize("kind", [DnsSettings, CacheOptions, ForwardSetting, RateLimitSetting, HostsSetting, TransferSetting])
def test_the_reference_names_every_key(kind: type) -> None:
    keys = [field.encode_name for field in msgspec.structs.fields(kind)]
    assert [] == [key for key in keys if f"`{key}" not in PAGE and f"{key}`" not in PAGE]


def test_the_reference_has_the_handlers_in_their_order() -> None:
    assert list(ORDER) == [name for name in re.findall(r"^\| ([a-z-]+) \|", PAGE, re.M) if name in ORDER]


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        pytest.param(RateLimitSetting(100, 7), 7, id="the burst"),
        pytest.param(RateLimitSetting(100), 500, id="without one, five seconds' worth"),
        pytest.param(RateLimitSetting(0.1), 1, id="but one question at least"),
    ],
)
def test_as_many_questions_at_once(limit: RateLimitSetting, expected: float) -> None:
    assert expected == limit.at_once


def test_a_final_dot_is_not_part_of_a_certificates_name() -> None:
    settings = decode({"forward": [{"to": ["tls://192.0.2.1"], "tls-servername": "dns.example."}]}, "file")
    assert "dns.example" == routes(settings, (), OWN)[0].upstreams[0].tls_name
