"""Which schemas may a definition have, and in which words are the others refused?"""

import pytest
from custom_definitions import causes, definition, object_of, schema_causes, version

from mooring.apiserver.custom.rule_checks import MAX_RULES

STRING, INTEGER = {"type": "string"}, {"type": "integer"}
LIST = {"type": "array", "items": STRING}
KEYED = {
    "type": "array",
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["name"],
    "items": {"type": "object", "required": ["name"], "properties": {"name": STRING}},
}
EXTENSION = "x-kubernetes-"


def within(**schema):
    """A spec with one field, x, of this schema."""
    return object_of(
        x={
            name.replace("x_", EXTENSION).replace("_", "-") if name.startswith("x_") else name: value
            for name, value in schema.items()
        }
    )


STRUCTURE = {
    "a field without a type": (
        within(),
        {".properties[x].type": "Required value: must not be empty for specified object fields"},
    ),
    "items without a type": (
        within(type="array", items={}),
        {".properties[x].items.type": "Required value: must not be empty for specified array items"},
    ),
    "a list without items": (within(type="array"), {".properties[x].items": "Required value: must be specified"}),
    "a type that is none": (
        within(type="text"),
        {
            ".properties[x].type": (
                'Unsupported value: "text": supported values: "array", "boolean", "integer", "number", "object", "string"'
            )
        },
    ),
    "null as a type": (
        within(type="null"),
        {".properties[x].type": "Forbidden: type cannot be set to null, use nullable as an alternative"},
    ),
    "a type under a junctor": (
        within(type="object", anyOf=[{"type": "object"}]),
        {".properties[x].anyOf[0].type": "Forbidden: must be empty to be structural"},
    ),
    "a default under a junctor": (
        within(type="string", oneOf=[{"default": "a"}]),
        {".properties[x].oneOf[0].default": "Forbidden: must be undefined to be structural"},
    ),
    "a description under not": (
        within(type="string", **{"not": {"description": "a"}}),
        {".properties[x].not.description": "Forbidden: must be empty to be structural"},
    ),
    "a property only under a junctor": (
        within(type="object", properties={"a": {"type": "string"}}, anyOf=[{"properties": {"b": {"minLength": 1}}}]),
        {
            ".properties[x].properties[b]": (
                "Required value: because it is defined in"
                " spec.validation.openAPIV3Schema.properties[spec].properties[x].anyOf[0].properties[b]"
            )
        },
    ),
    "a pattern that is none": (
        within(type="string", pattern="["),
        {
            ".properties[x].pattern": (
                'Invalid value: "[": must be a valid regular expression, but isn\'t: error parsing regexp: missing ]: ['
            )
        },
    ),
    "int or string that keeps unknown fields": (
        within(x_int_or_string=True, x_preserve_unknown_fields=True),
        {
            ".properties[x].x-kubernetes-preserve-unknown-fields": (
                "Invalid value: true: must be false if x-kubernetes-int-or-string is true"
            )
        },
    ),
    "a resource inside that is no object": (within(type="string", x_embedded_resource=True), None),
    "a resource inside without properties": (
        within(type="object", x_embedded_resource=True),
        {
            ".properties[x].properties": (
                "Required value: must not be empty if x-kubernetes-embedded-resource"
                " is true without x-kubernetes-preserve-unknown-fields"
            )
        },
    ),
    "properties beside additionalProperties": (
        within(type="object", properties={"a": {"type": "string"}}, additionalProperties={"type": "string"}),
        {".properties[x].additionalProperties": "Forbidden: additionalProperties and properties are mutual exclusive"},
    ),
    "uniqueItems": (
        within(type="array", items={"type": "string"}, uniqueItems=True),
        {
            ".properties[x].uniqueItems": (
                "Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
            )
        },
    ),
    "a reference": (within(type="object", **{"$ref": "#/a"}), {".properties[x].$ref": "Forbidden: $ref is not supported"}),
    "definitions": (
        within(type="object", definitions={"a": {"type": "string"}}),
        {".properties[x].definitions": "Forbidden: definitions is not supported"},
    ),
    "items as a list": (within(type="array", items=[{"type": "string"}]), None),
    "unknown fields kept: false": (
        within(type="object", x_preserve_unknown_fields=False),
        {".properties[x].x-kubernetes-preserve-unknown-fields": "Invalid value: false: must be true or undefined"},
    ),
    "a type of lists on an object": (
        within(type="object", x_list_type="set"),
        {".properties[x].type": 'Invalid value: "object": must be array if x-kubernetes-list-type is specified'},
    ),
    "a type of lists that is none": (
        within(type="array", items={"type": "string"}, x_list_type="bag"),
        {".properties[x].x-kubernetes-list-type": 'Unsupported value: "bag": supported values: "atomic", "set", "map"'},
    ),
    "keys without a map": (
        within(type="array", items={"type": "string"}, x_list_map_keys=["a"]),
        {".properties[x].x-kubernetes-list-type": "Required value: must be map if x-kubernetes-list-map-keys is non-empty"},
    ),
    "a map without keys": (
        within(type="array", items={"type": "object", "properties": {}}, x_list_type="map"),
        {".properties[x].x-kubernetes-list-map-keys": "Required value: must not be empty if x-kubernetes-list-type is map"},
    ),
    "a key that is no property": (
        within(
            type="array",
            items={"type": "object", "properties": {"a": {"type": "string"}}},
            x_list_type="map",
            x_list_map_keys=["b"],
        ),
        {".properties[x].x-kubernetes-list-map-keys": 'Invalid value: ["b"]: entries must all be names of item properties'},
    ),
    "a key that may be absent": (
        within(
            type="array",
            items={"type": "object", "properties": {"a": {"type": "string"}}},
            x_list_type="map",
            x_list_map_keys=["a"],
        ),
        {
            ".properties[x].items.properties[a].default": (
                "Required value: this property is in x-kubernetes-list-map-keys, so it"
                " must have a default or be a required property"
            )
        },
    ),
    "a set of objects": (
        within(type="array", items={"type": "object", "properties": {}}, x_list_type="set"),
        {
            ".properties[x].items.x-kubernetes-map-type": (
                "Invalid value: null: must be atomic as item of a list with x-kubernetes-list-type=set"
            )
        },
    ),
    "a set whose items may be null": (
        within(type="array", items={"type": "string", "nullable": True}, x_list_type="set"),
        {".properties[x].items.nullable": "Forbidden: cannot be nullable when x-kubernetes-list-type is set"},
    ),
    "a type of maps that is none": (
        within(type="object", x_map_type="loose"),
        {".properties[x].x-kubernetes-map-type": 'Unsupported value: "loose": supported values: "atomic", "granular"'},
    ),
    "a default of another type": (within(type="integer", default="a"), {".properties[x].default": None}),
    "a default with unknown fields": (
        within(type="object", properties={"a": {"type": "string"}}, default={"b": 1}),
        {".properties[x].default": 'Invalid value: {"b":1}: must not have unknown fields'},
    ),
    "a default outside of an enum": (
        within(type="string", enum=["a"], default="b"),
        {".properties[x].default": 'Unsupported value: "b": supported values: "a"'},
    ),
}


