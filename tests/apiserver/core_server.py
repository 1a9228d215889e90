"""The API core over a real State, without sockets: requests in, outcomes carried out as the HTTP edge does."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from urllib.parse import parse_qsl

from mooring.apiserver.authorization import bootstrap
from mooring.apiserver.contract import Answer as WebhookAnswer
from mooring.apiserver.contract import Aside, Ask, Env, Outcome, Question, Request, Response, Settings, User, Watch, Write
from mooring.apiserver.handle import handle
from mooring.edges.http.draws import Draws
from mooring.edges.http.server_channels import Channels
from mooring.store.records import Committed
from mooring.store.state import State

ADMIN = User("admin", ("system:masters", "system:authenticated"))
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"
CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"
REQUEST_ID = "6ba7b810-9dad-41d1-80b4-00c04fd430c8"


class Answer:
    """A response, decoded."""

    def __init__(self, response: Response) -> None:
        self.response = response
        self.status = response.status
        self.headers = response.headers

    @property
    def body(self) -> Any:
        return json.loads(self.response.body)

    @property
    def message(self) -> str:
        return self.body["message"]

    @property
    def warnings(self) -> list[str]:
        return [value for name, value in self.headers if name == "Warning"]


class Server:
    """One API server with the namespace `default`; time stands still unless `pass_time` moves it."""

    def __init__(self) -> None:
        self.state = State()
        self.rng = Random(7)
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.settings = Settings(token_signer=lambda claims: json.dumps(claims))
        self.asked: list[Question] = []
        self.rounds = 0
        self.notes: dict[str, str] = {}
        self.webhook: Callable[[Question], WebhookAnswer] = lambda question: WebhookAnswer(error="nobody listens")
        assert self.create("/api/v1/namespaces", {"metadata": {"name": "default"}}).status == 201

    def add_default_roles(self) -> None:
        for txn in bootstrap.missing(self.state, Env(self.now, self.rng, self.settings)):
            self.state.apply(txn)

    def pass_time(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def decide(
        self,
        method: str,
        url: str,
        body: Any = None,
        *,
        content_type: str = "application/json",
        accept: str = "application/json",
        user: User = ADMIN,
        headers: dict[str, str] | None = None,
    ) -> Outcome:
        """What the core decides, not carried out."""
        path, _, query = url.partition("?")
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"accept": accept} | ({"content-type": content_type} if data else {}) | (headers or {})
        request = Request(method, path, tuple(parse_qsl(query, keep_blank_values=True)), sent, data, user)
        draws, answers = Draws(self.rng), {}
        env = Env(self.now, draws, self.settings, lambda: self.now, answers, REQUEST_ID, self.notes)
        while isinstance(outcome := handle(request, self.state, env), Ask):
            self.asked += outcome.questions
            self.rounds += 1
            answers |= {question: self.webhook(question) for question in outcome.questions}
            draws.rewind()
        return outcome

    def send(self, method: str, url: str, body: Any = None, **options: Any) -> Answer:
        """Decided, committed, answered. A watch is an error here."""
        for _ in range(3):
            outcome = self.decide(method, url, body, **options)
            if isinstance(outcome, Write):
                done = self.state.apply(outcome.txn)
                if not isinstance(done, Committed):
                    continue
                outcome = outcome.respond(done)
            elif isinstance(outcome, Aside):
                outcome = outcome.make()
            assert isinstance(outcome, Response), outcome
            return Answer(outcome)
        raise AssertionError("a write conflicts with itself")

    def get(self, url: str, **options: Any) -> Answer:
        return self.send("GET", url, **options)

    def create(self, url: str, body: Any, **options: Any) -> Answer:
        return self.send("POST", url, body, **options)

    def put(self, url: str, body: Any, **options: Any) -> Answer:
        return self.send("PUT", url, body, **options)

    def patch(self, url: str, body: Any, content_type: str = MERGE, **options: Any) -> Answer:
        return self.send("PATCH", url, body, content_type=content_type, **options)

    def delete(self, url: str, body: Any = None, **options: Any) -> Answer:
        return self.send("DELETE", url, body, **options)

    def config_map(self, name: str, namespace: str = "default", **meta: Any) -> Answer:
        document = {"metadata": {"name": name, **meta}, "data": {"name": name}}
        return self.create(f"/api/v1/namespaces/{namespace}/configmaps", document)

    def pod(self, name: str, **spec: Any) -> Answer:
        document = {"metadata": {"name": name}, "spec": {"containers": [{"name": "main", "image": "echo"}], **spec}}
        return self.create(PODS, document)

    def node(self, name: str, address: str = "172.30.0.11") -> None:
        assert self.create("/api/v1/nodes", {"metadata": {"name": name}}).status == 201
        status = {"addresses": [{"type": "Hostname", "address": name}, {"type": "InternalIP", "address": address}]}
        assert self.patch(f"/api/v1/nodes/{name}/status", {"status": status}).status == 200

    def bind(self, pod: str, node: str) -> Answer:
        return self.create(f"{PODS}/{pod}/binding", {"target": {"kind": "Node", "name": node}})

    def watch(self, url: str, **options: Any) -> "Watching":
        outcome = self.decide("GET", url, **options)
        assert isinstance(outcome, Watch), outcome
        return Watching(self, outcome)


class Watching:
    """A watcher: `frames()` gives what it has been told since the last call."""

    def __init__(self, server: Server, watch: Watch) -> None:
        self.server, self.watch = server, watch
        self._at = watch.revision
        self._waiting = list(watch.initial)
        self._channels: Channels[Watching] = Channels()
        self._channels.add(watch.share, self)

    def frames(self) -> list[dict[str, Any]]:
        lines, self._waiting = self._waiting, []
        for event in self.server.state.since(self.watch.prefix, self._at):
            line = self.watch.encode(event)
            found = tuple(self._channels.hearing(event))
            assert found == (self,) or (not found and not line), "the index leaves out only who could tell nothing"
            lines += [line] if line else []
        self._at = self.server.state.revision
        assert all(line.endswith(b"\n") and line.count(b"\n") == 1 for line in lines)
        return [json.loads(line) for line in lines]

    def told(self) -> list[tuple[str, str]]:
        """(type, name) of each frame."""
        return [(frame["type"], frame["object"]["metadata"].get("name", "")) for frame in self.frames()]


def names(answer: Answer) -> list[str]:
    return [item["metadata"]["name"] for item in answer.body["items"]]
