"""Handlers driven by hand: what they ask of the outside is answered by the test, and time is what the test says."""

from collections.abc import Callable, Iterable
from random import Random

import dns.rdata
import dns.rdataclass

from mooring.dns.chain import Beside, Context, Effect, Exchange, Handler, Heard, Next, Pause, Sent, Steps, chained, nobody
from mooring.dns.names import from_text, to_text
from mooring.dns.records import Edns, Query, Question, Rcode, Record, Reply
from mooring.dns.wording import kind_number, kind_text

CLIENT = "10.244.0.7"
RNG = Random(7)


def query(name: str, kind: str = "A", *, client: str = CLIENT, dnssec: bool = False, **more: object) -> Query:
    edns = Edns(1232, 0, True) if dnssec else None
    return Query(7, Question(from_text(name), kind_number(kind)), edns=edns, client=client, **more)


def record(line: str) -> Record:
    """'web.example. 60 IN A 192.0.2.1'"""
    name, ttl, _, kind, data = line.split(None, 4)
    rdata = dns.rdata.from_text(dns.rdataclass.IN, kind, data, origin=None, relativize=False).to_wire()
    assert rdata is not None
    return Record(from_text(name), kind_number(kind), int(ttl), rdata)


def reply(*answer: str, rcode: int = Rcode.NOERROR, authority: Iterable[str] = (), **more: object) -> Reply:
    return Reply(rcode, tuple(map(record, answer)), tuple(map(record, authority)), **more)


def text(records: Iterable[Record]) -> list[str]:
    """As in a zone file."""
    return [
        f"{to_text(each.name)}. {each.ttl} IN {kind_text(each.type)} "
        f"{dns.rdata.from_wire(1, each.type, each.data, 0, len(each.data))}"
        for each in records
    ]


NO = reply(rcode=Rcode.NXDOMAIN, authority=("example. 300 IN SOA ns.example. host.example. 1 2 3 4 60",))
FAILED = Reply(Rcode.SERVFAIL)


class Answers:
    """The end of a chain that knows these replies, by name; all else does not exist. `asked` are the questions that came."""

    def __init__(self, **replies: Reply) -> None:
        self.replies = {name.replace("__", ".").replace("_", "-"): each for name, each in replies.items()}
        self.asked: list[Query] = []

    def __call__(self, asked: Query, context: Context) -> Steps:
        self.asked.append(asked)
        return self.replies.get(to_text(asked.question.name.lower()), NO)
        yield

    @property
    def names(self) -> list[str]:
        return [to_text(each.question.name) for each in self.asked]


class Drive:
    """Carries out effects in turn: `exchange` answers for other servers, `pause` moves the clock. Work beside that nobody waits
    for is left in `left`; work that is waited for is done at once, and came too late where it took longer than `wait`.
    """

    def __init__(self, exchange: Callable[[Exchange], Heard] | None = None, now: float = 1000.0) -> None:
        self._answer = exchange or (lambda _: Heard(None, 0.0, "nobody"))
        self.now = now
        self.exchanges: list[Exchange] = []
        self.pauses: list[float] = []
        self.left: list[Beside] = []

    def ask(self, following: Next, asked: Query, whole: Next | None = None) -> tuple[Reply, Context]:
        context = Context(self.now, [], whole)
        return self.run(following(asked, context), context), context

    def run(self, steps: Steps, context: Context, most: int = 100) -> Reply:
        sent: Sent = None
        for _ in range(most):
            try:
                effect: Effect = steps.send(sent)
            except StopIteration as done:
                found: Reply = done.value
                return found
            sent = self._carry_out(effect)
            context.now = self.now
        raise AssertionError(f"more than {most} effects")

    def _carry_out(self, effect: Effect) -> Sent:
        match effect:
            case Exchange():
                self.exchanges.append(effect)
                heard = self._answer(effect)
                self.now += heard.seconds
                return heard
            case Pause(seconds):
                self.pauses.append(seconds)
                self.now += seconds
                return None
            case Beside() if effect.wait == 0:
                self.left.append(effect)
                return None
            case Beside():
                start = self.now
                found = self.run(effect.steps, effect.context)
                return found if self.now - start <= effect.wait else None

    def do_what_was_left(self) -> None:
        left, self.left = self.left, []
        for each in left:
            each.context.now = self.now
            self.run(each.steps, each.context)


def one(handler: Handler, following: Next = nobody) -> Next:
    return chained([handler], following)
