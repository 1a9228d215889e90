"""What an expression may cost at worst, as upstream estimates it: so that the same rules are refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as some

from mooring.apiserver.cel import spending
from mooring.apiserver.cel.cost import NO_BOUND, estimate
from mooring.apiserver.cel.declared import DYN, INT, STRING, Declared, list_of, map_of, object_of, string
from mooring.apiserver.cel.environment import Environment

LIMIT = 10_000_000


def cost(text: str, type: Declared) -> int:
    return estimate(Environment({"self": type}).compile(text), {"self": type})


@pytest.mark.parametrize(("length", "most"), [(16, 909_090), (63, 333_333), (253, 94_339), (1024, 24_154)])
def test_the_largest_list_that_upstream_accepts_is_the_largest_here(length, most):
    """Found by others with upstream's own validator, for this rule on a list of strings."""
    rule = "self.all(x, x.contains('gpu'))"
    assert cost(rule, list_of(string(length), most)) <= LIMIT < cost(rule, list_of(string(length), most + 1))


SPEC = object_of({"name": string(10), "free": STRING, "count": INT, "tags": list_of(string(20), 100), "any": list_of(STRING)})
CHEAP = {
    "has(self.name)": 1,
    "self.name == 'b'": 3,
    "self.count > 1 && self.count < 9": 6,
    "'count is %d'.format([self.count])": 13,
    "self.tags.size() > 1": 4,
}


@pytest.mark.parametrize("rule", CHEAP)
def test_simple_rules_cost_what_their_steps_do(rule):
    assert CHEAP[rule] == cost(rule, SPEC)


def test_a_text_of_unknown_length_has_no_bound():
    assert NO_BOUND == cost("'n: ' + string(self.count)", SPEC)


def test_a_list_without_a_bound_is_as_long_as_a_request():
    rule = "self.{}.all(x, x.contains('gpu'))"
    assert cost(rule.format("any"), SPEC) > LIMIT > cost(rule.format("tags"), SPEC)


def test_a_loop_in_a_loop_is_the_product():
    once = cost("self.tags.all(x, x != 'a')", SPEC)
    assert cost("self.tags.all(x, self.tags.all(y, x != y))", SPEC) > 90 * once


def test_what_a_filter_leaves_is_no_longer_than_what_it_had():
    assert cost("self.tags.filter(x, x != 'a').all(y, y != 'b')", SPEC) < LIMIT


def test_an_empty_list_instead_of_one_that_is_absent_costs_no_more():
    rule = "(has(self.tags) ? self.tags : []).exists(k, k.contains('/'))"
    assert cost(rule, SPEC) < LIMIT


def test_keys_of_a_map_count_as_short():
    assert cost("self.all(k, k.matches('^[a-z]+$'))", map_of(INT, 100)) < LIMIT


VALUES = {"t": "ab", "list": ["a", "bb", ""], "map": {"k": "v", "long": "w" * 9}}
DYNAMIC = Environment({"object": DYN}, bounded=False)
TEXTS = some.recursive(
    some.sampled_from(
        ["'x'", "object.t", "object.list[1]", "object.map.long", "object.?none.orValue('none')", "object.map['k']"]
    ),
    lambda text: some.one_of(
        some.builds("({} + {})".format, text, text),
        some.builds("{}.replace('', {})".format, text, text),
        some.builds("cel.bind(y, {}, y + y)".format, text),
        some.builds("[{}, {}].map(z, z + {}).join({})".format, text, text, text, text),
        some.builds("object.map.map(k, object.map[k] + {}).filter(z, z != {}).join('')".format, text, text),
        some.builds("object.map.transformMap(k, v, k + {}).map(k, k + {}).join('')".format, text, text),
        some.builds("object.list.transformList(i, v, [v, {}]).map(z, z.join('')).join(',')".format, text),
        some.builds("{}.split('').map(z, z + {}).join('')".format, text, text),
        some.builds("'%s-%s'.format([{}, [{}]])".format, text, text),
        some.builds("'%.1000f%.999e'.format([1e300, 1.0]) + {}".format, text),
        some.builds("string(size({}) > 3 ? {} : {})".format, text, text, text),
        some.builds("({} + {}).upperAscii().substring(1)".format, text, text),
    ),
    max_leaves=6,
)


@given(TEXTS)
def test_no_value_is_larger_than_was_foreseen(text):
    program = DYNAMIC.compile(text)
    cost, most = spending.foreseen(program.checked.expr, {"object": VALUES})
    assert cost > LIMIT or len(program.evaluate({"object": VALUES})) <= most
