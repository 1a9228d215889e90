"""Would an API server take these Gateway API objects? Their schemas, and the rules that schemas cannot say."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Document = dict[str, Any]
SCHEMAS = json.loads((Path(__file__).parent / "data" / "gateway-api-standard.json").read_text())["schemas"]
TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int, "number": (int, float)}


def faults(document: Document) -> list[str]:
    """What is wrong with it, each with its path; [] for objects of other APIs."""
    group, _, version = document["apiVersion"].rpartition("/")
    if group != "gateway.networking.k8s.io":
        return []
    if version != "v1" or document["kind"] not in SCHEMAS:
        return [f"{document['kind']} {version} is not in the standard channel"]
    found = [*_check(SCHEMAS[document["kind"]], document, document["kind"])]
    return [*found, *_rules(document)]


def _check(schema: Document, value: Any, path: str) -> Iterator[str]:
    kind = schema.get("type")
    if kind and (not isinstance(value, TYPES[kind]) or (kind == "integer" and isinstance(value, bool))):
        yield f"{path}: {value!r} is no {kind}"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{path}: {value!r} is none of {schema['enum']}"
    match value:
        case str():
            if "pattern" in schema and not re.search(schema["pattern"], value):
                yield f"{path}: {value!r} does not match {schema['pattern']}"
            yield from _between(len(value), schema.get("minLength"), schema.get("maxLength"), f"{path}: length")
        case bool():
            pass
        case int():
            yield from _between(value, schema.get("minimum"), schema.get("maximum"), path)
        case list():
            yield from _between(len(value), schema.get("minItems"), schema.get("maxItems"), f"{path}: items")
            for number, each in enumerate(value):
                yield from _check(schema["items"], each, f"{path}[{number}]")
            keys = schema.get("x-kubernetes-list-map-keys")
            if keys:
                named = [tuple(each.get(key) for key in keys) for each in value]
                yield from (f"{path}: two of {each}" for each in {each for each in named if named.count(each) > 1})
        case dict():
            yield from _fields(schema, value, path)


def _fields(schema: Document, value: Document, path: str) -> Iterator[str]:
    known = schema.get("properties", {})
    yield from (f"{path}: {name} is missing" for name in schema.get("required", ()) if name not in value)
    for name, each in value.items():
        if name in known:
            yield from _check(known[name], each, f"{path}.{name}")
        elif isinstance(schema.get("additionalProperties"), dict):
            yield from _check(schema["additionalProperties"], each, f"{path}.{name}")
        elif not schema.get("x-kubernetes-preserve-unknown-fields") and "properties" in schema:
            yield f"{path}: {name} is unknown"


def _between(number: int, least: int | None, most: int | None, what: str) -> Iterator[str]:
    if (least is not None and number < least) or (most is not None and number > most):
        yield f"{what} {number} is not in {least}..{most}"


# x-kubernetes-validations, as far as what is printed can break them ----------------------------------------------------------


def _rules(document: Document) -> Iterator[str]:
    spec = document["spec"]
    match document["kind"]:
        case "Gateway" | "ListenerSet":
            names = [each["name"] for each in spec["listeners"]]
            doors = [(each["port"], each["protocol"], each.get("hostname")) for each in spec["listeners"]]
            if len(set(names)) < len(names) or len(set(doors)) < len(doors):
                yield "two listeners are the same"
            for each in spec["listeners"]:
                if each["protocol"] == "HTTPS" and not each["tls"].get("certificateRefs"):
                    yield f"{each['name']}: no certificate"
        case "HTTPRoute" | "GRPCRoute" | "TLSRoute":
            parents = [(each.get("namespace"), each["name"], each.get("sectionName")) for each in spec["parentRefs"]]
            if len(set(parents)) < len(parents):
                yield "two parentRefs are the same"
            if sum(len(rule.get("matches", ())) for rule in spec["rules"]) > 128:
                yield "more than 128 matches"
            for rule in spec["rules"]:
                yield from _rule(rule)
        case "BackendTLSPolicy":
            trust = spec["validation"]
            if ("caCertificateRefs" in trust) == ("wellKnownCACertificates" in trust):
                yield "one of caCertificateRefs and wellKnownCACertificates"


def _rule(rule: Document) -> Iterator[str]:
    types = [each["type"] for each in rule.get("filters", ())]
    if any(types.count(each) > 1 for each in types if each != "RequestMirror"):
        yield f"a filter is repeated: {types}"
    if "RequestRedirect" in types and ("URLRewrite" in types or rule.get("backendRefs")):
        yield "RequestRedirect with backends or a rewrite"
    for each in rule.get("filters", ()):
        field = {"CORS": "cors", "URLRewrite": "urlRewrite"}.get(each["type"], each["type"][0].lower() + each["type"][1:])
        if set(each) != {"type", field}:
            yield f"{each['type']} has {sorted(each)}"
        path = each.get(field, {}).get("path") if field in ("urlRewrite", "requestRedirect") else None
        if path:
            wanted = "replaceFullPath" if path["type"] == "ReplaceFullPath" else "replacePrefixMatch"
            if set(path) != {"type", wanted}:
                yield f"{path}"
            prefixes = [match["path"]["type"] for match in rule["matches"]]
            if wanted == "replacePrefixMatch" and prefixes != ["PathPrefix"]:
                yield f"replacePrefixMatch with matches {prefixes}"
        for field in ("allowOrigins", "allowMethods", "allowHeaders"):
            listed = each.get("cors", {}).get(field, ())
            if "*" in listed and len(listed) > 1:
                yield f"{field}: * beside others"
    yield from (fault for match in rule.get("matches", ()) for fault in _path(match.get("path")))
    yield from (f"{each['name']} has no port" for each in rule.get("backendRefs", ()) if not each.get("port"))
    times = rule.get("timeouts", {})
    if {"request", "backendRequest"} <= set(times) and _seconds(times["backendRequest"]) > _seconds(times["request"]):
        yield "backendRequest is longer than request"


def _path(path: Document | None) -> Iterator[str]:
    if path and path["type"] in ("Exact", "PathPrefix"):
        value = path["value"]
        bad = [each for each in ("//", "/./", "/../", "%2f", "%2F", "#") if each in value]
        allowed = re.fullmatch(r"(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|[%][0-9a-fA-F]{2})+", value)
        if bad or not value.startswith("/") or value.endswith(("/.", "/..")) or not allowed:
            yield f"path {value!r}"


def _seconds(duration: str) -> float:
    units = {"h": 3600, "m": 60, "s": 1, "ms": 0.001}
    return sum(int(number) * units[unit] for number, unit in re.findall(r"(\d+)(ms|h|m|s)", duration))
