"""What would this cluster answer, and what would it become? A copy of it in memory that can be asked and changed.

Requests meet the API server's own core, so defaults, refusals and allocations are the real ones. Reconcilers find a world in
it (control/settle.py). Nothing leaves the process, and the cluster itself hears of nothing.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from itertools import count
from random import Random
from typing import Any

from mooring.apiserver.contract import Env, Request, Response, Settings, Write
from mooring.apiserver.handle import handle
from mooring.apiserver.kinds.service_allocation import addresses_of, ip_address_document, node_port_key, ports_of
from mooring.apiserver.resources import resource_of
from mooring.app.connection import Refused
from mooring.control.cache import Cache
from mooring.control.reconciler import Apply, Change, Document, Key
from mooring.edges.http.rest import JSON, METHODS, status_error
from mooring.edges.memory.api import ADMINISTRATOR
from mooring.model.codec import decode, encode
from mooring.model.kinds import BY_KIND, IP_ADDRESS, SERVICE, STORED, Kind
from mooring.store.records import Committed, Event, Put, Record, Txn
from mooring.store.state import State

Objects = Mapping[Kind, Mapping[Key, Document]]
"""Everything there is at one moment. Documents are shared and never changed."""

BY_PREFIX = {kind.prefix: kind for kind in STORED}


class Client:
    """Asks a fork, as app/connection.py asks a server. Raises Refused."""

    def __init__(self, fork: "Fork") -> None:
        self._fork = fork

    def get(self, path: str) -> Document:
        return self.send("GET", path)

    def send(self, method: str, path: str, body: Any = None, *, content_type: str = JSON) -> Document:
        status, answer = self._fork.exchange(method, path, body, content_type)
        if status >= 400:
            raise Refused(status, answer.get("reason", ""), answer.get("message", ""), answer)
        return answer


class Fork:
    """`documents` are whole objects as a server lists them. `now` may be set; `changes` are those nobody has taken yet."""

    def __init__(self, documents: Iterable[Document], settings: Settings, now: datetime, rng: Random) -> None:
        self.now, self.rng = now, rng
        self._settings = settings
        self._caches = {kind: Cache[Document](kind, lambda document: document) for kind in STORED}
        self.changes: list[Change] = []
        records: dict[str, Record] = {}
        revisions = count(1)
        for document in documents:
            version = str(document["metadata"].get("resourceVersion", ""))
            revision = int(version) if version.isdigit() else next(revisions)
            (key, value), *claims = self._entries(document)
            records[key] = Record(key, value, revision, revision)
            for key, value in claims:
                # What the cluster itself says of an address counts, whichever comes first.
                records.setdefault(key, Record(key, value, revision, revision))
        self._state = State(records.values(), max((each.mod_revision for each in records.values()), default=0))
        self._hear(Event(each.mod_revision, each.key, each, None) for each in records.values())

    # What reconcilers read and do.

    @property
    def customs(self) -> tuple[Kind, ...]:
        """None: definitions are not read."""
        return ()

    @property
    def complete(self) -> bool:
        """Nothing is still to be listed."""
        return True

    def get(self, kind: Kind, namespace: str, name: str) -> Document | None:
        return self._caches[kind].get(namespace, name)

    def list(self, kind: Kind, namespace: str = "") -> Iterator[Document]:
        return self._caches[kind].list(namespace)

    def indexed(self, kind: Kind, index: str, value: str) -> Iterable[Document]:
        return self._caches[kind].indexed(index, value)

    def write(self, write: Apply) -> Document:
        """Raises ApiError."""
        collection = write.verb == "create" and not write.subresource
        path = write.kind.path(write.namespace, "" if collection else write.name, write.subresource)
        content_type = write.patch_type if write.verb == "patch" else JSON
        status, answer = self.exchange(METHODS[write.verb], path, write.body, content_type)
        if status >= 400:
            raise status_error(status, answer)
        return answer

    def take(self, document: Document) -> None:
        """Stores an object as it is, unasked: a real server has accepted it, whatever the core here thinks of it."""
        self._commit(Txn((), tuple(Put(key, value) for key, value in self._entries(document))))

    def objects(self) -> Objects:
        """What there is now."""
        return {
            kind: {(each["metadata"].get("namespace", ""), each["metadata"]["name"]): each for each in cache.list()}
            for kind, cache in self._caches.items()
        }

    def exchange(self, method: str, path: str, body: Any = None, content_type: str = JSON) -> tuple[int, Document]:
        """One request: the answer's status and document."""
        headers = {"accept": JSON, "content-type": content_type}
        request = Request(method, path, (), headers, b"" if body is None else encode(body), ADMINISTRATOR)
        outcome = handle(request, self._state, self._env())
        if isinstance(outcome, Write):
            outcome = outcome.respond(self._commit(outcome.txn))
        if not isinstance(outcome, Response):
            raise ValueError(f"{method} {path} needs a real server")
        answer = json.loads(bytes(outcome.body))
        return outcome.status, answer if isinstance(answer, dict) else {"items": answer}

    def _commit(self, txn: Txn) -> Committed:
        committed = self._state.apply(txn)
        assert isinstance(committed, Committed), "decided from this very state"
        self._hear(committed.events)
        return committed

    def _hear(self, events: Iterable[Event]) -> None:
        for event in events:
            kind = BY_PREFIX.get("/".join(event.key.split("/", 3)[:3]) + "/")
            record = event.record or event.previous
            if kind is None or record is None:
                continue
            document = decode(record.value)
            document["metadata"]["resourceVersion"] = str(event.revision)
            step = self._caches[kind].put(document) if event.record else self._caches[kind].remove(document)
            if step is not None:
                self.changes.append(Change(kind, *step))

    def _env(self) -> Env:
        return Env(self.now, self.rng, self._settings)

    def _entries(self, document: Document) -> Iterator[tuple[str, bytes]]:
        """The object's record, and those by which a Service holds its addresses and node ports."""
        kind = BY_KIND[(document["apiVersion"], document["kind"])]
        metadata = document["metadata"]
        yield kind.key(metadata.get("namespace", ""), metadata["name"]), resource_of(kind).store(document)
        if kind != SERVICE:
            return
        for address in addresses_of(document["spec"]):
            held = ip_address_document(address, "IPv6" if ":" in address else "IPv4", metadata, self._env())
            yield IP_ADDRESS.key("", address), encode(held)
        for port in ports_of(document["spec"]):
            owner = {field: metadata.get(field, "") for field in ("namespace", "name", "uid")}
            yield node_port_key(port), encode(owner)
