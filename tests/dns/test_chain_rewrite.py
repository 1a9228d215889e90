"""Does a rule ask for another name or type, and does the client see the name it asked for?"""

import pytest
from chain_lab import Answers, Drive, one, query, reply, text

from mooring.dns.handlers.rewrite import Match, Rewrite, Rule, check_regex
from mooring.dns.records import Rcode

NEXT = Answers(
    web__default__svc__cluster__local=reply("web.default.svc.cluster.local. 5 IN A 10.96.0.9"),
    alias__example=reply("alias.example. 60 IN CNAME web.example.", "web.example. 60 IN A 192.0.2.1"),
)


@pytest.mark.parametrize(
    ("rule", "name", "expected"),
    [
        pytest.param(
            Rule(Match.EXACT, "web.corp", "web.default.svc.cluster.local"),
            "Web.Corp",
            ["Web.Corp. 5 IN A 10.96.0.9"],
            id="a whole name, in the case it was asked in",
        ),
        pytest.param(
            Rule(Match.SUFFIX, ".corp", ".default.svc.cluster.local"), "web.corp", ["web.corp. 5 IN A 10.96.0.9"], id="the end"
        ),
        pytest.param(
            Rule(Match.PREFIX, "www.", "web."),
            "www.default.svc.cluster.local",
            ["www.default.svc.cluster.local. 5 IN A 10.96.0.9"],
            id="the beginning",
        ),
        pytest.param(
            Rule(Match.SUBSTRING, ".ns-", "."),
            "web.ns-default.svc.cluster.local",
            ["web.ns-default.svc.cluster.local. 5 IN A 10.96.0.9"],
            id="something within",
        ),
        pytest.param(
            Rule(Match.REGEX, r"^([a-z]+)-([a-z]+)\.corp$", "{1}.{2}.svc.cluster.local"),
            "web-default.corp",
            ["web-default.corp. 5 IN A 10.96.0.9"],
            id="a pattern with groups",
        ),
        pytest.param(
            Rule(Match.EXACT, "other.corp", "alias.example"),
            "other.corp",
            ["other.corp. 60 IN CNAME web.example.", "web.example. 60 IN A 192.0.2.1"],
            id="aliases further on keep their names",
        ),
        pytest.param(Rule(Match.EXACT, "web.corp", "x"), "web.corp.example", [], id="another name stays as it is"),
    ],
)
def test_the_other_name_is_asked_for_and_the_asked_one_answered(rule: Rule, name: str, expected: list[str]) -> None:
    answered, _ = Drive().ask(one(Rewrite([rule]), NEXT), query(name))
    assert expected == text(answered.answer)


def test_the_first_rule_that_fits_is_the_only_one() -> None:
    rules = [Rule(Match.EXACT, "a.corp", "b.corp"), Rule(Match.EXACT, "b.corp", "c.corp"), Rule(Match.SUFFIX, ".corp", ".x")]
    following = Answers()
    Drive().ask(one(Rewrite(rules), following), query("a.corp"))
    assert ["b.corp"] == following.names


def test_a_type_becomes_another() -> None:
    following = Answers()
    Drive().ask(one(Rewrite([Rule(Match.TYPE, "28", "1")]), following), query("web.example", "AAAA"))
    assert [1] == [each.question.type for each in following.asked]


def test_a_name_that_grows_too_long_fails() -> None:
    rule = Rule(Match.SUFFIX, ".corp", "." + ".".join(["x" * 60] * 4))
    asked = query("y" * 60 + ".corp")
    assert Rcode.SERVFAIL == Drive().ask(one(Rewrite([rule]), NEXT), asked)[0].rcode


@pytest.mark.parametrize(
    ("pattern", "to"),
    [
        pytest.param("(a+)+$", "x", id="a repeated group"),
        pytest.param(".*.*.*.*x", "x", id="many unbounded repeats"),
        pytest.param(r"(a)\1", "x", id="a reference"),
        pytest.param("(", "x", id="no pattern"),
        pytest.param("(a)", "{2}", id="a group that is not there"),
        pytest.param("a" * 300, "x", id="too long"),
        pytest.param("a?" * 26 + "a" * 26 + "$", "x", id="many optional letters"),
        pytest.param(r"(.+)-(.+)-(.+)\.apps$", "x", id="three unbounded repeats behind any start"),
        pytest.param("^(.+)-(.+)x|y", "x", id="a start that one branch alone has"),
        pytest.param("a{0,30}" * 5 + "!", "x", id="many bounded repeats"),
        pytest.param("(aa|a)" * 40 + "!", "x", id="many branches"),
        pytest.param("(?x)(a+) +$", "x", id="a repeated group behind a space that means nothing"),
        pytest.param("(?:a+)+$", "x", id="a repeated group without a number"),
    ],
)
def test_patterns_that_could_keep_us_busy_are_refused(pattern: str, to: str) -> None:
    with pytest.raises(ValueError):
        check_regex(pattern, to)


@pytest.mark.parametrize(
    "pattern",
    [
        pytest.param(r"^([a-z]+)-([a-z]+)\.apps$", id="the reference's"),
        pytest.param(r"^(.+)-(.+)-(.+)\.apps$", id="three repeats behind a start"),
        pytest.param(r"(.+)-(.+)\.apps$", id="two behind any"),
        pytest.param(r"[*+?{]+\.apps$", id="signs in a set repeat nothing"),
        pytest.param(r"\(a\)+\++", id="nor do escaped ones"),
        pytest.param(r"^(?P<name>web|db|(?:mail|mx)[0-9]{1,2})\.(.*)$", id="a few branches"),
        pytest.param("https?", id="an optional letter"),
    ],
)
def test_harmless_patterns_are_taken(pattern: str) -> None:
    check_regex(pattern, "x")


def test_texts_longer_than_a_name_without_escapes_fit_no_pattern() -> None:
    rule = Rule(Match.REGEX, "^a", "x")
    assert ["x", None] == [rule.rewritten("a" * length) for length in (253, 254)]


def test_an_answer_under_another_name_is_not_authentic() -> None:
    """Its signatures are for the other name (RFC 4035, 3.2.3)."""
    signed = Answers(web__example=reply("web.example. 60 IN A 192.0.2.1", authentic_data=True))
    answered, _ = Drive().ask(one(Rewrite([Rule(Match.SUFFIX, ".corp", ".example")]), signed), query("web.corp"))
    assert (["web.corp. 60 IN A 192.0.2.1"], False) == (text(answered.answer), answered.authentic_data)
