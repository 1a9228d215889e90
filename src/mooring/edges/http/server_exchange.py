"""What is done with one request: who asks, what does the core decide, and how is its outcome carried out?"""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from random import Random
from weakref import WeakValueDictionary

import structlog

from mooring.apiserver.authorization.impersonation import effective
from mooring.apiserver.contract import (
    ANONYMOUS,
    Answer,
    Aside,
    Ask,
    Env,
    Outcome,
    Proxy,
    Question,
    Request,
    Response,
    Settings,
    Unanswered,
    User,
    Watch,
    Write,
)
from mooring.apiserver.errors import StatusError
from mooring.apiserver.flow_control import level_of
from mooring.apiserver.paths import resource_target
from mooring.apiserver.pieces import Pieces
from mooring.apiserver.registry import registry
from mooring.edges.http.auditing import Auditing, Record
from mooring.edges.http.authn import Rejected, Verify, protocol_token
from mooring.edges.http.draws import Draws
from mooring.edges.http.server_connection import LAST_CHUNK, Connection
from mooring.edges.http.server_gzip import Gzip
from mooring.edges.http.server_metrics import Labels, Metrics, labels
from mooring.edges.http.server_parser import MAX_USER, Message, Room
from mooring.edges.http.server_proxy import Dial, carry
from mooring.edges.http.server_status import (
    CONTENDED,
    LATE,
    TOO_MANY,
    UNAUTHORIZED,
    bad_gateway,
    bad_request,
    internal,
    status,
)
from mooring.edges.http.server_watch import Hub
from mooring.edges.http.turns import Crowded, Flow, Turns
from mooring.edges.http.webhooks import Inquire, answers_to
from mooring.ports.store import Store
from mooring.store.errors import StorageError
from mooring.store.records import Committed, Compacted, FutureRevision
from mooring.store.snapshot import Snapshot

log = structlog.get_logger(__name__)

Handle = Callable[[Request, Snapshot, Env], Outcome]
"""apiserver.handle.handle."""
Refuse = Callable[[Request, Snapshot, Env], Response | None]
"""apiserver.handle.refusal."""

DECISIONS = 100
"""How often a write is decided again: each time another one won, so even a hundred writers of one object all get through."""
ASKING = 60.0
"""Seconds that all questions of one request to webhooks may take together (upstream: --request-timeout)."""
GZIP_FROM = 128 * 1024
"""Bytes. Upstream's threshold (responsewriters.defaultGzipThresholdBytes)."""


_now = partial(datetime.now, UTC)