@pytest.mark.parametrize("case", STRUCTURE)
def test_a_schema_is_refused_that_has(case):
    schema, wanted = STRUCTURE[case]
    found = schema_causes(schema)
    if wanted is None:
        assert found
        return
    for field, message in wanted.items():
        assert field in found, found
        assert message is None or message in found[field]


def root(**schema):
    own = version()
    own["schema"] = {"openAPIV3Schema": {"type": "object", **schema}}
    return {field.removeprefix("spec.validation.openAPIV3Schema"): why for field, why in causes(definition(own)).items()}


def test_the_root_is_an_object():
    assert {".type": 'Invalid value: "string": must be object at the root'} == root(type="string")
    assert "Required value: must not be empty at the root" == root(type="")[".type"]
    assert "Forbidden: must not be used at the root" in root(additionalProperties={"type": "string"})[".additionalProperties"]
    assert {".nullable": "Forbidden: nullable cannot be true at the root"} == root(nullable=True)


def test_of_metadata_only_names_can_be_restricted():
    assert "Forbidden: must not specify anything other than name and generateName" in next(
        iter(root(properties={"metadata": {"type": "object", "properties": {"labels": {"type": "object"}}}}).values())
    )
    assert "must not be set in top-level metadata" in str(
        root(properties={"metadata": {"type": "object", "properties": {"name": {"type": "string", "default": "a"}}}})
    )


def test_with_a_status_of_its_own_the_root_says_nothing_beside_properties():
    own = version(subresources={"status": {}})
    own["schema"]["openAPIV3Schema"]["maxProperties"] = 3
    (why,) = causes(definition(own)).values()
    assert "fields are allowed at the root of the schema if the status subresource is enabled" in why


def test_every_version_has_a_schema():
    bare = version()
    del bare["schema"]
    assert {"spec.versions[0].schema.openAPIV3Schema": "Required value: schemas are required"} == causes(definition(bare))


def test_what_versions_do_not_have_in_common_is_said_at_each():
    wrong = causes(definition(version("v1", within()), version("v2", within(type="text"), storage=False)))
    assert sorted(wrong) == [
        "spec.versions[0].schema.openAPIV3Schema.properties[spec].properties[x].type",
        "spec.versions[1].schema.openAPIV3Schema.properties[spec].properties[x].type",
    ]


