"""What x-kubernetes-validations say of objects."""

from time import process_time

import pytest
from custom_definitions import Defined, definition, object_of, version
from direct import Refused

STRING, INTEGER = {"type": "string"}, {"type": "integer"}


def ruled(schema, *rules, **more):
    """A server whose specs have these rules, each a text or a document."""
    listed = [{"rule": rule} if isinstance(rule, str) else rule for rule in rules]
    return Defined(definition(version(spec={**schema, "x-kubernetes-validations": listed}, **more)))


SPEC = object_of(
    low=dict(INTEGER), high=dict(INTEGER), name=STRING | {"maxLength": 20}, port={"x-kubernetes-int-or-string": True}
)


def test_a_rule_that_does_not_hold_is_told_with_its_text():
    server = ruled(SPEC, "!has(self.low) || self.low <= self.high")
    server.make({"low": 1, "high": 2})
    why = 'Invalid value: "object": failed rule: !has(self.low) || self.low <= self.high'
    assert {"spec": why} == server.refused({"low": 3, "high": 2})


def test_messages_reasons_and_paths():
    server = ruled(
        SPEC,
        {"rule": "self.low > 0", "message": "must be positive", "fieldPath": ".low", "reason": "FieldValueForbidden"},
        {"rule": "self.high > self.low", "messageExpression": "'%d is not above %d'.format([self.high, self.low])"},
        {"rule": "self.high < 100", "messageExpression": "self.name", "message": "too high", "reason": "FieldValueRequired"},
    )
    assert {
        "spec.low": "Forbidden: must be positive",
        "spec": 'Invalid value: "object": -1 is not above 0',
    } == server.refused({"low": 0, "high": -1})
    assert {"spec": "Required value: too high"} == server.refused({"low": 1, "high": 100})


def test_what_fails_is_told_with_the_rule():
    server = ruled(SPEC, {"rule": "self.low > 0", "message": "low"}, "self.port + 1 > 1")
    assert server.refused({"port": "http"}) == {
        "spec": 'Invalid value: "object": no such key: low evaluating rule: low; '
        "Invalid value: \"object\": 'no such overload': "
        "call arguments did not match a supported operator, function or macro signature for rule: self.port + 1 > 1"
    }


def test_a_number_that_no_float_holds_is_none():
    server = ruled(object_of(n={"type": "number"}), "self.n > 0.0")
    assert 'must be of type number: "integer"' in server.refused({"n": 10**400})["spec.n"]


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+23:00", "9999-12-31T23:59:59-23:00"])
def test_a_time_of_no_year_that_there_is_breaks_its_rule(text):
    server = ruled(object_of(t={"type": "string", "format": "date-time"}), "self.t > timestamp('2000-01-01T00:00:00Z')")
    assert ["spec"] == list(server.refused({"t": text}))


def test_a_pattern_is_made_ready_once():
    text = {"type": "array", "maxItems": 20, "items": STRING | {"maxLength": 3}}
    letters = r"(x.matches('^[\\p{L}]{1,100}$') ? 'yes' : 'no').matches('yes')"  # one in another
    server = ruled(object_of(a=text), f"self.a.all(x, {letters} && matches(x, 'b'))")
    begun = process_time()
    server.make({"a": ["abc"] * 20})
    assert process_time() - begun < 2, "each of twenty would take 0.2 seconds"
    assert ["spec"] == list(server.refused({"a": ["abc", "1b"]})) == list(server.refused({"a": ["ac"]}))
    wrong = ruled(object_of(a=STRING | {"maxLength": 9}), "'x'.matches(self.a)").refused({"a": "["})["spec"]
    assert "invalid regular expression" in wrong


def test_rules_stand_at_any_node():
    item = {"type": "object", "properties": {"n": dict(INTEGER)}, "x-kubernetes-validations": [{"rule": "self.n > 0"}]}
    word = STRING | {"maxLength": 9, "x-kubernetes-validations": [{"rule": "self != 'bad'"}]}
    spec = object_of(
        items={"type": "array", "maxItems": 9, "items": item},
        words={"type": "object", "maxProperties": 9, "additionalProperties": word},
    )
    own = version(spec=spec)
    own["schema"]["openAPIV3Schema"]["x-kubernetes-validations"] = [
        {"rule": "self.metadata.name.startsWith('r') || has(self.spec)"}
    ]
    server = Defined(definition(own))
    found = server.refused({"items": [{"n": 1}, {"n": 0}], "words": {"a": "good", "b": "bad"}})
    assert found == {
        "spec.items[1]": 'Invalid value: "object": failed rule: self.n > 0',
        "spec.words.b": "Invalid value: \"string\": failed rule: self != 'bad'",
    }


