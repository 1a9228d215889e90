"""Do answers of real servers come through: unbound, knotd, over UDP, TCP and TLS, also when they die and come back?"""

import asyncio
import datetime
import subprocess
import sys
from pathlib import Path
from time import monotonic

import dns.flags
import dns.message
import dns.rcode
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from dns_servers import Lie, Process, ask, knotd, liar, lines, ours, served, stream_server, unbound

from mooring.app import resolver as module
from mooring.dns.chain import Exchange, Upstream
from mooring.dns.names import from_text
from mooring.dns.records import Query, Question
from mooring.dns.zone import Zone, ZoneOptions
from mooring.edges.dns.upstream import Upstreams
from mooring.services.names import PublishedService
from mooring.testing.ports import free_port

ZONE = Zone(
    ZoneOptions(),
    {("default", "web"): PublishedService(("10.96.0.9",)), ("default", "out"): PublishedService(alias="www.example.org")},
    {"default"},
    1,
)
MANY = "\n".join(f"many.example.org. 60 IN TXT {'x' * 100}{number:03}" for number in range(60))
RECORDS = f"""
. 60 IN NS ns.example.org.
example.org. 60 IN SOA ns.example.org. host.example.org. 1 2 3 4 60
www.example.org. 60 IN A 192.0.2.1
www.example.org. 60 IN AAAA 2001:db8::1
_http._tcp.example.org. 60 IN SRV 0 5 80 www.example.org.
brief.example.org. 1 IN A 192.0.2.2
{MANY}
"""
LINES = "\n".join([" local-zone: example.org. static", *served(RECORDS)])
CORP = """
$TTL 60
@ SOA ns host 1 2 3 4 60
@ NS ns
ns A 127.0.0.1
db A 192.0.2.7
alias CNAME db
"""


def to(*processes: Process, **more: object) -> dict[str, object]:
    return {"to": [f"127.0.0.1:{each.port}" for each in processes], **more}


async def until(holds: object, patience: float = 60.0) -> None:
    """Polls with a deadline."""
    async with asyncio.timeout(patience):
        while not holds():  # type: ignore[operator]
            await asyncio.sleep(0.02)


async def test_names_of_the_cluster_and_of_others_are_answered(tmp_path: Path) -> None:
    async with unbound(tmp_path, LINES) as upstream, ours({"forward": [to(upstream)]}, ZONE) as (node, port):
        assert ["web.default.svc.cluster.local. A 10.96.0.9"] == lines(await ask(port, "web.default.svc.cluster.local"))
        assert ["WWW.example.org. A 192.0.2.1"] == lines(await ask(port, "WWW.example.org"))
        assert ["_http._tcp.example.org. SRV 0 5 80 www.example.org."] == lines(
            await ask(port, "_http._tcp.example.org", "SRV")
        )
        assert [
            "out.default.svc.cluster.local. CNAME www.example.org.",
            "www.example.org. AAAA 2001:db8::1",
        ] == lines(await ask(port, "out.default.svc.cluster.local", "AAAA"))
        denied = await ask(port, "no.example.org")
        assert (dns.rcode.NXDOMAIN, 1) == (denied.rcode(), len(lines(denied, "authority")))
        before = node.chain.forward.counts["requests", f"127.0.0.1:{upstream.port}"]
        for name in ("www.example.org", "no.example.org"):
            await ask(port, name)
        assert before == node.chain.forward.counts["requests", f"127.0.0.1:{upstream.port}"]


async def test_what_does_not_fit_is_fetched_over_tcp_and_cut_off_for_who_asked_over_udp(tmp_path: Path) -> None:
    async with unbound(tmp_path, LINES) as upstream, ours({"forward": [to(upstream)]}, ZONE) as (node, port):
        assert (await ask(port, "many.example.org", "TXT")).flags & dns.flags.TC
        assert 60 == len(lines(await ask(port, "many.example.org", "TXT", tcp=True)))
        counts = node.upstreams.counts
        assert (1, 0) == tuple(counts[kind, f"127.0.0.1:{upstream.port}", "tcp"] for kind in ("misses", "hits"))


