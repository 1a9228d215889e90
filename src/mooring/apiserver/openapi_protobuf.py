"""How is a Swagger 2.0 document written as protobuf, the only form in which Go clients read /openapi/v2?

The messages are gnostic's (https://github.com/google/gnostic-models, openapiv2/OpenAPIv2.proto): Document, Info, Definitions,
NamedSchema, Schema and what hangs below. Clients read merge keys and fields from the definitions. Of the paths they read one
thing, and only before 1.27: whether the patch of a kind knows the parameter dryRun. So a path has its patch, and that its kind
and query parameters; what else the JSON form has is left out.
"""

from typing import Any

from mooring.model.codec import encode

Json = dict[str, Any]

# Field numbers of the messages written here.
DOCUMENT_SWAGGER, DOCUMENT_INFO, DOCUMENT_PATHS, DOCUMENT_DEFINITIONS = 1, 2, 8, 9
INFO_TITLE, INFO_VERSION = 1, 2
NAMED_NAME, NAMED_VALUE = 1, 2
REPEATED = 1
SCHEMA_TEXTS = {"$ref": 1, "format": 2, "description": 4}
SCHEMA_REQUIRED, SCHEMA_ADDITIONAL_PROPERTIES, SCHEMA_TYPE, SCHEMA_ITEMS, SCHEMA_PROPERTIES, SCHEMA_EXTENSION = (
    19,
    21,
    22,
    23,
    25,
    31,
)
ANY_YAML = 2
PATHS_PATH, PATH_ITEM_PATCH, OPERATION_PARAMETERS, OPERATION_EXTENSION = 2, 8, 8, 13
QUERY_PARAMETER = (1, 2, 3)
"""ParametersItem.parameter, Parameter.non_body_parameter, NonBodyParameter.query_parameter_sub_schema: one inside the other."""
QUERY_IN, QUERY_NAME, QUERY_TYPE = 2, 4, 6
_LENGTH_DELIMITED = 2


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _field(number: int, content: str | bytes) -> bytes:
    data = content.encode() if isinstance(content, str) else content
    return _varint(number << 3 | _LENGTH_DELIMITED) + _varint(len(data)) + data


def _named(name: str, value: bytes) -> bytes:
    return _field(NAMED_NAME, name) + _field(NAMED_VALUE, value)


def _schema(schema: Json) -> bytes:
    parts = [_field(number, schema[name]) for name, number in SCHEMA_TEXTS.items() if name in schema]
    parts += [_field(SCHEMA_REQUIRED, name) for name in schema.get("required", ())]
    if "additionalProperties" in schema:
        parts.append(_field(SCHEMA_ADDITIONAL_PROPERTIES, _field(REPEATED, _schema(schema["additionalProperties"]))))
    if "type" in schema:
        parts.append(_field(SCHEMA_TYPE, _field(REPEATED, schema["type"])))
    if "items" in schema:
        parts.append(_field(SCHEMA_ITEMS, _field(REPEATED, _schema(schema["items"]))))
    if "properties" in schema:
        properties = b"".join(_field(REPEATED, _named(name, _schema(item))) for name, item in schema["properties"].items())
        parts.append(_field(SCHEMA_PROPERTIES, properties))
    parts += _extensions(SCHEMA_EXTENSION, schema)
    return b"".join(parts)


def _extensions(number: int, described: Json) -> list[bytes]:
    """An extension's value is YAML text; JSON is YAML."""
    return [
        _field(number, _named(name, _field(ANY_YAML, encode(value) + b"\n")))
        for name, value in described.items()
        if name.startswith("x-")
    ]


def _query_parameter(parameter: Json) -> bytes:
    message = _field(QUERY_IN, "query") + _field(QUERY_NAME, parameter["name"]) + _field(QUERY_TYPE, parameter["type"])
    for number in reversed(QUERY_PARAMETER):
        message = _field(number, message)
    return message


def _patch(operation: Json) -> bytes:
    query = [each for each in operation["parameters"] if each["in"] == "query"]
    parts = [_field(OPERATION_PARAMETERS, _query_parameter(each)) for each in query]
    return _field(PATH_ITEM_PATCH, b"".join((*parts, *_extensions(OPERATION_EXTENSION, operation))))


def encode_document(document: Json) -> bytes:
    """A Swagger 2.0 document (swagger, info, the patches of its paths, definitions) as an openapi.v2.Document message."""
    info = _field(INFO_TITLE, document["info"]["title"]) + _field(INFO_VERSION, document["info"]["version"])
    definitions = b"".join(_field(REPEATED, _named(name, _schema(schema))) for name, schema in document["definitions"].items())
    paths = b"".join(
        _field(PATHS_PATH, _named(path, _patch(item["patch"]))) for path, item in document["paths"].items() if "patch" in item
    )
    return b"".join(
        (
            _field(DOCUMENT_SWAGGER, document["swagger"]),
            _field(DOCUMENT_INFO, info),
            _field(DOCUMENT_PATHS, paths),
            _field(DOCUMENT_DEFINITIONS, definitions),
        )
    )
