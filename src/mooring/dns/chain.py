"""In which order is a question handled? A chain of handlers, each of which answers or asks the next.

A handler is sans-I/O: a generator that yields what it needs from the outside (an Exchange with another server, work beside, a
pause) and is sent what came of it. Handlers know those after them only through `following`, and nothing of those before them.
What each decided, and why, is noted for the tracer and the query log.
"""

from collections.abc import Callable, Generator, Hashable, Sequence
from math import inf
from typing import Protocol

from msgspec import Struct

from mooring.dns.names import Name
from mooring.dns.records import Query, Rcode, Reply


class Note(Struct, frozen=True):
    """One step of an answer: which handler, what it decided, and the object, field or setting that made it so."""

    handler: str
    decision: str
    because: str = ""

    def __str__(self) -> str:
        return f"{self.handler}: {self.decision}" + (f" ({self.because})" if self.because else "")


class Context(Struct):
    """One question on its way. `now`: monotonic seconds, moved on by whoever drives the steps after each effect.

    `whole` asks the chain anew, for the target of an alias; `followed` are the aliases on the way to this question.
    """

    now: float
    notes: list[Note] = []
    whole: "Next | None" = None
    followed: tuple[Name, ...] = ()

    def note(self, handler: str, decision: str, because: str = "") -> None:
        self.notes.append(Note(handler, decision, because))

    def beside(self) -> "Context":
        """For work that goes on when this question has been answered."""
        return Context(self.now, [], self.whole, self.followed)


class Upstream(Struct, frozen=True):
    """Another server. `tls_name`: speak DNS over TLS (RFC 7858) and expect this name in its certificate; '' for plain DNS.

    `authority`: a file of CA certificates, '' for the system's.
    """

    address: str
    port: int = 53
    tls_name: str = ""
    authority: str = ""

    def __str__(self) -> str:
        return f"{'tls://' if self.tls_name else ''}{f'[{self.address}]' if ':' in self.address else self.address}:{self.port}"


class Exchange(Struct, frozen=True):
    """Effect: ask one server one question, over UDP (then TCP when truncated), TCP or TLS. Sent back: a Heard."""

    upstream: Upstream
    query: Query
    timeout: float
    tcp: bool = False


class Heard(Struct, frozen=True):
    """What came of an Exchange. `reply` None: `error` says why (timeout, refused, malformed...). `seconds` it took.

    `useless`: asking the same server again at once brings nothing: there is no way to it. `ours`: nor would any other, for what
    is missing is missing here (descriptors, memory); it says nothing about the server.
    """

    reply: Reply | None
    seconds: float = 0.0
    error: str = ""
    useless: bool = False
    ours: bool = False


class Beside(Struct, frozen=True):
    """Effect: carry these steps out beside, once for all who name the same `key` meanwhile; wait at most `wait` seconds.

    Sent back: their Reply, or None when they took longer (they go on) or broke.
    """

    steps: "Steps"
    context: Context
    key: Hashable = None
    wait: float = inf
    needed: bool = False
    """Also when there is much beside already: nobody would begin it again."""


class Pause(Struct, frozen=True):
    """Effect: go on after so many seconds. Sent back: None."""

    seconds: float


Effect = Exchange | Beside | Pause
Sent = Heard | Reply | None
Steps = Generator[Effect, Sent, Reply]
Next = Callable[[Query, Context], Steps]


class Handler(Protocol):
    """`name` is the word for it in settings, notes and logs."""

    name: str

    def handle(self, query: Query, context: Context, following: Next) -> Steps: ...


def chained(handlers: Sequence[Handler], last: Next) -> Next:
    """The whole chain as one step; `last` answers what nobody did."""
    following = last
    for handler in reversed(handlers):
        following = _before(handler, following)
    return following


def _before(handler: Handler, following: Next) -> Next:
    return lambda query, context: handler.handle(query, context, following)


def exchanged(exchange: Exchange) -> Generator[Effect, Sent, Heard]:
    """One Exchange as a step: `heard = yield from exchanged(...)`."""
    heard = yield exchange
    assert isinstance(heard, Heard)
    return heard


def beside(
    steps: Steps, context: Context, key: Hashable = None, wait: float = inf, *, needed: bool = False
) -> Generator[Effect, Sent, Reply | None]:
    """One Beside as a step."""
    reply = yield Beside(steps, context, key, wait, needed)
    assert not isinstance(reply, Heard)
    return reply


def nobody(query: Query, context: Context) -> Steps:
    """The end of a chain: a name that no handler is for."""
    context.note("nobody", "refused", "no zone of ours, and nowhere to forward to")
    return Reply(Rcode.REFUSED)
    yield  # makes of this a generator, which asks for nothing
