"""A whole API server without a network: `handle` over the store's own State, committing what it decides."""

import json
import random
from datetime import UTC, datetime
from typing import Any

from mooring.apiserver.contract import Aside, Env, Request, Response, Settings, User, Write
from mooring.apiserver.handle import handle
from mooring.model.kinds import IP_ADDRESS, NAMESPACE, SERVICE, Kind
from mooring.store.records import Conflict
from mooring.store.state import State, check

ADMIN = User("admin", ("system:masters", "system:authenticated"))
NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
DUAL_STACK = ("10.96.0.0/16", "fd00:96::/112")
NODE_PORTS = "/allocations/nodeports/"

Document = dict[str, Any]


class Refused(Exception):
    """A Status that is no success: `code`, `message`, and `causes` as {field: message}, a field's messages joined by '; '."""

    def __init__(self, status: Document) -> None:
        super().__init__(status["message"])
        self.code, self.message = status["code"], status["message"]
        self.causes: dict[str, str] = {}
        for cause in status.get("details", {}).get("causes", ()):
            field = cause.get("field", "")
            self.causes[field] = "; ".join(filter(None, (self.causes.get(field), cause["message"])))


class Direct:
    """Creates, reads, updates and deletes as a client does, in namespace 'default'."""

    def __init__(
        self, service_cidrs: tuple[str, ...] = ("10.96.0.0/16",), node_ports: tuple[int, int] = (30000, 32767)
    ) -> None:
        self.state, self.warnings = State(), []
        self.settings = Settings(service_cidrs=service_cidrs, node_port_range=node_ports)
        self.env = Env(NOW, random.Random(7), self.settings)
        self.create(NAMESPACE, {"metadata": {"name": "default"}})

    def send(self, method: str, path: str, body: Any = None, content_type: str = "application/json", **query: str) -> Document:
        headers = {"content-type": content_type, "accept": "application/json"}
        data = b"" if body is None else json.dumps(body).encode()
        request = Request(method, path, tuple(query.items()), headers, data, ADMIN)
        for _ in range(10):
            outcome = handle(request, self.state, self.env)
            if isinstance(outcome, Write):
                check(outcome.txn)
                (decided,) = self.state.decide((outcome.txn,))
                if isinstance(decided, Conflict):
                    continue
                self.state.publish((decided,))
                outcome = outcome.respond(decided)
            elif isinstance(outcome, Aside):
                outcome = outcome.make()
            assert isinstance(outcome, Response)
            self.warnings = [value for name, value in outcome.headers if name.lower() == "warning"]
            answer = json.loads(outcome.body)
            if outcome.status >= 400:
                raise Refused(answer)
            return answer
        raise AssertionError("ten conflicts in a row, with nobody else writing")

    def create(self, kind: Kind, document: Document, **query: str) -> Document:
        return self.send("POST", kind.path("default"), document, **query)

    def get(self, kind: Kind, name: str) -> Document:
        return self.send("GET", kind.path("default", name))

    def update(self, kind: Kind, document: Document, subresource: str = "", **query: str) -> Document:
        path = kind.path("default", document["metadata"]["name"], subresource)
        return self.send("PUT", path, document, **query)

    def patch(self, kind: Kind, name: str, patch: Document, subresource: str = "") -> Document:
        path = kind.path("default", name, subresource)
        return self.send("PATCH", path, patch, "application/merge-patch+json")

    def delete(self, kind: Kind, name: str) -> Document:
        return self.send("DELETE", kind.path("default", name))

    def addresses(self) -> dict[str, str]:
        """Every claimed cluster IP and the Service that holds it."""
        records = [json.loads(record.value) for record in self.state.scan(IP_ADDRESS.prefix)]
        return {record["metadata"]["name"]: record["spec"]["parentRef"]["name"] for record in records}

    def node_ports(self) -> dict[int, str]:
        """Every claimed node port and the Service that holds it."""
        records = self.state.scan(NODE_PORTS)
        return {int(record.key.removeprefix(NODE_PORTS)): json.loads(record.value)["name"] for record in records}

    def services(self) -> list[Document]:
        return [json.loads(record.value) for record in self.state.scan(SERVICE.prefix)]


def service(name: str = "web", **spec: Any) -> Document:
    """A Service of one TCP port, 80, with `spec` over it; a value of None leaves the field out."""
    full = {"selector": {"app": name}, "ports": [{"port": 80}]} | spec
    return {"metadata": {"name": name}, "spec": {key: value for key, value in full.items() if value is not None}}
