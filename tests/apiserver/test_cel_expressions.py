"""Expressions: what they compute, what the checker refuses, what the libraries of Kubernetes add."""

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from mooring.apiserver.cel.declared import (
    BOOL,
    DOUBLE,
    DURATION,
    DYN,
    INT,
    STRING,
    TIMESTAMP,
    escape,
    list_of,
    map_of,
    object_of,
    octets,
)
from mooring.apiserver.cel.environment import COST_EXCEEDED, CelError, Environment
from mooring.apiserver.cel.values import to_cel

SPEC = object_of(
    {
        "text": STRING, "number": DOUBLE, "count": INT, "on": BOOL, "counts": list_of(INT), "labels": map_of(STRING),
        "items": list_of(object_of({"name": STRING})), "namespace": STRING, "a-b": STRING, "a__b.c/d": STRING,
        "when": TIMESTAMP, "span": DURATION, "bytes": octets(), "port": DYN, "rows": list_of(list_of(INT)),
        "foo_bar": map_of(INT), "fooBar": map_of(INT), "absent": STRING,
    }
)  # fmt: skip
SELF = object_of({"spec": SPEC})
DOCUMENT = {
    "spec": {
        "text": "abc", "number": 3, "count": 7, "on": True, "counts": [1, 2, 3], "labels": {"app": "web"},
        "items": [{"name": "x", "more": 1}], "namespace": "ns", "a-b": "dash", "a__b.c/d": "odd",
        "when": "2026-01-02T03:04:05Z", "span": "1h30m", "bytes": "aGk=", "port": "http", "rows": [[1], [2, 3]],
        "foo_bar": {"k": 1}, "fooBar": {"k": 2},
    }
}  # fmt: skip
PLAIN = Environment({"self": SELF})
LATER = Environment({"self": SELF, "oldSelf": SELF}, frozenset({"oldSelf"}))


def value_of(text: str) -> Any:
    return PLAIN.compile(text).evaluate({"self": to_cel(DOCUMENT, SELF)})