async def test_a_connection_is_used_again(tmp_path: Path) -> None:
    async with unbound(tmp_path, LINES) as upstream:
        settings = {"forward": [to(upstream, **{"force-tcp": True})], "loop": False}
        async with ours(settings, ZONE) as (node, port):
            for number in range(5):
                assert dns.rcode.NXDOMAIN == (await ask(port, f"n{number}.example.org")).rcode()
            counts = node.upstreams.counts
            assert (1, 4) == tuple(counts[kind, f"127.0.0.1:{upstream.port}", "tcp"] for kind in ("misses", "hits"))


async def test_the_longest_zone_decides_who_is_asked(tmp_path: Path) -> None:
    async with unbound(tmp_path, LINES) as default, knotd(tmp_path, {"corp.example.": CORP}) as stub:
        settings = {"forward": [to(default), to(stub, zone="corp.example")]}
        async with ours(settings, ZONE) as (_, port):
            assert ["alias.corp.example. CNAME db.corp.example.", "db.corp.example. A 192.0.2.7"] == lines(
                await ask(port, "alias.corp.example")
            )
            assert ["www.example.org. A 192.0.2.1"] == lines(await ask(port, "www.example.org"))


async def test_signatures_come_through_for_who_wants_them(tmp_path: Path) -> None:
    async with (
        knotd(tmp_path, {"corp.example.": CORP}, signed=True) as signed,
        ours({"forward": [to(signed)]}, ZONE) as (_, port),
    ):
        plain = lines(await ask(port, "db.corp.example"))
        wanted = lines(await ask(port, "db.corp.example", want_dnssec=True))
        assert ["A"] == [each.split()[1] for each in plain]
        assert ["A", "RRSIG"] == [each.split()[1] for each in wanted]
        denied = await ask(port, "no.corp.example", want_dnssec=True)
        assert {"SOA", "NSEC", "RRSIG"} == {each.split()[1] for each in lines(denied, "authority")}
        assert {"SOA"} == {each.split()[1] for each in lines(await ask(port, "no.corp.example"), "authority")}
        assert 2 <= len(lines(await ask(port, "corp.example", "DNSKEY")))


async def test_a_server_that_is_killed_is_passed_over_and_taken_again(tmp_path: Path) -> None:
    async with unbound(tmp_path, LINES) as one, unbound(tmp_path, LINES) as two:
        settings = {"forward": [to(one, two, policy="sequential")], "loop": False}
        async with ours(settings, ZONE) as (node, port):
            await ask(port, "a.example.org")
            one.kill()
            for number in range(6):
                assert dns.rcode.NXDOMAIN == (await ask(port, f"n{number}.example.org")).rcode()
            route = node.chain.forward.routes[0]
            assert [True, False] == [node.chain.forward.is_down(route, each) for each in route.upstreams]
            await one.start()
            await until(lambda: not node.chain.forward.is_down(route, route.upstreams[0]))
            before = node.chain.forward.counts["requests", str(route.upstreams[0])]
            await ask(port, "b.example.org")
            assert before + 1 == node.chain.forward.counts["requests", str(route.upstreams[0])]


async def test_while_nobody_answers_what_was_known_is_served_stale(tmp_path: Path) -> None:
    async with unbound(tmp_path, LINES) as upstream:
        settings = {"forward": [to(upstream)], "cache": {"least": 0}, "loop": False}
        async with ours(settings, ZONE) as (node, port):
            await ask(port, "brief.example.org")
            upstream.kill()
            assert node.chain.cache is not None
            entry = node.chain.cache.success.get((from_text("brief.example.org"), 1, 1, False, False))
            assert entry is not None
            await until(lambda: entry.left(monotonic()) < 0)
            told = await ask(port, "brief.example.org")
            assert (30, ["brief.example.org. A 192.0.2.2"]) == (told.answer[0].ttl, lines(told))
            assert dns.rcode.SERVFAIL == (await ask(port, "www.example.org")).rcode()
            assert ["web.default.svc.cluster.local. A 10.96.0.9"] == lines(await ask(port, "web.default.svc.cluster.local"))


