"""Does a real NGINX do on the way what the table's filters and policies say? One gateway for all of them."""

import asyncio
import base64
import contextlib
import json

import crypt_forms
import pytest
import pytest_asyncio
from nginx_gateway import Backend, Gateway, backends, gateway, host, route, table

from mooring.routing.table import (
    Access,
    Answer,
    BasicAuth,
    CookieAffinity,
    Cors,
    ErrorPages,
    ExternalAuth,
    Filters,
    Forward,
    HashKey,
    HashOn,
    HeaderChanges,
    Mirror,
    PathKind,
    PathMatch,
    PathRewrite,
    Policy,
    RateLimit,
    Redirect,
    RegexRewrite,
    Retry,
    Template,
    Variable,
    WeightedCluster,
)


def header_route():
    return route(
        "headers",
        "/headers",
        filters=Filters(
            host="other.test",
            request_headers=HeaderChanges(
                set=(
                    ("x-set", 'a"b;{c}$d\\'),
                    ("x-template", Template(("<", Variable.REQUEST_URI, ">", Variable.CLIENT_ADDRESS))),
                ),
                add=(("x-add", "second"),),
                remove=("x-gone", "user-agent"),
            ),
            response_headers=HeaderChanges(set=(("x-answer", "$host;}"),), add=(("x-backend", "more"),), remove=("x-auth",)),
        ),
    )


