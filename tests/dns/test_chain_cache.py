"""Are others' answers kept as long as they say, no longer than we want, and within bounds?"""

from collections.abc import Callable

import pytest
from chain_lab import FAILED, NO, Drive, one, query, reply, text
from hypothesis import given
from hypothesis import strategies as st

from mooring.dns.chain import Context, Exchange, Heard, Next, Steps, Upstream, exchanged
from mooring.dns.handlers.cache import STALE_TTL, Cache, CacheOptions
from mooring.dns.names import from_text
from mooring.dns.records import Edns, Query, Question, Rcode, Reply

WEB = "web.example. 60 IN A 192.0.2.1"
NEW = "web.example. 60 IN A 192.0.2.2"
SOA = "example. 300 IN SOA ns.example. host.example. 1 2 3 4 60"
NO_DATA = reply(authority=(SOA,))


class Lab:
    """A cache before servers that say `reply` after `seconds`."""

    def __init__(self, answer: Reply, options: CacheOptions = CacheOptions()) -> None:  # noqa: B008 - frozen
        self.reply, self.seconds, self.asked = answer, 0.0, list[Query]()
        self.cache = Cache(options)
        self.drive = Drive(lambda _: Heard(self.reply, self.seconds))
        self.chain: Next = one(self.cache, self._outside)

    def _outside(self, asked: Query, context: Context) -> Steps:
        self.asked.append(asked)
        heard = yield from exchanged(Exchange(Upstream("192.0.2.53"), asked, 2.0))
        assert heard.reply is not None
        return heard.reply

    def ask(self, name: str = "web.example", kind: str = "A", **more: object) -> Reply:
        return self.drive.ask(self.chain, query(name, kind, **more))[0]

    def later(self, seconds: float) -> "Lab":
        self.drive.now += seconds
        return self


def test_an_answer_is_kept_and_its_ttl_counts_down() -> None:
    lab = Lab(reply(WEB))
    assert [WEB] == text(lab.ask().answer)
    assert ["web.example. 50 IN A 192.0.2.1"] == text(lab.later(10).ask().answer)
    assert 1 == len(lab.asked)
    assert [WEB] == text(lab.later(50).ask().answer)
    assert 2 == len(lab.asked)


@pytest.mark.parametrize(
    ("answer", "life"),
    [
        pytest.param(reply(WEB), 60, id="as long as the record says"),
        pytest.param(reply(WEB, "web.example. 30 IN A 192.0.2.3"), 30, id="as long as the shortest says"),
        pytest.param(reply("web.example. 90000 IN A 192.0.2.1"), 3600, id="an hour at most"),
        pytest.param(reply("web.example. 0 IN A 192.0.2.1"), 5, id="five seconds at least"),
        pytest.param(NO, 60, id="a denial by the SOA's minimum"),
        pytest.param(reply(rcode=Rcode.NXDOMAIN, authority=(SOA.replace("300", "30", 1),)), 30, id="or by its TTL"),
        pytest.param(
            reply(rcode=Rcode.NXDOMAIN, authority=(SOA.replace("300", "9000", 1)[:-2] + "9000",)), 1800, id="half an hour"
        ),
        pytest.param(NO_DATA, 60, id="no data like a denial"),
        pytest.param(reply("web.example. 90 IN CNAME no.example.", authority=(SOA,)), 60, id="an alias without data too"),
        pytest.param(reply(rcode=Rcode.NXDOMAIN), 5, id="a denial without SOA hardly"),
        pytest.param(FAILED, 5, id="a failure hardly"),
        pytest.param(Reply(Rcode.REFUSED), 0, id="a refusal not"),
        pytest.param(reply(WEB, truncated=True), 0, id="nor what was cut off"),
        pytest.param(reply(authority=("example. 60 IN NS ns.example.",)), 0, id="nor a referral"),
    ],
)
def test_each_reply_lives_as_long_as_it_should(answer: Reply, life: int) -> None:
    lab = Lab(answer, CacheOptions(serve_stale=0))
    lab.ask()
    if life:
        lab.later(life - 0.5).ask()
        assert 1 == len(lab.asked)
        lab.later(1)
    lab.ask()
    assert 2 == len(lab.asked)


@pytest.mark.parametrize(
    ("first", "second", "shared"),
    [
        pytest.param({}, {"name": "WEB.Example"}, True, id="case makes no difference"),
        pytest.param({}, {"client": "10.244.9.9"}, True, id="nor does the client"),
        pytest.param({}, {"kind": "AAAA"}, False, id="type does"),
        pytest.param({}, {"dnssec": True}, False, id="DO does"),
        pytest.param({}, {"checking_disabled": True}, False, id="CD does"),
    ],
)
def test_what_tells_answers_apart(first: dict[str, object], second: dict[str, object], shared: bool) -> None:
    lab = Lab(reply(WEB))
    lab.ask(**first)  # type: ignore[arg-type]
    lab.ask(**second)  # type: ignore[arg-type]
    assert (1 if shared else 2) == len(lab.asked)


def test_nothing_of_the_client_goes_on_but_do_and_cd() -> None:
    lab = Lab(reply(WEB))
    asked = Query(7, Question(from_text("web.example"), 1), edns=Edns(4096, 0, True, ((8, b"subnet"),)), client="10.244.0.7")
    lab.drive.ask(lab.chain, asked)
    assert Edns(1232, 0, True) == lab.asked[0].edns


