"""The audit log as a file: every event a line, rotated, bounded; and what one request leaves in it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from http_lab import MAX_BODY, Client, small_core
from structlog.testing import capture_logs

from mooring.apiserver import audit
from mooring.apiserver.contract import Answer, Ask, Env, Outcome, Question, Request, Settings
from mooring.edges.http import audit as audit_log
from mooring.edges.http import server_exchange
from mooring.edges.http.audit import AuditLog
from mooring.edges.http.auditing import Auditing
from mooring.edges.http.server import ApiServer
from mooring.edges.http.sockets import listener
from mooring.edges.memory.store import MemoryStore
from mooring.store.snapshot import Snapshot


@asynccontextmanager
async def audited(policy: audit.Policy, path: Path) -> AsyncIterator[Client]:
    """A client of a server that writes its events to `path`; afterwards they are there."""
    log = AuditLog(path)
    auditing = Auditing(policy, log, lambda: datetime(2026, 1, 1, tzinfo=UTC))
    server = ApiServer(small_core, MemoryStore(), Settings(max_body=MAX_BODY), tls=None, auditing=auditing)
    sock = listener("127.0.0.1", 0)
    await server.start([sock])
    client = Client(*await asyncio.open_connection(*sock.getsockname()))
    yield client
    client.writer.transport.abort()
    await server.stop(grace=0)
    log.close()


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def test_every_event_is_a_line_in_order(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.log")
    for number in range(1000):
        log.write(b"%d" % number)
    log.close()
    assert [str(number) for number in range(1000)] == lines(tmp_path / "audit.log")


def test_a_full_file_is_rotated_and_old_ones_go(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    for number in range(5):  # one log after the other: each writes its line by itself
        log = AuditLog(path, max_size=1, backups=2)
        log.write(b"%d" % number * 700_000)
        log.close()
    assert ["audit.log", "audit.log.1", "audit.log.2"] == sorted(each.name for each in tmp_path.iterdir())
    assert ["4", "3", "2"] == [lines(tmp_path / name)[0][0] for name in ("audit.log", "audit.log.1", "audit.log.2")]


def test_what_does_not_fit_is_counted(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(audit_log, "MAX_WAITING", 100)
    with capture_logs() as told:
        log = AuditLog(tmp_path / "audit.log")
        log.write(b"x" * 200)
        log.close()
    assert (1, []) == (log.lost, lines(tmp_path / "audit.log"))
    assert [("audit events were lost", 1)] == [(each["event"], each["events"]) for each in told]


async def test_a_request_leaves_its_events(tmp_path: Path) -> None:
    policy = audit.policy({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [
        {"level": "None", "nonResourceURLs": ["/warn"]},
        {"level": "Metadata"},
    ]})  # fmt: skip
    async with audited(policy, tmp_path / "audit.log") as client:
        await client.ask("GET", "/whoami?x=1")
        await client.ask("GET", "/warn")
        await client.ask("GET", "/broken")
    events = [json.loads(line) for line in lines(tmp_path / "audit.log")]
    assert [
        ("/whoami?x=1", "RequestReceived", None),
        ("/whoami?x=1", "ResponseComplete", 200),
        ("/broken", "RequestReceived", None),
        ("/broken", "Panic", 500),
        ("/broken", "ResponseComplete", 500),
    ] == [(event["requestURI"], event["stage"], event.get("responseStatus", {}).get("code")) for event in events]
    assert len({event["auditID"] for event in events}) == 2
    assert {"system:anonymous"} == {event["user"]["username"] for event in events}


async def test_a_credential_that_is_not_good_leaves_an_event(tmp_path: Path) -> None:
    """With nobody in it, as upstream's; also when its body never came."""
    policy = audit.policy({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [
        {"level": "None", "users": ["system:anonymous"]}, {"level": "None", "nonResourceURLs": ["/warn"]}, {"level": "Request"},
    ]})  # fmt: skip
    async with audited(policy, tmp_path / "audit.log") as client:
        await client.ask("POST", "/api/v1/namespaces/default/pods", b"{}", "Authorization: Bearer x")
        await client.ask("GET", "/warn", b"", "Authorization: Bearer x")
        await client.ask("GET", "/whoami", b"", "Authorization: Negotiate x")
        client.writer.write(b"POST /late HTTP/1.1\r\nHost: a\r\nAuthorization: Basic x\r\nContent-Length: 5\r\n\r\n")
        await client.answer()
    async with audited(policy, tmp_path / "audit.log") as client:
        protocols = "Sec-WebSocket-Protocol: base64url.bearer.authorization.k8s.io.c2VjcmV0, x"
        await client.ask("GET", "/whoami", b"", "Connection: Upgrade", "Upgrade: websocket", protocols)
    assert "c2VjcmV0" not in (tmp_path / "audit.log").read_text()
    events = [json.loads(line) for line in lines(tmp_path / "audit.log")]
    tried = ("attempted: bearer", "no credentials provided", "attempted: basic", "no credentials provided")
    assert [(f"Authentication failed, {each}", 401) for each in tried] == [
        (event["responseStatus"]["message"], event["responseStatus"]["code"]) for event in events
    ]
    first = events[0]
    assert ("ResponseStarted", {}, "create") == (first["stage"], first["user"], first["verb"])
    assert "requestObject" not in first