ROUTES = (
    header_route(),
    route("prefix", "/old/path", filters=Filters(rewrite=PathRewrite("/new"))),
    route("root", "/strip/", filters=Filters(rewrite=PathRewrite("/"))),
    route("whole", "/whole", filters=Filters(rewrite=PathRewrite("/all", whole=True))),
    route(
        "regex",
        PathMatch(PathKind.REGEX_PREFIX, "/api(/|$)(.*)", ignore_case=True),
        filters=Filters(rewrite=RegexRewrite("^(?:/api(/|$)(.*))(?s:.*)$", "/v1/\\2", ignore_case=True)),
    ),
    route("deny", "/deny", filters=Filters(access=Access(denied=("127.0.0.0/8",)))),
    route("allow", "/allow", filters=Filters(access=Access(allowed=("127.0.0.0/8",)))),
    route("elsewhere", "/elsewhere", filters=Filters(access=Access(allowed=("10.0.0.0/8",)))),
    route(
        "denied redirect",
        "/denied-redirect",
        action=Redirect(302, host="x.test"),
        filters=Filters(access=Access(denied=("127.0.0.0/8",))),
    ),
    route("basic", "/basic", filters=Filters(basic_auth=BasicAuth("a $realm", crypt_forms.USERS))),
    route("nobody", "/nobody", filters=Filters(basic_auth=BasicAuth("nobody", ()))),
    route(
        "any", "/any", filters=Filters(basic_auth=BasicAuth("r", ()), access=Access(allowed=("127.0.0.0/8",)), satisfy_any=True)
    ),
    route(
        "auth",
        "/auth",
        filters=Filters(
            external_auth=ExternalAuth(
                "two",
                "auth.test",
                Template(("/check?status=200&from=", Variable.METHOD)),
                take=("X-Auth",),
                give=(("x-given", "v"),),
            )
        ),
    ),
    route(
        "auth no", "/auth-no", filters=Filters(external_auth=ExternalAuth("two", "auth.test", Template(("/check?status=403",))))
    ),
    route(
        "sign in",
        "/sign-in",
        filters=Filters(
            external_auth=ExternalAuth(
                "two",
                "auth.test",
                Template(("/check?status=401",)),
                sign_in=Template(("https://sign.in/?rd=", Variable.ESCAPED_REQUEST_URI)),
            )
        ),
    ),
    route("auth gone", "/auth-gone", filters=Filters(external_auth=ExternalAuth("missing", "auth.test", Template(("/",))))),
    route(
        "cors",
        "/cors",
        filters=Filters(cors=Cors(("https://*.ok.test", "https://one.test"), ("GET", "PUT"), ("X-A",), ("X-B",))),
    ),
    route("rate", "/rate", filters=Filters(rate=RateLimit(per_second=1, burst=0, status=429))),
    route("exempt", "/exempt", filters=Filters(rate=RateLimit(per_second=1, burst=0, exempt=("127.0.0.0/8",)))),
    route("mirror", "/mirror", filters=Filters(mirrors=(Mirror("two", host="copy.test"),))),
    route("pages", "/pages", filters=Filters(error_pages=ErrorPages((404, 503), "two", (("x-namespace", "ns"),)))),
    route("no pages", "/empty", "none", filters=Filters(error_pages=ErrorPages((503,), "two"))),
    route("body", "/body", policy=Policy(body=1000)),
    route("any body", "/any-body", policy=Policy(body=0, buffer_request=False, buffer_response=False)),
    route("slow", "/slow", policy=Policy(read=0.2, retry=Retry(attempts=1))),
    route("try again", "/try-again", "half"),
    route(
        "cookie", "/cookie", action=Forward((WeightedCluster("both"),), CookieAffinity("stick", 60, "/cookie", same_site="Lax"))
    ),
    route("hash", "/hash", action=Forward((WeightedCluster("both"),), hash_on=(HashKey(HashOn.HEADER, "x-user"),))),
    route("answer", "/answer", action=Answer(418, "tea {}\n", "text/plain; charset=utf-8")),
    route("url", "/url", action=Redirect(301, url=Template(("https://", Variable.HOST, Variable.REQUEST_URI)))),
    route("moved", "/moved", action=Redirect(302, host="new.test", path=PathRewrite("/there"))),
    route("zero", "/zero", (WeightedCluster("one", 0),)),
    route("no cluster", "/no-cluster", "missing"),
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(tmp_path_factory):
    async with backends("one", "two") as made, gateway(tmp_path_factory.mktemp("nginx") / "g") as nginx:
        one, two = (made[name].member for name in ("one", "two"))
        dead = type(one)(one.address, 1)
        wish = table(host(*ROUTES), clusters=("one", "two", "none", "half", "both"))
        await nginx.serves(wish, {"one": (one,), "two": (two,), "none": (), "half": (dead, one), "both": (one, two)})
        assert () == nginx.rejections[1:]
        yield nginx, made


pytestmark = pytest.mark.asyncio(loop_scope="module")
Served = tuple[Gateway, dict[str, Backend]]


async def test_headers(served: Served):
    seen = await served[0].seen("/headers?q=1", headers={"X-Gone": "1", "X-Add": "first", "X-Set": "0"})
    headers = seen["headers"]
    assert ('a"b;{c}$d\\', "</headers?q=1>127.0.0.1", "other.test") == (
        headers["x-set"],
        headers["x-template"],
        headers["host"],
    )
    assert "x-gone" not in headers and "user-agent" not in headers
    assert "second" in headers["x-add"]
    _, answer, _ = await served[0].get("/headers")
    assert "$host;}" == answer["x-answer"]
    assert "x-auth" not in answer


async def test_a_clients_word_about_itself_is_not_believed(served: Served):
    said = {
        "Upgrade": "h2c",
        "HTTP2-Settings": "x",
        "ssl-client-verify": "SUCCESS",
        "Forwarded": "for=9.9.9.9",
        "X-Scheme": "https",
    }
    headers = (await served[0].seen("/allow", headers=said))["headers"]
    assert {"x-scheme": "http"} == {name.lower(): headers[name.lower()] for name in said if name.lower() in headers}
    headers = (
        await served[0].seen(
            "/allow", headers={"X-Forwarded-For": "9.9.9.9", "X-Forwarded-Proto": "https", "X-Real-IP": "9.9.9.9"}
        )
    )["headers"]
    assert ("127.0.0.1", "http", "127.0.0.1") == (
        headers["x-forwarded-for"],
        headers["x-forwarded-proto"],
        headers["x-real-ip"],
    )


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/old/path/x?y=1", "/new/x?y=1"),
        ("/old/path", "/new"),
        ("/strip/a/b", "/a/b"),
        ("/strip", "/"),
        ("/whole/x", "/all"),
        ("/api/users/7?a=b", "/v1/users/7?a=b"),
        ("/API/users", "/v1/users"),
        ("/api", "/v1/"),
    ],
)
async def test_rewrites(served: Served, path: str, expected: str):
    assert expected == (await served[0].seen(path))["path"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/deny", 403),
        ("/allow", 200),
        ("/elsewhere", 403),
        ("/denied-redirect", 403),
        ("/basic", 401),
        ("/nobody", 401),
        ("/any", 200),
        ("/auth-no", 403),
        ("/auth-gone", 500),
        ("/answer", 418),
        ("/zero", 503),
        ("/no-cluster", 503),
        ("/empty/", 200),
        ("/slow?slow", 504),
        ("/try-again", 200),
        ("/%2e%2e/allow", 400),
        ("/x/%2e%2e/allow", 200),
        ("/allow%2f..%2fdeny", 400),
        ("/allow%00", 400),
        ("/x/..;/deny", 400),
        ("/x/..%3b/deny", 400),
        ("/x/..//deny", 403),
        ("/:mooring:/close", 404),
        ("/.//:mooring:/auth/1", 404),
        ("//:mooring:/unclean", 404),
    ],
)
async def test_statuses(served: Served, path: str, status: int):
    assert status == (await served[0].get(path))[0]