def test_a_rule_of_the_whole_object():
    own = version()
    own["schema"]["openAPIV3Schema"]["x-kubernetes-validations"] = [
        {"rule": "self.metadata.name.endsWith('d')", "message": "a name in d"}
    ]
    server = Defined(definition(own))
    assert {"<nil>": 'Invalid value: "object": a name in d'} == {} or server.make({}, name="end")
    with pytest.raises(Refused, match='<nil>: Invalid value: "object": a name in d'):
        server.make({}, name="start")


def test_old_values():
    server = ruled(
        SPEC,
        {"rule": "self.low >= oldSelf.low", "message": "only upwards"},
        {"rule": "oldSelf.hasValue() || self.high == 1", "optionalOldSelf": True, "message": "begins at 1"},
    )
    assert {"spec": 'Invalid value: "object": begins at 1'} == server.refused({"low": 5, "high": 2})
    server.make({"low": 5, "high": 1})
    server.amend({"low": 6, "high": 9})
    with pytest.raises(Refused, match="only upwards"):
        server.amend({"low": 5})


def test_items_of_keyed_lists_have_old_values():
    rule = {"rule": "self.port == oldSelf.port", "message": "ports stay"}
    item = {**object_of(name=STRING | {"must": True}, port=dict(INTEGER)), "x-kubernetes-validations": [rule]}
    keyed = {
        "type": "array",
        "maxItems": 9,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name"],
        "items": item,
    }
    server = Defined(definition(version(spec=object_of(list=keyed))))
    server.make({"list": [{"name": "a", "port": 1}, {"name": "b", "port": 2}]})
    server.amend({"list": [{"name": "b", "port": 2}, {"name": "c", "port": 3}]})
    with pytest.raises(Refused) as refusal:
        server.amend({"list": [{"name": "c", "port": 4}, {"name": "b", "port": 2}]})
    assert {"spec.list[0]": 'Invalid value: "object": ports stay'} == refusal.value.causes


def test_what_is_left_as_it_was_is_not_judged_by_new_rules():
    server = Defined(definition(version(spec=object_of(a=object_of(n=dict(INTEGER)), b=dict(INTEGER)))))
    server.make({"a": {"n": 0}, "b": 1})
    strict = object_of(n=dict(INTEGER)) | {"x-kubernetes-validations": [{"rule": "self.n > 0"}]}
    server.redefine(definition(version(spec=object_of(a=strict, b=dict(INTEGER)))))
    server.amend({"b": 2})
    with pytest.raises(Refused, match=r"failed rule: self\.n > 0"):
        server.amend({"a": {"n": -1}})
    server.amend({"a": {"n": 1}})


def test_rules_are_asked_of_what_else_is_right_only():
    server = ruled(SPEC, "self.low > 0")
    assert server.refused({"low": "x"}) == {
        "spec.low": 'Invalid value: "string": spec.low in body must be of type integer: "string"',
        "<nil>": "Invalid value: null: some validation rules were not checked because the object was invalid; "
        "correct the existing errors to complete validation",
    }
    bounded = ruled(object_of(low=INTEGER | {"minimum": 5}), "self.low > 9")
    assert {"spec.low", "spec"} == set(bounded.refused({"low": 1}))


def test_a_document_may_not_cost_more_than_its_budget():
    item = INTEGER | {"x-kubernetes-validations": [{"rule": "self >= 0"}]}
    server = Defined(definition(version(spec=object_of(list={"type": "array", "maxItems": 1_000_000, "items": item}))))
    server.make({"list": [1] * 1000})
    found = server.refused({"list": [1] * 20_000})
    assert ["validation failed due to running out of cost budget, no further validation rules will be run"] == [
        why.partition(": ")[2].partition(": ")[2] for why in found.values()
    ]


def test_with_very_much_wrong_the_answer_is_short():
    item = INTEGER | {"x-kubernetes-validations": [{"rule": "self >= 0", "messageExpression": "'no %d'.format([self])"}]}
    server = Defined(definition(version(spec=object_of(list={"type": "array", "maxItems": 10_000, "items": item}))))
    assert 100 == len(server.refused({"list": [-1] * 5000}))


def test_a_loop_may_not_take_more_steps_than_its_limit():
    spec = object_of(list={"type": "array", "maxItems": 900, "items": INTEGER})
    server = ruled(spec, "self.list.all(a, self.list.exists(b, a == b))")
    server.make({"list": list(range(50))})
    (why,) = server.refused({"list": list(range(900))}).values()
    assert "no further validation rules will be run due to call cost exceeds limit for rule: self.list.all(" in why


def test_a_status_is_judged_by_its_rules_too():
    own = version(subresources={"status": {}})
    own["schema"]["openAPIV3Schema"]["properties"]["status"] = {
        "type": "object", "properties": {"n": dict(INTEGER)}, "x-kubernetes-validations": [{"rule": "self.n > 0"}],
    }  # fmt: skip
    server = Defined(definition(own))
    server.make({})
    with pytest.raises(Refused, match=r"status: Invalid value: \"object\": failed rule: self\.n > 0"):
        server.amend({}, subresource="status", status={"n": 0})