def test_a_popular_answer_is_asked_for_anew_before_its_end_and_nobody_waits() -> None:
    lab = Lab(reply(WEB))
    lab.ask()
    lab.ask()
    lab.reply = reply(NEW)
    assert ["web.example. 3 IN A 192.0.2.1"] == text(lab.later(57).ask().answer)
    assert 1 == len(lab.drive.left)
    lab.drive.do_what_was_left()
    assert [NEW] == text(lab.ask().answer)
    assert (2, 1) == (len(lab.asked), lab.cache.counts["prefetch"])


def test_an_answer_that_few_ask_for_just_ends() -> None:
    lab = Lab(reply(WEB))
    lab.ask()
    lab.later(57).ask()
    assert [] == lab.drive.left


def test_a_stale_answer_is_better_than_none() -> None:
    lab = Lab(reply(WEB))
    lab.ask()
    lab.reply = FAILED
    assert [f"web.example. {STALE_TTL} IN A 192.0.2.1"] == text(lab.later(61).ask().answer)
    assert 1 == lab.cache.counts["served_stale"]


def test_after_a_failure_there_is_no_new_try_for_half_a_minute() -> None:
    lab = Lab(reply(WEB))
    lab.ask()
    lab.reply = FAILED
    for _ in range(5):
        stale = lab.later(61 if len(lab.asked) == 1 else 1).ask()
        assert [f"web.example. {STALE_TTL} IN A 192.0.2.1"] == text(stale.answer)
    assert 2 == len(lab.asked)
    lab.reply = reply(NEW)
    assert [NEW] == text(lab.later(STALE_TTL).ask().answer)


def test_a_slow_answer_is_not_waited_for_where_a_stale_one_is_there_but_kept() -> None:
    lab = Lab(reply(WEB))
    lab.ask()
    lab.reply, lab.seconds = reply(NEW), 1.9
    assert [f"web.example. {STALE_TTL} IN A 192.0.2.1"] == text(lab.later(61).ask().answer)
    assert [NEW] == text(lab.ask().answer)


def test_what_is_older_than_the_limit_is_not_served_stale() -> None:
    lab = Lab(reply(WEB), CacheOptions(serve_stale=100))
    lab.ask()
    lab.reply = FAILED
    assert Rcode.SERVFAIL == lab.later(161).ask().rcode


def test_a_new_denial_takes_the_place_of_an_old_answer_and_the_other_way_round() -> None:
    lab = Lab(reply(WEB))
    lab.ask()
    lab.reply = NO
    assert Rcode.NXDOMAIN == lab.later(61).ask().rcode
    lab.reply = reply(NEW)
    assert [NEW] == text(lab.later(61).ask().answer)
    assert (1, 0) == (len(lab.cache.success), len(lab.cache.denial))


@pytest.mark.parametrize(
    ("answer", "shelf"),
    [
        pytest.param(reply(WEB), lambda cache: cache.success, id="answers"),
        pytest.param(NO, lambda cache: cache.denial, id="denials"),
    ],
)
def test_a_great_many_names_stay_within_the_bounds(answer: Reply, shelf: Callable[[Cache], object]) -> None:
    lab = Lab(answer, CacheOptions(capacity=50))
    for number in range(2_000):
        lab.ask(f"n{number}.example")
    assert 50 == len(shelf(lab.cache))  # type: ignore[arg-type]


def test_large_answers_are_bounded_by_their_octets() -> None:
    large = reply(*(f'web.example. 60 IN TXT "{"x" * 200}{number}"' for number in range(50)))
    lab = Lab(large, CacheOptions(octets=100_000))
    for number in range(100):
        lab.ask(f"n{number}.example", "TXT")
    assert 0 < len(lab.cache.success) < 10
    assert lab.cache.success.used <= 100_000


def test_the_answer_that_was_used_longest_ago_goes_first() -> None:
    lab = Lab(reply(WEB), CacheOptions(capacity=2))
    for name in ("a.example", "b.example", "a.example", "c.example", "a.example"):
        lab.ask(name)
    assert ["a.example", "b.example", "c.example"] == [each.question.name.decode()[1:2] + ".example" for each in lab.asked]


@given(
    st.lists(
        st.tuples(st.floats(0, 100), st.sampled_from([reply(WEB), reply(NEW), NO, NO_DATA, FAILED, Reply(Rcode.REFUSED)])),
        max_size=30,
    )
)
def test_whatever_upstream_says_no_answer_is_older_than_it_may_be(history: list[tuple[float, Reply]]) -> None:
    lab, said = Lab(FAILED), list[tuple[float, Reply]]()
    for seconds, answer in history:
        lab.reply = answer
        before = len(lab.asked)
        got = lab.later(seconds).ask()
        if len(lab.asked) > before:
            said.append((lab.drive.now, answer))
        ttl = got.answer[0].ttl if got.answer else 0
        assert 0 <= ttl <= 60
        data = {each.data for each in got.answer}
        spoken = [at for at, each in said if data and data == {one.data for one in each.answer}]
        if data:
            assert spoken and lab.drive.now - spoken[-1] <= 60 + lab.cache.options.serve_stale