def test_types_are_checked_below_items_and_additional_properties_too():
    from custom_definitions import Defined
    from direct import Refused

    server = Defined()
    with pytest.raises(Refused) as refusal:
        server.define(definition(version(spec=within(type="array", items={"type": "string", "maxLength": "long"}))))
    assert (400, True) == (
        refusal.value.code,
        "JSONSchemaProps" in refusal.value.message and "type int64" in refusal.value.message,
    )
    with pytest.raises(Refused) as refusal:
        server.define(definition(version(spec=within(type="number", minimum="low"))))
    assert "JSONSchemaProps.minimum of type float64" in refusal.value.message
    server.define(definition(version(spec=within(type="array", items={"type": "string", "maxlength": 3}))))
    assert (
        'unknown field \\"spec.versions[0].schema.openAPIV3Schema.properties.spec.properties.x.items.maxlength\\"'
        in server.warnings[0]
    )


RULES = {
    "an empty rule": ({"rule": " "}, ".rule", "Required value: rule is not specified"),
    "a message of blanks": ({"rule": "true", "message": " "}, ".message", "message must be non-empty if specified"),
    "a message of two lines": ({"rule": "true", "message": "a\nb"}, ".message", "message must not contain line breaks"),
    "two lines without a message": (
        {"rule": "true &&\ntrue"},
        ".message",
        "Required value: message must be specified if rule contains line breaks",
    ),
    "a reason that is none": (
        {"rule": "true", "reason": "Because"},
        ".reason",
        'Unsupported value: "Because": supported values: "FieldValueDuplicate"',
    ),
    "a path to nowhere": ({"rule": "true", "fieldPath": ".nope"}, ".fieldPath", "fieldPath must be a valid path"),
    "a field that is not there": (
        {"rule": "self.nope == 1"},
        ".rule",
        "compilation failed: ERROR: <input>:1:5: undefined field 'nope'\n | self.nope == 1\n | ....^",
    ),
    "no syntax": ({"rule": "self.x =="}, ".rule", "Syntax error"),
    "no truth": ({"rule": "self.x"}, ".rule", "cel expression must evaluate to a bool"),
    "a message that is no text": (
        {"rule": "true", "messageExpression": "1"},
        ".messageExpression",
        "messageExpression must evaluate to a string",
    ),
    "a message that does not compile": (
        {"rule": "true", "messageExpression": "self.y"},
        ".messageExpression",
        "messageExpression compilation failed: ERROR: <input>:1:5: undefined field 'y'",
    ),
    "an optional old value that is not used": (
        {"rule": "true", "optionalOldSelf": True},
        ".optionalOldSelf",
        "Invalid value: true: may not be set if oldSelf is not used in rule",
    ),
    "too dear a rule": (
        {"rule": "self.l.all(a, self.l.all(b, a != b))"},
        ".rule",
        "Forbidden: estimated rule cost exceeds budget by factor of more than 100x (try simplifying the rule, or adding "
        "maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)",
    ),
}


@pytest.mark.parametrize("case", RULES)
def test_a_rule_is_refused_that_has(case):
    rule, field, message = RULES[case]
    schema = object_of(x=dict(STRING), l=dict(LIST)) | {"x-kubernetes-validations": [rule]}
    assert message in schema_causes(schema)[f".x-kubernetes-validations[0]{field}"]


def test_what_all_rules_cost_together_is_bounded_too():
    dear = {"rule": "self.all(x, x.contains('gpu'))"}
    lists = {
        f"l{n}": {
            "type": "array",
            "maxItems": 300_000,
            "items": {"type": "string", "maxLength": 60},
            "x-kubernetes-validations": [dear],
        }
        for n in range(12)
    }
    found = schema_causes({"type": "object", "properties": lists})
    assert "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema exceeds budget" in str(found)
    named = [field for field, why in found.items() if "contributed to estimated rule cost total" in why]
    assert 4 == len(named)
    many = {"type": "object", "x-kubernetes-validations": [{"rule": "no cel"}] * (MAX_RULES + 1)}
    assert ["Too many: 1001: must have at most 1000 items"] == list(schema_causes(many).values())


def test_a_rule_in_a_list_costs_as_often_as_it_is_asked():
    rule = {"rule": "self.contains('gpu')"}
    items = {"type": "string", "maxLength": 1000, "x-kubernetes-validations": [rule]}
    assert "estimated rule cost exceeds budget" in str(schema_causes(within(type="array", items=items)))
    from custom_definitions import Defined

    Defined(definition(version(spec=within(type="array", items=items, maxItems=1000))))


def test_an_old_value_can_only_be_asked_for_where_it_can_be_found():
    rule = {"rule": "self == oldSelf"}
    items = {"type": "string", "maxLength": 9, "x-kubernetes-validations": [rule]}
    (why,) = schema_causes(within(type="array", items=items, maxItems=9)).values()
    assert "oldSelf cannot be used on the uncorrelatable portion of the schema within " in why
    keyed = KEYED | {
        "maxItems": 9,
        "items": KEYED["items"] | {"x-kubernetes-validations": [{"rule": "self.name == oldSelf.name"}]},
    }
    from custom_definitions import Defined

    Defined(definition(version(spec=object_of(x=keyed))))