TRUE = [
    "self.spec.text == 'abc' && self.spec.count == 7 && self.spec.on",
    "self.spec.number / 2.0 == 1.5",
    "self.spec.__namespace__ == 'ns' && self.spec.a__dash__b == 'dash'",
    "self.spec.a__underscores__b__dot__c__slash__d == 'odd'",
    "self.spec.when < timestamp('2026-01-02T03:04:06Z') && self.spec.when.getFullYear() == 2026",
    "self.spec.span == duration('90m')",
    "self.spec.bytes == b'hi'",
    "self.spec.port == 'http' && self.spec.port != 80",
    "self.spec.rows[1].size() == 2",
    "self.spec.foo_bar['k'] == 1 && self.spec.fooBar['k'] == 2",
    "!has(self.spec.absent) && self.spec.?absent.orValue('none') == 'none'",
    "optional.of(1).optMap(x, x + 1).value() == 2",
    "self.spec.counts.all(i, v, v == i + 1) && self.spec.labels.exists(k, v, k == 'app' && v == 'web')",
    "self.spec.counts.transformList(i, v, v * 2) == [2, 4, 6]",
    "self.spec.counts.transformMap(i, v, v > 1, v * 2) == {1: 4, 2: 6}",
    "self.spec.labels.transformMapEntry(k, v, {v: k}) == {'web': 'app'}",
    "self.spec.labels.transformMap(k, v, self.spec.when) == {'app': self.spec.when}",
    "cel.bind(n, self.spec.count, n + n) == 14",
    # strings, sets, math
    "'%s has %d'.format([self.spec.text, self.spec.count]) == 'abc has 7'",
    "'a,b'.split(',').join('-') == 'a-b' && 'Abc'.lowerAscii() == 'abc' && 'abc'.indexOf('c') == 2",
    "sets.contains(self.spec.counts, [1, 2]) && math.greatest([1, 3]) == 3",
    # lists
    "self.spec.counts.isSorted() && !['b', 'a'].isSorted() && self.spec.counts.sum() == 6 && [0.5, 1.5].sum() == 2.0",
    "self.spec.counts.max() == 3 && ['b', 'a'].min() == 'a' && [duration('1m'), duration('1h')].max() == duration('1h')",
    "self.spec.counts.indexOf(3) == 2 && self.spec.counts.lastIndexOf(9) == -1",
    # regular expressions
    "'a1b22'.find('[0-9]+') == '1' && 'a1b22'.findAll('[0-9]+') == ['1', '22'] && 'a1b2'.findAll('[0-9]', 1) == ['1']",
    # addresses
    (
        "isIP('192.0.2.1') && !isIP('192.0.2.01') && !isIP('::ffff:1.2.3.4')"
        " && ip('::1').isLoopback() && ip('fe80::1').family() == 6"
    ),
    "ip.isCanonical('2001:db8::1') && !ip.isCanonical('2001:DB8::1') && string(ip('2001:DB8::1')) == '2001:db8::1'",
    (
        "ip('10.0.0.1') == ip('10.0.0.1') &&"
        " cidr('10.0.0.0/8').containsIP('10.9.9.9') && cidr('10.0.0.0/8').containsIP(ip('10.1.1.1'))"
    ),
    "cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16') && !cidr('10.1.0.0/16').containsCIDR(cidr('10.0.0.0/8'))",
    "cidr('10.1.2.3/16').masked() == cidr('10.1.0.0/16') && cidr('10.0.0.0/8').prefixLength() == 8 && !isCIDR('10.0.0.0/33')",
    # URLs
    "url('https://user@example.com:80/a%20b?c=1&c=2').getHost() == 'example.com:80'",
    "url('https://[::1]:80/').getHostname() == '::1' && url('https://example.com/x').getPort() == '' && !isURL('../x')",
    "url('https://example.com/?c=1&c=2').getQuery() == {'c': ['1', '2']}",
    # quantities
    "quantity('1') == quantity('1000m') && quantity('1Gi').isGreaterThan(quantity('1G')) && !isQuantity('1Q')",
    "quantity('1500m').add(quantity('500m')).asInteger() == 2 && quantity('2k').sub(1).compareTo(quantity('1999')) == 0",
    "quantity('-1').sign() == -1 && !quantity('0.5').isInteger() && quantity('0.5').asApproximateFloat() == 0.5",
    # formats, versions
    "!format.dns1123Label().validate('ok').hasValue() && format.dns1123Label().validate('-').hasValue()",
    "format.named('uuid').hasValue() && !format.named('nothing').hasValue()",
    "semver('1.2.3').isLessThan(semver('1.10.0')) && semver('1.0.0-rc.1').isLessThan(semver('1.0.0')) && !isSemver('1.2')",
    "semver('v1.2', true).minor() == 2",
]


@pytest.mark.parametrize("text", TRUE)
def test_it_is_true(text):
    assert value_of(text) is True


REFUSED = {
    "self.spec.nope == 1": "undefined field 'nope'",
    "has(self.spec.nope)": "undefined field 'nope'",
    "self.spec.items[0].more == 1": "undefined field 'more'",
    "self.spec.count == 'x'": "found no matching overload for '_==_' applied to '(int, string)'",
    "self.spec.number == 1": "found no matching overload for '_==_' applied to '(double, int)'",
    "self.spec.text.isSorted()": "found no matching overload for 'isSorted' applied to '(string)'",
    "ip('1.2.3.4').prefixLength()": "found no matching overload for 'prefixLength' applied to '(net.IP)'",
    "other == 1": "undeclared reference to 'other'",
    "self.spec.text ==": "Syntax error: mismatched input '<EOF>'",
    "self.spec.text.find(1)": "found no matching overload for 'find' applied to '(string, int)'",
}


@pytest.mark.parametrize("text", REFUSED)
def test_the_checker_says_what_is_wrong_and_where(text):
    with pytest.raises(CelError) as error:
        PLAIN.compile(text)
    assert REFUSED[text] in str(error.value)
    assert re.match(r"ERROR: <input>:1:\d+: .*\n \| ", str(error.value))