class Exchange:
    """Answers messages of any connection."""

    def __init__(
        self,
        handle: Handle,
        store: Store,
        settings: Settings,
        verify: Verify | None,
        dial: Dial | None,
        hub: Hub,
        metrics: Metrics,
        inquire: Inquire | None = None,
        auditing: Auditing | None = None,
        refuse: Refuse | None = None,
        room: Room | None = None,
        now: Callable[[], datetime] = _now,
        rng: Random | None = None,
    ) -> None:
        self._handle, self._store, self._settings = handle, store, settings
        self._verify, self._dial, self._hub, self._metrics = verify, dial, hub, metrics
        self._inquire, self._auditing, self._now, self._rng = inquire, auditing, now, rng or Random()
        loop = asyncio.get_running_loop()
        self._turns = Turns(loop.time, loop.call_soon)
        self._gzip, self._refuse = Gzip(), refuse
        self._room, self._rooms = room or Room(), WeakValueDictionary[str, Room]()
        self._aside = asyncio.Lock()
        """One at a time: threads that compute share the processor with this one, and what many ask for is made once."""

    async def serve(self, connection: Connection) -> None:
        """Answers a connection's requests one after another, until it ends."""
        while message := await connection.next():
            started = time.perf_counter()
            kind = "readOnly" if message.method in ("GET", "HEAD") else "mutating"
            self._metrics.inflight[kind] += 1
            try:
                outcome, record = await self._outcome(connection, message)
            finally:
                self._metrics.inflight[kind] -= 1
            about = self._about(message)
            try:
                match outcome:
                    case Response():
                        await self._respond(connection, message, outcome)
                        self._metrics.answered(about, outcome.status, time.perf_counter() - started)
                    case Watch():
                        with self._metrics.longrunning(about, "WATCH").track_inprogress():
                            await self._watch(connection, message, outcome)
                    case Proxy():
                        with self._metrics.longrunning(about, "CONNECT").track_inprogress():
                            await self._proxy(connection, message, outcome)
            finally:  # a client that goes away leaves its trace, too
                if record:
                    record.complete(outcome if isinstance(outcome, Response) else None)
            if not connection.keeps_alive(message):
                return

    async def _outcome(self, connection: Connection, message: Message) -> tuple[Response | Watch | Proxy, Record | None]:
        """What is to be done with a request, and its record in the audit log if it has one."""
        try:
            user = self._user(connection, message)
        except Rejected as error:
            return self._unauthorized(connection, message, error), None
        request = _request(message, user)
        identity = _request_id(self._rng)
        record = None
        try:
            if self._auditing:
                record = self._auditing.begin(request, message.target, connection.peer, identity, self._store.snapshot)
            outcome = await self._decide(request, identity, record.notes if record else None)
        except asyncio.CancelledError:
            if record:
                record.abandoned()
            raise
        except StorageError as error:
            log.error("storage refused a write", why=str(error))
            return internal(str(error)), record
        except Exception as error:
            log.exception("request failed", method=request.method, path=request.path, user=user.name)
            response = internal(f"{type(error).__name__}: {error}")
            if record:
                record.panic(response)
            return response, record
        if message.path == "/metrics" and isinstance(outcome, Response) and outcome.status == 404:
            return self._metrics.response(), record  # the core knows who may read them, not what they say
        if record and not isinstance(outcome, Response):
            record.started()
        return outcome, record

    def judge(self, connection: Connection, message: Message) -> Response | Room:
        """The 401 or 403 that a request gets before its body is there; or the room of the user, when the body may come."""
        response, user = None, ANONYMOUS
        try:
            user = self._user(connection, message)
            response = self._refusal(connection, message, user)
        except Rejected as error:
            response = self._unauthorized(connection, message, error)
        except Exception:  # as it will again when it is decided, and then it has an answer
            log.exception("request failed", method=message.method, path=message.path)
        if response:
            self._metrics.answered(self._about(message), response.status, 0.0)
            return response
        return self._rooms.setdefault(user.name, Room(MAX_USER, self._room))

    def _about(self, message: Message) -> Labels:
        return labels(message.method, resource_target(message.path, registry(self._store.snapshot)))

    def _refusal(self, connection: Connection, message: Message, user: User) -> Response | None:
        request, identity, notes = _request(message, user), _request_id(self._rng), dict[str, str]()
        env = Env(self._now(), self._rng, self._settings, self._now, {}, identity, notes)
        response = self._refuse(request, self._store.snapshot, env) if self._refuse else None
        if response and self._auditing:
            record = self._auditing.begin(request, message.target, connection.peer, identity, self._store.snapshot)
            if record:
                record.notes.update(notes)
                record.complete(response)
        return response

    def _unauthorized(self, connection: Connection, message: Message, error: Rejected) -> Response:
        self._metrics.rejected_tokens.inc()
        log.info("bearer token rejected", why=str(error))
        if self._auditing:
            request, tried = _request(message, User("")), message.headers.get("authorization", "").partition(" ")[0]
            identity = _request_id(self._rng)
            self._auditing.failed(request, message.target, connection.peer, identity, self._store.snapshot, tried)
        return UNAUTHORIZED

    def _user(self, connection: Connection, message: Message) -> User:
        if connection.user:
            return connection.user
        scheme, _, token = message.headers.get("authorization", "").partition(" ")
        refused: Rejected | None = None
        if scheme:
            try:
                return self._holder(scheme, token.strip())
            except Rejected as error:
                refused = error
        if message.upgrade and (token := protocol_token(message.headers)):
            return self._holder("Bearer", token)
        if refused:
            raise refused
        return ANONYMOUS

    def _holder(self, scheme: str, token: str) -> User:
        if scheme.lower() != "bearer" or not self._verify:
            raise Rejected(f"authorization scheme {scheme[:20]!r} is not served")
        return self._verify(token, self._store.snapshot, self._now())

    async def _decide(self, request: Request, identity: str, notes: dict[str, str] | None) -> Response | Watch | Proxy:
        """The core's decision when the request's turn has come, its writes committed.

        A write that meets a conflict is decided again from what is true now.
        """
        user = _acting(request, self._store.snapshot)
        flow = self._turns.flow(level_of(user, request.path), user.name)
        try:
            if (turn := self._turns.claim(flow)) is not None:
                await turn
        except Crowded:
            return TOO_MANY
        deadline = 0.0
        for _ in range(DECISIONS):
            answers: dict[Question, Answer] = {}
            draws = Draws(self._rng)
            env = Env(self._now(), draws, self._settings, self._now, answers, identity, notes)
            outcome = self._handled(request, env, flow)
            while isinstance(outcome, Ask):
                deadline = deadline or asyncio.get_running_loop().time() + ASKING
                try:
                    async with asyncio.timeout_at(deadline):
                        answers |= await answers_to(outcome.questions, self._inquire)
                except TimeoutError:
                    return LATE
                draws.rewind()
                outcome = self._handled(request, env, flow)
            if isinstance(outcome, Aside):
                async with self._aside:
                    return await asyncio.to_thread(outcome.make)
            if not isinstance(outcome, Write):
                return outcome
            result = await self._store.commit(outcome.txn)
            if isinstance(result, Committed):
                return outcome.respond(result)
        return CONTENDED

    def _handled(self, request: Request, env: Env, flow: Flow) -> Outcome:
        started = time.perf_counter()
        if env.notes:
            env.notes.clear()  # of a decision that does not stand
        try:
            return self._handle(request, self._store.snapshot, env)
        finally:
            self._turns.spend(flow, time.perf_counter() - started)

    async def _respond(self, connection: Connection, message: Message, response: Response) -> None:
        if (isinstance(response.body, Pieces) or len(response.body) >= GZIP_FROM) and _accepts_gzip(message):
            body = await self._gzip.pack(response.body)
            headers = (*response.headers, ("Content-Encoding", "gzip"), ("Vary", "Accept-Encoding"))
            response = Response(response.status, body, response.content_type, headers)
        await connection.respond(message, response)

    async def _watch(self, connection: Connection, message: Message, watch: Watch) -> None:
        decided = self._store.snapshot.revision
        try:
            if not message.http_1_1:
                await connection.respond(message, bad_request("watch needs HTTP/1.1"))
                return
            replay = await self._replayed(watch)
            since = self._store.snapshot.since(watch.rests_on, decided) if watch.rests_on else ()
            outdated = any(event.key == watch.rests_on and watch.outdated(event) for event in since)
        except Compacted as error:
            await connection.respond(
                message, status(410, "Expired", f"too old resource version: {error.asked} ({error.oldest})")
            )
        except FutureRevision as error:
            text = f"Too large resource version: {error.asked}, current: {error.current}"
            await connection.respond(message, status(504, "Timeout", text, retry_after=1))
        else:
            headers = (("Content-Type", watch.content_type),)
            if message.method == "HEAD":
                connection.begin(message, 200, headers)
                return
            connection.start(message, 200, headers)
            if outdated:  # while a webhook was asked: the client watches anew, as those do who were attached already
                connection.write(LAST_CHUNK)
                return
            await self._hub.attach(watch, connection, replay).done

    async def _replayed(self, watch: Watch) -> list[bytes]:
        """What has happened since the watch was decided. Nothing is awaited after the last look at the store.

        Raises Compacted or FutureRevision.
        """
        while True:
            try:
                return self._hub.replay(watch)
            except Unanswered as unknown:
                watch.answers.update(await answers_to(unknown.questions, self._inquire))

    async def _proxy(self, connection: Connection, message: Message, proxy: Proxy) -> None:
        if self._dial:
            await carry(connection, message, proxy, self._dial)
        else:
            await connection.respond(message, bad_gateway("this API server reaches no kubelets"))


def _request(message: Message, user: User) -> Request:
    method = "GET" if message.method == "HEAD" else message.method
    return Request(method, message.path, message.query, message.headers, message.body, user)


def _acting(request: Request, snapshot: Snapshot) -> User:
    """Whose turn a request takes: that of the user it acts as (upstream: impersonation comes before priority and fairness)."""
    try:
        return effective(request, snapshot).user
    except StatusError:  # it may not, as it will be told when it is decided
        return request.user


def _request_id(rng: Random) -> str:
    """A random UUID, version 4 (RFC 9562)."""
    digits = f"{rng.getrandbits(122):031x}"
    return f"{digits[:8]}-{digits[8:12]}-4{digits[12:15]}-{'89ab'[int(digits[30], 16) & 3]}{digits[15:18]}-{digits[18:30]}"


def _accepts_gzip(message: Message) -> bool:
    """RFC 9110 12.5.3, as far as clients use it: gzip named, and not with q=0."""
    for offer in message.headers.get("accept-encoding", "").split(","):
        coding, _, parameters = offer.partition(";")
        if coding.strip().lower() == "gzip":
            return parameters.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False
