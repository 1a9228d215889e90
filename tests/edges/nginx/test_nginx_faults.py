"""Does what is wrong with one rule stay with it?"""

import aiohttp
from nginx_gateway import ADDRESS, backends, certificate, gateway, host, route, table

from mooring.ports.proxy import Rejection
from mooring.routing.table import (
    Answer,
    BasicAuth,
    Certificate,
    Chain,
    ClientCertificates,
    Cluster,
    Condition,
    Endpoints,
    Filters,
    HeaderChanges,
    How,
    Part,
    PathKind,
    PathMatch,
    Terminate,
    UpstreamTls,
)

EVIL = '";} } http { server { listen 1; } } \n\r\\" \'$host ${host} #`'


async def test_what_nginx_refuses_is_off_alone(tmp_path):
    async with backends("one") as made, gateway(tmp_path / "g") as nginx:
        wish = table(
            host(
                route("good", "/good"),
                route("tls", "/tls", "tls"),
                route("regex", PathMatch(PathKind.REGEX, "/x(?P<a>")),
                route("long", "/" + "x" * 5000),
                route("control", "/a\nb"),
                route("header", "/header", filters=Filters(request_headers=HeaderChanges(set=(("x a", "b"),)))),
                route("condition", "/good", conditions=(Condition(Part.HEADER, How.REGEX, "a", "("),)),
            ),
            clusters=(
                "one",
                Cluster("tls", Endpoints("one"), tls=UpstreamTls("x", authorities=b"-----BEGIN NONSENSE", ciphers="NOTHING")),
            ),
        )
        await nginx.serves(wish, {"one": (made["one"].member,)})
        assert 200 == (await nginx.get("/good"))[0]
        assert (500, 500) == ((await nginx.get("/tls"))[0], (await nginx.get("/header"))[0])
        assert {"ingress tls", "ingress regex", "ingress long", "ingress control", "ingress header", "ingress condition"} == {
            one.source for one in nginx.rejections
        }
        await nginx.serves(table(host(route("good", "/good"))), {})
        assert () == nginx.rejections


async def test_a_pattern_that_only_pcre_refuses(tmp_path):
    async with backends("one") as made, gateway(tmp_path / "g") as nginx:
        # More than an octet: this PCRE is not told that paths are UTF-8.
        bad = route("bad", PathMatch(PathKind.REGEX, r"/x\x{10FFFF}"))
        await nginx.serves(table(host(bad, route("good", "/good"))), {"one": (made["one"].member,)})
        assert 200 == (await nginx.get("/good"))[0]
        assert [("ingress bad", True)] == [(one.source, one.reason.startswith("pattern ")) for one in nginx.rejections]


async def test_nothing_that_is_written_becomes_configuration(tmp_path):
    """Every text of the table is hostile, and the neighbours go on."""
    async with backends("one") as made, gateway(tmp_path / "g") as nginx:
        for number, evil in enumerate((EVIL, EVIL.replace("\n", "").replace("\r", ""), "$evil", "${")):
            wish = table(
                host(
                    route("good", "/good"),
                    route(evil, "/name"),
                    route("path", PathMatch(PathKind.EXACT, "/" + evil)),
                    route("host", "/host", filters=Filters(host=evil)),
                    route("set", "/set", filters=Filters(request_headers=HeaderChanges(set=(("x-evil", evil),)))),
                    route("response", "/response", filters=Filters(response_headers=HeaderChanges(set=(("x-evil", evil),)))),
                    route("basic", "/basic", filters=Filters(basic_auth=BasicAuth(evil, ((evil, evil),)))),
                    route("answer", "/answer", action=Answer(200, evil, evil)),
                    route("cluster", "/cluster", evil),
                    route("condition", "/good", conditions=(Condition(Part.HEADER, How.EXACT, evil, evil),)),
                ),
                host(route("other host"), hosts=(evil,)),
                clusters=("one", Cluster(evil, Endpoints(evil))),
                certificates={evil: certificate("x.test")},
            )
            await nginx.serves(wish, {"one": (made["one"].member,), evil: (made["one"].member,)})
            assert 200 == (await nginx.get("/good"))[0], number
            assert 200 == (await nginx.get("/name"))[0], number
            assert 200 == (await nginx.get("/cluster"))[0], number
            assert (401 if evil.isprintable() else 500) == (await nginx.get("/basic"))[0], number
            if evil.isprintable():
                assert evil == (await nginx.seen("/set"))["headers"]["x-evil"]
                assert evil == (await nginx.get("/response"))[1]["x-evil"]
                assert evil == (await nginx.get("/answer"))[2]


async def test_a_broken_certificate_is_replaced_by_the_spare_one(tmp_path):
    async with backends("one") as made, gateway(tmp_path / "g") as nginx:
        good = certificate("good.test")
        broken = Certificate(good.chain, certificate("other.test").key, source="secret broken")
        hosts = (host(route("all"), hosts=("good.test", "bad.test")),)
        await nginx.serves(table(*hosts, certificates={"good.test": good, "bad.test": broken}), {"one": (made["one"].member,)})
        assert (Rejection("secret broken", "the key is not the certificate's"),) == nginx.rejections
        assert "CN=good.test" == await nginx.subject("good.test")
        assert "Mooring" in await nginx.subject("bad.test")


async def test_broken_client_authorities_close_their_host(tmp_path):
    async with backends("one") as made, gateway(tmp_path / "g") as nginx:
        hosts = (host(route("closed"), hosts=("closed.test",)), host(route("open"), hosts=("open.test",)))
        chains = (
            Chain(("closed.test",), hosts, Terminate("c", ClientCertificates(b"nonsense"))),
            Chain(("open.test",), hosts, Terminate("c")),
        )
        wish = table(*hosts, chains=chains, certificates={"c": certificate("c.test")})
        await nginx.serves(wish, {"one": (made["one"].member,)})
        statuses = []
        async with aiohttp.ClientSession() as session:
            for name in ("closed.test", "open.test"):
                url = f"https://{ADDRESS}:{nginx.https_port}/"
                async with session.get(url, headers={"Host": name}, server_hostname=name, ssl=False) as answer:
                    statuses.append(answer.status)
        assert [500, 200] == statuses
        assert ["host of closed.test"] == [one.source for one in nginx.rejections]