FAILING = {
    "self.spec.absent == 'x'": "no such key: absent",
    "self.spec.counts[9] == 1": "index out of bounds: 9",
    "1 / (self.spec.count - 7) == 1": "division by zero",
    "self.spec.count + 9223372036854775807 == 1": "integer overflow",
    "self.spec.port + 1 == 2": "no such overload",
    "ip(self.spec.text) == ip('::1')": 'IP Address "abc" parse error during conversion from string: unable to parse IP',
    "[].max() == 1": "max called on empty list",
    "'x'.find('(') == ''": "Illegal regex: missing ): (",
    "self.spec.counts.transformMapEntry(i, v, {'k': v}) == {}": "insert failed: key 'k' already exists",
}


@pytest.mark.parametrize("text", FAILING)
def test_what_goes_wrong_with_a_value_is_an_error_in_upstreams_words(text):
    with pytest.raises(CelError) as error:
        value_of(text)
    assert FAILING[text] == str(error.value)


def test_an_error_that_does_not_matter_is_none():
    assert value_of("self.spec.absent == 'x' || true") is True


def test_an_old_value_may_be_there_or_not():
    program = LATER.compile(
        "oldSelf.hasValue() ? oldSelf.value().spec.count < self.spec.count // grows\n : self.spec.count == 7"
    )
    now, before = to_cel(DOCUMENT, SELF), to_cel({"spec": {"count": 6}}, SELF)
    assert [True, True] == [program.evaluate({"self": now}), program.evaluate({"self": now, "oldSelf": before})]
    assert program.evaluate({"self": before, "oldSelf": before}) is False
    assert program.uses("oldSelf")
    assert not LATER.compile("self.spec.count == 7").uses("oldSelf")


def test_the_checkers_lines_are_those_of_the_text_for_optional_values_too():
    with pytest.raises(CelError, match=r"^ERROR: <input>:2:12: undefined field 'nope'"):
        LATER.compile("true &&\n  self.spec.nope == 1")


def test_loops_are_cut_off():
    program = Environment({"all": list_of(INT)}).compile("all.all(a, all.all(b, a + b >= 0))")
    assert program.evaluate({"all": list(range(50))}) is True
    with pytest.raises(CelError) as error:
        program.evaluate({"all": list(range(1000))})
    assert COST_EXCEEDED == str(error.value)


def test_variables_of_no_declared_type_take_documents_as_they_are():
    environment = Environment({"object": DYN, "request": DYN})
    program = environment.compile("object.spec.replicas > 1 && request.operation == 'CREATE'", expect=("bool",))
    assert program.evaluate({"object": {"spec": {"replicas": 2}}, "request": {"operation": "CREATE"}}) is True


def test_the_type_that_comes_out_can_be_asked_for():
    with pytest.raises(CelError, match="must evaluate to bool"):
        PLAIN.compile("self.spec.text", expect=("bool",))


def test_names_that_expressions_cannot_write():
    assert [None, None, "__if__", "a__dot__b"] == [escape("a b"), escape("1a"), escape("if"), escape("a.b")]


@settings(max_examples=10 * settings.default.max_examples)  # they cost next to nothing
@given(some.text("selfspc.()[]{}'\"\\ 01+-*/&|!=<>,:?\n\x00é", max_size=40))
def test_no_text_does_more_than_fail(text):
    try:
        PLAIN.compile(text).evaluate({"self": to_cel(DOCUMENT, SELF)})
    except CelError as error:
        assert str(error)


JSON = some.recursive(
    some.none() | some.booleans() | some.integers(-(1 << 63), (1 << 63) - 1) | some.floats() | some.text(max_size=5),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(JSON)
def test_any_document_can_be_handed_over(value):
    environment = Environment({"object": DYN})
    assert environment.compile("object == object || true").evaluate({"object": value}) is True