@pytest.mark.parametrize("name", [name for name, _ in crypt_forms.USERS])
async def test_basic_authentication(served: Served, name: str):
    def word(password: str) -> dict[str, str]:
        return {"Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}

    assert 200 == (await served[0].get("/basic", headers=word("secret")))[0]
    status, headers, _ = await served[0].get("/basic", headers=word("wrong"))
    assert (401, 'Basic realm="a $realm"') == (status, headers["www-authenticate"])


async def test_external_authentication(served: Served):
    nginx, made = served
    before = made["two"].seen
    assert "yes" == (await nginx.seen("/auth", method="POST", data=b"x" * 100))["headers"]["x-auth"]
    assert before + 1 == made["two"].seen
    status, headers, _ = await nginx.get("/sign-in?a=b&c")
    assert (302, "https://sign.in/?rd=%2Fsign-in%3Fa%3Db%26c") == (status, headers["location"])


async def test_cors(served: Served):
    asking = {"Origin": "https://x.ok.test", "Access-Control-Request-Method": "PUT"}
    status, headers, _ = await served[0].get("/cors", method="OPTIONS", headers=asking)
    assert (204, "https://x.ok.test", "GET, PUT", "true") == (
        status,
        headers["access-control-allow-origin"],
        headers["access-control-allow-methods"],
        headers["access-control-allow-credentials"],
    )
    _, headers, _ = await served[0].get("/cors", headers={"Origin": "https://one.test"})
    assert ("https://one.test", "X-B") == (headers["access-control-allow-origin"], headers["access-control-expose-headers"])
    for origin in ("https://a.b.ok.test", "https://ok.test", "https://evil.test", "https://x.ok.test.evil"):
        _, headers, _ = await served[0].get("/cors", headers={"Origin": origin})
        assert "access-control-allow-origin" not in headers


async def test_rates(served: Served):
    limited: set[int] = set()

    async def both() -> bool:
        """Of questions that come together: one after the other they might be seconds apart."""
        limited.update(status for status, *_ in await asyncio.gather(*(served[0].get("/rate") for _ in range(4))))
        return len(limited) > 1

    await served[0].until(both)
    assert {200, 429} == limited
    assert {200} == {(await served[0].get("/exempt"))[0] for _ in range(4)}


async def test_mirror(served: Served):
    nginx, made = served
    before = made["two"].seen
    assert "one" == (await nginx.seen("/mirror", method="POST", data=b"hello"))["name"]
    await nginx.until(lambda: made["two"].seen == before + 1)


async def test_error_pages(served: Served):
    for path, code in (("/pages?status=404", "404"), ("/empty/x", "503")):
        status, _, body = await served[0].get(path)
        assert 200 == status
        assert f'"x-code": "{code}"' in body
        assert '"path": "/"' in body


async def test_bodies(served: Served):
    assert [200, 413] == [(await served[0].get("/body", method="POST", data=b"x" * size))[0] for size in (1000, 1001)]
    assert 3_000_000 == (await served[0].seen("/any-body", method="POST", data=b"x" * 3_000_000))["body"]


async def test_a_cookie_keeps_its_endpoint(served: Served):
    _, headers, body = await served[0].get("/cookie")
    cookie = headers["set-cookie"]
    assert "Max-Age=60" in cookie and "Path=/cookie" in cookie and "SameSite=Lax" in cookie and "HttpOnly" in cookie
    with_it = {"Cookie": cookie.split(";")[0]}
    name = body.split('"')[3]
    answers = [await served[0].get("/cookie", headers=with_it) for _ in range(6)]
    assert {name} == {answer[2].split('"')[3] for answer in answers}
    assert not any("set-cookie" in answer[1] for answer in answers)


async def test_a_hash_keeps_its_endpoint_and_spreads(served: Served):
    by_user = {
        user: {(await served[0].seen("/hash", headers={"X-User": user}))["name"] for _ in range(3)}
        for user in map(str, range(12))
    }
    assert {1} == {len(names) for names in by_user.values()}
    assert {"one", "two"} == set.union(*by_user.values())


@pytest.mark.parametrize(
    ("path", "location"),
    [("/url/x?y=z", "https://a.test/url/x?y=z"), ("/moved/x?y=z", "http://new.test/there/x?y=z")],
)
async def test_redirects(served: Served, path: str, location: str):
    assert location == (await served[0].get(path))[1]["location"]


async def test_access_log(served: Served):
    nginx, _ = served
    await nginx.get("/allow?log=1", headers={"X-Request-ID": "my-own-id", "User-Agent": 'a"\\\n'.strip()})

    def line() -> dict | None:
        for text in nginx.log.read_text().splitlines():
            with contextlib.suppress(ValueError):
                if (entry := json.loads(text))["request_id"] == "my-own-id":
                    return entry
        return None

    await nginx.until(line)
    entry = line()
    assert ("/allow?log=1", 200, "allow", "one", 'a"\\') == tuple(
        entry[key] for key in ("path", "status", "route", "cluster", "user_agent")
    )
