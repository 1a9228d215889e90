"""What goes into the API server's core and what may come out?

The core is one pure function, `handle(request, snapshot, env) -> Outcome`. The HTTP edge carries the outcome out. A `Write`
that meets a Conflict is decided again from the new snapshot (the core decides whether that becomes a retry, a 409 or another
choice of address), so uniqueness rests on the store's transactions alone and holds with several API servers on one etcd.
What the core must ask of others, webhooks, it raises as Unanswered questions: the edge sends them and decides the same request
again, with the answers in `Env.answers` and the same `now` and random draws, so that the same questions come up.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping
from datetime import datetime
from typing import Any

from msgspec import Struct

from mooring.alloc.rng import Rng
from mooring.apiserver.pieces import Pieces
from mooring.store.records import Committed, Event, Record, Txn
from mooring.store.snapshot import Snapshot


class User(Struct, frozen=True):
    """Who asks: from a client certificate (CN, O), a bearer token, or anonymous."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: dict[str, tuple[str, ...]] = {}


ANONYMOUS = User("system:anonymous", ("system:unauthenticated",))


class Request(Struct, frozen=True):
    """Header names are lower case; `query` keeps order and repeats; `path` is percent-decoded, without the query."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    headers: dict[str, str] = {}
    body: bytes = b""
    user: User = ANONYMOUS


class Response(Struct, frozen=True):
    status: int
    body: bytes | Pieces
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


class Write(Struct, frozen=True):
    """Commit `txn`, then answer with `respond(committed)`. On Conflict, call the core again with the new snapshot."""

    txn: Txn
    respond: Callable[[Committed], Response]


class Facet(Struct, frozen=True):
    """A value that an object must have, before or after a change, for a watcher to be told of the change.

    `value` reads it from a record; it is the same function for facets with an equal `of_what`, a label or a field.
    """

    of_what: Hashable
    wanted: str
    value: Callable[[Record], str | None]


class Watch(Struct, frozen=True):
    """Stream frames: first `initial` (lines, encoded as they are asked for, once), then `encode(event)` for each event under
    `prefix` after `revision`.

    `encode` returns the line to send, or None when the watcher's selectors do not see the event. `bookmark(revision)` makes a
    bookmark line, or None when the client did not ask for them. `share` is equal for watchers whose lines are identical, so the
    edge encodes once. `timeout` in seconds. `encode` may raise Unanswered: the edge puts what it learns into `answers`, encodes
    the same event again, and forgets the answers afterwards. When the record at `rests_on` changes in a way that `outdated`
    tells, the stream ends, and its client watches anew. An event that does not have the `facet` makes no line.
    """

    prefix: str
    revision: int
    initial: Iterable[bytes]
    encode: Callable[[Event], bytes | None]
    bookmark: Callable[[int], bytes | None]
    share: tuple[Any, ...]
    timeout: float
    content_type: str = "application/json"
    answers: "dict[Question, Answer]" = {}
    rests_on: str = ""
    outdated: Callable[[Event], bool] = bool
    facet: Facet | None = None


class Onward(Struct, frozen=True):
    """What is different when the client's own request goes on, to a pod, an endpoint or a kubelet: the answer is its own.

    `scheme`: http, https (whatever its certificate), or kubelet (as that of a node). `prefix` is the path of the subresource,
    below which the client finds what is there.
    """

    scheme: str
    prefix: str


class Proxy(Struct, frozen=True):
    """Carry this request (plain or an upgrade, bytes unchanged) to a node's kubelet API: logs, exec, attach, port-forward.

    Or `onward`, with the client's own query."""

    node: str
    address: str
    port: int
    path: str
    query: tuple[tuple[str, str], ...] = ()
    onward: Onward | None = None


class Question(Struct, frozen=True):
    """One HTTPS POST to a webhook. `address` is (host, port) to dial, `server_name` what its certificate must say."""

    url: str
    address: tuple[str, int]
    server_name: str
    ca: bytes
    """PEM; the system's authorities when empty."""
    body: bytes
    timeout: float
    """Seconds."""


class Answer(Struct, frozen=True):
    """What came back; `error` says why nothing did, in words for people."""

    status: int = 0
    body: bytes = b""
    error: str = ""


class Unanswered(Exception):
    """The request cannot be decided without answers to these questions, which may all be asked at once."""

    def __init__(self, questions: tuple[Question, ...]) -> None:
        super().__init__(f"{len(questions)} questions are not answered yet")
        self.questions = questions


class Ask(Struct, frozen=True):
    """Send the questions, then decide the request again."""

    questions: tuple[Question, ...]


class Aside(Struct, frozen=True):
    """An answer that takes long to make, from what never changes: `make` may be called in a thread, while others are served."""

    make: Callable[[], Response]


Outcome = Response | Write | Watch | Proxy | Ask | Aside


TokenVerifier = Callable[[str, Snapshot, datetime, tuple[str, ...]], tuple[User, tuple[str, ...]]]
"""(token, state, now, audiences; () for the server's own) -> whose it is and for which of the audiences. Raises ValueError."""


class Settings(Struct, frozen=True):
    """The API server's own settings, as upstream's flags name them."""

    service_cidrs: tuple[str, ...] = ("10.96.0.0/16",)
    node_port_range: tuple[int, int] = (30000, 32767)
    cluster_domain: str = "cluster.local"
    issuer: str = "https://kubernetes.default.svc.cluster.local"
    token_signer: Callable[[dict[str, Any]], str] | None = None
    token_verifier: TokenVerifier | None = None
    token_keys: Callable[[], list[dict[str, Any]]] | None = None
    """The public keys that tokens verify by, as JSON Web Keys, that which signs now first."""
    max_body: int = 3 * 1024 * 1024
    enable_admission_plugins: tuple[str, ...] = ()
    """Of admission/built_in.OPTIONAL."""
    nodes_read_pods: bool = False
    """Whether nodes may read all Pods: they verify their names, or walk their search paths."""


class Env(Struct, frozen=True):
    """What the core would otherwise take from the world."""

    now: datetime
    rng: Rng
    settings: Settings
    clock: Callable[[], datetime] | None = None
    """The time when a frame of a watch is made, long after the decision: a Table's ages need it. None: `now`."""
    answers: Mapping[Question, Answer] = {}
    request_id: str = ""
    """A UUID, the same however often the request is decided: the uid of its admission reviews, its audit id."""

    notes: dict[str, str] | None = None
    """Where annotations for the audit log go; None when nothing is written down."""

    def note(self, key: str, value: str) -> None:
        if self.notes is not None:
            self.notes[key] = value

    def answer(self, *questions: Question) -> tuple[Answer, ...]:
        """Raises Unanswered for those that have not been asked yet."""
        if unknown := tuple(question for question in questions if question not in self.answers):
            raise Unanswered(unknown)
        return tuple(self.answers[question] for question in questions)