def certificate(folder: Path, name: str) -> None:
    """A CA and a certificate of it for `name`: ca.pem, server.pem and server.key."""
    now = datetime.datetime.now(datetime.UTC)
    made = {}
    for subject, issuer in (("ca", "ca"), (name, "ca")):
        key = ec.generate_private_key(ec.SECP256R1())
        signer = made.get(issuer, key)
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=subject == "ca", path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(subject)]), critical=False)
        )
        made[subject] = key
        signed = builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        (folder / ("ca.pem" if subject == "ca" else "server.pem")).write_bytes(signed)
    key_text = made[name].private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "server.key").write_bytes(key_text)


@pytest.mark.parametrize(
    ("server_name", "authority", "rcode"),
    [
        pytest.param("dns.example", "ca.pem", dns.rcode.NOERROR, id="the right name and CA"),
        pytest.param("other.example", "ca.pem", dns.rcode.SERVFAIL, id="another name"),
        pytest.param("dns.example", "", dns.rcode.SERVFAIL, id="a CA that is not trusted"),
    ],
)
async def test_over_tls_only_the_right_server_is_asked(tmp_path: Path, server_name: str, authority: str, rcode: int) -> None:
    certificate(tmp_path, "dns.example")
    tls = free_port()
    more = (
        f" interface: 127.0.0.1@{tls}\n tls-port: {tls}\n tls-service-key: {tmp_path}/server.key\n"
        f" tls-service-pem: {tmp_path}/server.pem\n"
    )
    async with unbound(tmp_path, more + LINES):
        entry = {
            "to": [f"tls://127.0.0.1:{tls}"],
            "tls-servername": server_name,
            "tls-authority": f"{tmp_path}/{authority}" if authority else "",
        }
        async with ours({"forward": [entry], "loop": False}, ZONE) as (node, port):
            told = await ask(port, "www.example.org")
            assert rcode == told.rcode()
            if rcode == dns.rcode.NOERROR:
                await ask(port, "many.example.org", "TXT")
                counts = node.upstreams.counts
                assert (1, 1) == tuple(counts[kind, f"tls://127.0.0.1:{tls}", "tcp-tls"] for kind in ("misses", "hits"))


async def test_a_loop_is_noticed_and_names_of_the_cluster_are_answered_nonetheless() -> None:
    one, two = free_port(), free_port()
    async with (
        ours({"forward": [{"to": [f"127.0.0.1:{two}"]}]}, ZONE, port=one) as (node, port),
        ours({"forward": [{"to": [f"127.0.0.1:{one}"]}], "loop": False}, ZONE, port=two),
    ):
        loop = node.chain.loop
        assert loop is not None
        await until(lambda: loop.looping)
        assert dns.rcode.SERVFAIL == (await ask(port, "www.example.org")).rcode()
        assert ["web.default.svc.cluster.local. A 10.96.0.9"] == lines(await ask(port, "web.default.svc.cluster.local"))


async def test_a_probe_for_loops_that_nobody_answered_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """And keeps those of other servers no longer."""
    monkeypatch.setattr(module, "LOOP_AGAIN", 0.01)

    def told(rcode: int) -> Lie:
        def lie(asked: bytes) -> list[bytes]:
            message = dns.message.make_response(dns.message.from_wire(asked))
            message.set_rcode(rcode)
            return [message.to_wire()]

        return lie

    async with (
        liar(told(dns.rcode.SERVFAIL)) as (failing, one),
        liar(told(dns.rcode.NXDOMAIN)) as (other, two),
        ours({"forward": [{"to": [f"127.0.0.1:{one}"]}, {"zone": "corp", "to": [f"127.0.0.1:{two}"]}]}, ZONE) as (node, _),
    ):
        await until(lambda: len(failing.asked) > 3)
        failing.lie = told(dns.rcode.NXDOMAIN)
        watching = node.watching
        assert watching is not None
        await until(watching.done)
        assert 1 == len(other.asked)