def test_a_file_that_cannot_be_rotated_is_written_to_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "audit.log.1" / "in the way").mkdir(parents=True)
    log = AuditLog(tmp_path / "audit.log", max_size=1, backups=1)
    for number in range(4):
        log.write(b"%d" % number * 700_000)
        while log._size or log._waiting:
            pass
    log.close()
    assert (0, ["0", "1", "2", "3"]) == (log.lost, [line[0] for line in lines(tmp_path / "audit.log")])


async def test_a_client_that_goes_away_leaves_its_events(tmp_path: Path) -> None:
    """Or whoever closes the connection in time would do what no log tells of."""
    policy = audit.policy({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
                           "rules": [{"level": "Metadata"}]})  # fmt: skip
    asked = asyncio.Event()

    async def inquire(question: Question) -> Answer:
        asked.set()
        return await asyncio.Event().wait()  # type: ignore[return-value]

    def ask(request: Request, snapshot: Snapshot, env: Env) -> Outcome:
        return Ask((Question("https://x", ("x", 1), "x", b"", b"", 1.0),))

    log = AuditLog(tmp_path / "audit.log")
    auditing = Auditing(policy, log, lambda: datetime(2026, 1, 1, tzinfo=UTC))
    server = ApiServer(ask, MemoryStore(), Settings(max_body=MAX_BODY), tls=None, auditing=auditing, inquire=inquire)
    sock = listener("127.0.0.1", 0)
    await server.start([sock])
    client = Client(*await asyncio.open_connection(*sock.getsockname()))
    client.send("GET", "/whoami")
    await asked.wait()
    client.writer.transport.abort()
    await server.stop(grace=60)
    log.close()
    (event,) = [json.loads(line) for line in lines(tmp_path / "audit.log")]
    assert ("ResponseComplete", "/whoami", False) == (event["stage"], event["requestURI"], "responseStatus" in event)


async def test_questions_that_never_end_do(monkeypatch) -> None:
    """A webhook that is asked something new each time, because the object changes meanwhile, holds nobody for ever."""
    monkeypatch.setattr(server_exchange, "ASKING", 0.05)

    async def inquire(question: Question) -> Answer:
        await asyncio.sleep(0.001)
        return Answer(200)

    def ask(request: Request, snapshot: Snapshot, env: Env) -> Outcome:
        return Ask((Question("https://x", ("x", 1), "x", b"", b"%d" % len(env.answers), 1.0),))

    server = ApiServer(ask, MemoryStore(), Settings(max_body=MAX_BODY), tls=None, inquire=inquire)
    sock = listener("127.0.0.1", 0)
    await server.start([sock])
    client = Client(*await asyncio.open_connection(*sock.getsockname()))
    status, body = await client.ask("GET", "/x")
    client.writer.transport.abort()
    await server.stop(grace=0)
    assert (504, True) == (status, b"did not complete within the allotted timeout" in body)