async def test_this_is_no_open_resolver(tmp_path: Path) -> None:
    async with (
        unbound(tmp_path, LINES) as upstream,
        ours({"forward": [to(upstream)], "access": ["10.0.0.0/8"]}, ZONE) as (_, port),
    ):
        for name in ("www.example.org", "web.default.svc.cluster.local"):
            assert dns.rcode.REFUSED == (await ask(port, name)).rcode()


async def test_dig_finds_nothing_strange(tmp_path: Path) -> None:
    async with unbound(tmp_path, LINES) as upstream, ours({"forward": [to(upstream)]}, ZONE) as (_, port):
        for words in (
            ("www.example.org", "A", "+cookie"),
            ("www.example.org", "A", "+tcp"),
            ("www.example.org", "ANY", "+notcp"),
            ("version.bind", "TXT", "CH"),
            ("www.example.org", "A", "+dnssec", "+subnet=192.0.2.0/24", "+nsid"),
        ):
            process = await asyncio.create_subprocess_exec(
                "dig", "@127.0.0.1", "-p", str(port), "+tries=1", "+time=30", *words, stdout=asyncio.subprocess.PIPE
            )
            output = (await process.communicate())[0].decode()
            assert "status: NOERROR" in output, output
            assert "ANSWER: 1," in output, output
            assert "WARNING" not in output and "malformed" not in output, output
            assert "(bad)" not in output, output


NOWHERE = """
import asyncio
from mooring.dns.chain import Exchange, Upstream
from mooring.dns.names import from_text
from mooring.dns.records import Query, Question
from mooring.edges.dns.upstream import Upstreams
query = Query(1, Question(from_text("a.example"), 1))
for tcp in (False, True):
    heard = asyncio.run(Upstreams().exchange(Exchange(Upstream("192.0.2.53"), query, 5.0, tcp)))
    print(heard.useless, heard.seconds < 1, heard.error)
"""


@pytest.mark.root
def test_where_there_is_no_way_out_it_is_known_at_once() -> None:
    """A network namespace without any interface that is up, which ends with its process."""
    done = subprocess.run(["unshare", "-n", sys.executable, "-c", NOWHERE], capture_output=True, text=True, timeout=100)
    assert ["True", "True"] == [line.split()[0] for line in done.stdout.splitlines()], done
    assert all("nreachable" in line for line in done.stdout.splitlines()), done.stdout


EXHAUSTED = """
import asyncio, resource
from mooring.dns.chain import Exchange, Upstream
from mooring.dns.names import from_text
from mooring.dns.records import Query, Question
from mooring.edges.dns.upstream import Upstreams
query = Query(1, Question(from_text("a.example"), 1))
async def main(tcp):
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    heard = await Upstreams().exchange(Exchange(Upstream("127.0.0.1", 9), query, 5.0, tcp))
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    print(heard.ours, heard.error)
for tcp in (False, True):
    asyncio.run(main(tcp))
"""


def test_without_a_descriptor_left_it_is_our_own_failure() -> None:
    done = subprocess.run([sys.executable, "-c", EXHAUSTED], capture_output=True, text=True, timeout=100)
    assert ["True", "True"] == [line.split()[0] for line in done.stdout.splitlines()], done


async def test_a_name_that_no_tls_takes_is_an_answer_that_did_not_come() -> None:
    upstreams, query = Upstreams(), Query(1, Question(from_text("a.example"), 1))
    async with stream_server(lambda reader, writer: writer.close(), port := free_port()):
        heard = await upstreams.exchange(Exchange(Upstream("127.0.0.1", port, ".corp"), query, 5.0))
    await upstreams.close()
    assert (None, False) == (heard.reply, heard.ours)
