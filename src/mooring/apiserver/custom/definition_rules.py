"""Is a definition right? Everything but its schemas (schema_rules.py): names, versions, columns, subresources, conversion.

Upstream: pkg/apis/apiextensions/validation/validation.go. What all versions say alike is reported once, at the place where
upstream's internal form has it: spec.validation, spec.subresources, spec.additionalPrinterColumns, spec.selectableFields.
"""

import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import msgspec

from mooring.apiserver.custom import names
from mooring.apiserver.custom.default_checks import check_defaults
from mooring.apiserver.custom.jsonpath import parse
from mooring.apiserver.custom.rule_checks import check_rules
from mooring.apiserver.custom.rule_paths import field_path
from mooring.apiserver.custom.schema_rules import check_schema, check_structural, not_supported
from mooring.apiserver.custom.structural import structural
from mooring.apiserver.kinds import formats
from mooring.apiserver.kinds.problems import IMMUTABLE, duplicate, forbidden, invalid, required, too_many
from mooring.apiserver.strategy import Document, FieldError
from mooring.model import codec
from mooring.model.kinds import KINDS

_sorted = msgspec.json.Encoder(order="sorted")
_COLUMN_TYPES = ("boolean", "date", "integer", "number", "string")
_COLUMN_FORMATS = ("byte", "date", "date-time", "double", "float", "int32", "int64", "password")
_MOST_SELECTABLE = 8
_REVIEWS = ("v1", "v1beta1")
_BUILT_IN = frozenset(f"{kind.plural}.{kind.group}" for kind in KINDS)
"""Upstream keeps other records for a definition of one; here both would have the same."""
PRESERVE = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"


def check(document: Document, old: Document | None, established: bool) -> list[FieldError]:
    """What is wrong with a definition, on an update also what may not change."""
    spec: Document = document["spec"]
    found = _check_spec(spec)
    if old is None and (resource := f"{spec['names'].get('plural')}.{spec.get('group')}") in _BUILT_IN:
        found.append(forbidden("spec.names.plural", f"{resource} is served by this server itself"))
    if old is not None:
        before = old["spec"]
        if established:
            found += _immutable("spec.scope", spec.get("scope"), before.get("scope"))
            found += _immutable("spec.names.kind", spec["names"].get("kind"), before["names"].get("kind"))
        found += _immutable("spec.group", spec.get("group"), before.get("group"))
        found += _immutable("spec.names.plural", spec["names"].get("plural"), before["names"].get("plural"))
    found += _check_approval(document, old)
    if spec.get("preserveUnknownFields") and not (old and old["spec"].get("preserveUnknownFields")):
        found.append(invalid("spec.preserveUnknownFields", True, PRESERVE))
    return found


def check_stored_versions(document: Document) -> list[FieldError]:
    field, stored = "status.storedVersions", (document.get("status") or {}).get("storedVersions") or []
    if not stored:
        return [invalid(field, stored, "must have at least one stored version")]
    versions = document["spec"].get("versions") or ()
    known = {version.get("name") or "" for version in versions}
    found = [
        invalid(field, stored, f"must have the storage version {version.get('name') or ''}")
        for version in versions if version.get("storage") and (version.get("name") or "") not in stored
    ]  # fmt: skip
    for place, name in enumerate(stored):
        if name not in known:
            why = (
                f"missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions until "
                f"a storage migration ensures no data remains persisted in {name} and removes {name} from status.storedVersions"
            )
            found.append(invalid(f"{field}[{place}]", name, why))
    return found


def _immutable(field: str, value: Any, before: Any) -> list[FieldError]:
    return [] if value == before else [invalid(field, value, IMMUTABLE)]


def _joined(field: str, value: Any, messages: list[str]) -> list[FieldError]:
    return [invalid(field, value, ",".join(messages))] if messages else []


def _check_spec(spec: Document) -> list[FieldError]:
    found: list[FieldError] = []
    group = spec.get("group") or ""
    if not group:
        found.append(required("spec.group"))
    elif trouble := formats.subdomain(group):
        found += _joined("spec.group", group, trouble)
    elif "." not in group:
        found.append(invalid("spec.group", group, "should be a domain with at least one dot"))
    scope = spec.get("scope") or ""
    if not scope:
        found.append(required("spec.scope"))
    elif scope not in ("Cluster", "Namespaced"):
        found.append(not_supported("spec.scope", scope, ("Cluster", "Namespaced")))
    found += _check_versions(spec)
    own = spec.get("names") or {}
    found += [required(f"spec.names.{name}") for name in ("plural", "singular", "kind", "listKind") if not own.get(name)]
    found += check_names(own, "spec.names")
    return found + _check_conversion(spec.get("conversion") or {})


def check_names(own: Document, path: str) -> list[FieldError]:
    found: list[FieldError] = []
    for name in ("plural", "singular"):
        if value := own.get(name):
            found += _joined(f"{path}.{name}", value, formats.label_1035(value))
    for name in ("kind", "listKind"):
        if (value := own.get(name)) and (trouble := formats.label_1035(value.lower())):
            why = "may have mixed case, but should otherwise match: " + ",".join(trouble)
            found.append(invalid(f"{path}.{name}", value, why))
    for name in ("shortNames", "categories"):
        for place, value in enumerate(own.get(name) or ()):
            found += _joined(f"{path}.{name}[{place}]", value, formats.label_1035(value))
    if own.get("kind") and own.get("kind") == own.get("listKind"):
        found.append(invalid(f"{path}.listKind", own["listKind"], "kind and listKind may not be the same"))
    return found


# Versions ---------------------------------------------------------------------------------------------------------------


def _check_versions(spec: Document) -> list[FieldError]:
    found: list[FieldError] = []
    versions = spec.get("versions") or []
    for place, version in enumerate(versions):
        field = f"spec.versions[{place}]"
        found += _joined(f"{field}.name", version.get("name") or "", formats.label_1035(version.get("name") or ""))
        warning = version.get("deprecationWarning")
        found += [invalid(f"{field}.deprecationWarning", warning, why) for why in _warning(version.get("deprecated"), warning)]
        if not (version.get("schema") or {}).get("openAPIV3Schema"):
            found.append(required(f"{field}.schema.openAPIV3Schema", "schemas are required"))
    for path, schema, has_status in _schemas(versions):
        found += checked_schema(_sorted.encode(schema), path, has_status)
    for path, value in _alike(versions, "subresources", "spec.subresources"):
        found += _check_scale(value.get("scale"), f"{path}.scale")
    for path, value in _alike(versions, "additionalPrinterColumns", "spec.additionalPrinterColumns"):
        found += [error for place, one in enumerate(value) for error in _check_column(one, f"{path}[{place}]")]
    for path, value, schema in _selectable(versions):
        found += _check_selectable(value, schema, path)
    all_names = [version.get("name") for version in versions]
    if len(set(all_names)) < len(all_names):
        found.append(invalid("spec.versions", all_names, "must contain unique version names"))
    if sum(bool(version.get("storage")) for version in versions) != 1:
        found.append(invalid("spec.versions", all_names, "must have exactly one version marked as storage version"))
    return found


def _alike(versions: list[Document], name: str, common: str) -> Iterator[tuple[str, Any]]:
    """(path, value) of a field of versions: once, at the top, when all say the same."""
    values = [version.get(name) for version in versions]
    if values and values[0] and all(value == values[0] for value in values):
        yield common, values[0]
        return
    for place, value in enumerate(values):
        if value:
            yield f"spec.versions[{place}].{name}", value


def _schemas(versions: list[Document]) -> Iterator[tuple[str, Document, bool]]:
    def status(version: Document) -> bool:
        return (version.get("subresources") or {}).get("status") is not None

    for path, value in _alike(versions, "schema", "spec.validation"):
        if schema := value.get("openAPIV3Schema"):
            mine = [version for version in versions if version.get("schema") == value]
            yield f"{path}.openAPIV3Schema", schema, any(map(status, mine))


def _selectable(versions: list[Document]) -> Iterator[tuple[str, list[Document], Document]]:
    for path, value in _alike(versions, "selectableFields", "spec.selectableFields"):
        for version in versions:
            if version.get("selectableFields") == value and (schema := (version.get("schema") or {}).get("openAPIV3Schema")):
                yield path, value, schema
                break


@lru_cache(maxsize=64)
def checked_schema(encoded: bytes, path: str, has_status: bool) -> tuple[FieldError, ...]:
    """What is wrong with a schema, expressions last: they are looked at when all else is right. Kept, since a definition is
    validated at every write of it, and its expressions are dear to check."""
    raw = codec.decode(encoded)
    found = check_structural(raw, path)
    if not found:
        found = check_defaults(structural(raw), path) if not check_schema(raw, path, has_status) else []
    found += check_schema(raw, path, has_status)
    return tuple(found or check_rules(structural(raw), path))


def _warning(deprecated: bool | None, warning: str | None) -> list[str]:
    if warning is None:
        return []
    if not deprecated:
        return ["can only be set for deprecated versions"]
    found = []
    if len(warning.encode()) > 256:
        found.append("must be <= 256 characters long")
    if not warning:
        found.append("must not be an empty string")
    bad = next((place for place, one in enumerate(warning) if unicodedata.category(one)[0] == "C"), None)
    if bad is not None:
        found.append(f"must only contain printable UTF-8 characters; non-printable character found at index {bad}")
    return found


def _check_column(column: Document, field: str) -> list[FieldError]:
    found: list[FieldError] = []
    if not column.get("name"):
        found.append(required(f"{field}.name"))
    types, kinds = ",".join(_COLUMN_TYPES), column.get("type")
    if not kinds:
        found.append(required(f"{field}.type", f"must be one of {types}"))
    elif kinds not in _COLUMN_TYPES:
        found.append(invalid(f"{field}.type", kinds, f"must be one of {types}"))
    if column.get("format") and column["format"] not in _COLUMN_FORMATS:
        found.append(invalid(f"{field}.format", column["format"], f"must be one of {','.join(_COLUMN_FORMATS)}"))
    path = column.get("jsonPath")
    if not path:
        found.append(required(f"{field}.JSONPath"))
    elif not (trouble := _check_path(path, f"{field}.JSONPath")):
        try:
            parse(path)
        except (ValueError, RecursionError):
            found.append(invalid(f"{field}.JSONPath", path, f'unrecognized column definition "{path}"'))
    else:
        found += trouble
    return found


def _check_path(path: str, field: str) -> list[FieldError]:
    return [] if path[0] == "." else [invalid(field, path, "must be a simple json path starting with .")]


def _check_scale(scale: Document | None, field: str) -> list[FieldError]:
    found: list[FieldError] = []
    if scale is None:
        return found
    for name, root in (("specReplicasPath", ".spec."), ("statusReplicasPath", ".status.")):
        path = scale.get(name)
        if not path:
            found.append(required(f"{field}.{name}"))
        elif trouble := _check_path(path, f"{field}.{name}"):
            found += trouble
        elif not path.startswith(root):
            found.append(invalid(f"{field}.{name}", path, f"should be a json path under {root[:-1]}"))
    if path := scale.get("labelSelectorPath"):
        trouble = _check_path(path, f"{field}.labelSelectorPath")
        if not trouble and not path.startswith((".spec.", ".status.")):
            trouble = [invalid(f"{field}.labelSelectorPath", path, "should be a json path under either .spec or .status")]
        found += trouble
    return found


def _check_selectable(fields: list[Document], raw: Document, field: str) -> list[FieldError]:
    found: list[FieldError] = []
    seen: set[tuple[str, ...]] = set()
    schema = structural(raw)
    for place, one in enumerate(fields):
        where, path = f"{field}[{place}].jsonPath", one.get("jsonPath") or ""
        if not path:
            found.append(required(where))
            continue
        try:
            own, at_end = field_path(path, schema, arrays=False)
        except ValueError as error:
            found.append(invalid(where, path, f"is an invalid path: {error}"))
            continue
        if own[:1] == ("metadata",):
            found.append(invalid(where, path, "must not point to fields in metadata"))
        if at_end.type not in ("string", "boolean", "integer"):
            why = (
                "must point to a field of type string, boolean or integer. "
                "Enum string fields and strings with formats are allowed."
            )
            found.append(invalid(where, path, why))
        if own in seen:
            found.append(duplicate(where, path))
        seen.add(own)
    if len(seen) > _MOST_SELECTABLE:
        found.append(too_many(field, len(seen), _MOST_SELECTABLE))
    return found


# Conversion, approval ---------------------------------------------------------------------------------------------------


def _check_conversion(conversion: Document) -> list[FieldError]:
    field, strategy = "spec.conversion", conversion.get("strategy") or ""
    webhook = conversion.get("webhook") or {}
    config, versions = webhook.get("clientConfig"), webhook.get("conversionReviewVersions")
    if not strategy:
        return [required(f"{field}.strategy")]
    if strategy not in ("None", "Webhook"):
        return [not_supported(f"{field}.strategy", strategy, ("None", "Webhook"))]
    if strategy == "None":
        why = "should not be set when strategy is not set to Webhook"
        found = [forbidden(f"{field}.webhookClientConfig", why)] if config is not None else []
        return found + ([forbidden(f"{field}.conversionReviewVersions", why)] if versions else [])
    found = check_client(config, f"{field}.webhookClientConfig")
    field = f"{field}.conversionReviewVersions"
    if not versions:
        return [*found, required(field)]
    seen: set[str] = set()
    for place, version in enumerate(versions):
        if version in seen:
            found.append(invalid(f"{field}[{place}]", version, "duplicate version"))
        else:
            found += [invalid(f"{field}[{place}]", version, why) for why in formats.label_1035(version)]
        seen.add(version)
    if not set(versions) & set(_REVIEWS):
        found.append(invalid(field, versions, f"must include at least one of {', '.join(_REVIEWS)}"))
    return found


def check_client(config: Document | None, field: str) -> list[FieldError]:
    """A webhook's clientConfig (apiserver/pkg/util/webhook/validation.go)."""
    if config is None:
        return [required(field, "required when strategy is set to Webhook")]
    url, service = config.get("url"), config.get("service")
    if (url is None) == (service is None):
        return [required(field, "exactly one of url or service is required")]
    return _check_url(url, f"{field}.url") if url is not None else _check_service(service or {}, f"{field}.service")


def _check_url(url: str, field: str) -> list[FieldError]:
    form = "; desired format: https://host[/path]"
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        return [required(field, f"url must be a valid URL: {error}{form}")]
    found = []
    if parts.scheme != "https":
        found.append(invalid(field, parts.scheme, f"'https' is the only allowed URL scheme{form}"))
    if not parts.netloc:
        found.append(invalid(field, parts.netloc, f"host must be specified{form}"))
    if "@" in parts.netloc:
        found.append(invalid(field, parts.netloc.partition("@")[0], "user information is not permitted in the URL"))
    if parts.fragment:
        found.append(invalid(field, parts.fragment, "fragments are not permitted in the URL"))
    if parts.query:
        found.append(invalid(field, parts.query, "query parameters are not permitted in the URL"))
    return found


def _check_service(service: Document, field: str) -> list[FieldError]:
    found = [
        required(f"{field}.{name}", f"service {name} is required") for name in ("name", "namespace") if not service.get(name)
    ]
    if formats.port_number(service.get("port") or 0):
        found.append(invalid(f"{field}.port", service.get("port"), "port is not valid: must be between 1 and 65535, inclusive"))
    path = service.get("path")
    if not path or path == "/":
        return found
    if path.startswith("//"):
        return [*found, invalid(f"{field}.path", path, "segment[0] may not be empty")]
    if not path.startswith("/"):
        found.append(invalid(f"{field}.path", path, "must start with a '/'"))
    for place, segment in enumerate(path[1 : -1 if path.endswith("/") else None].split("/")):
        if not segment:
            found.append(invalid(f"{field}.path", path, f"segment[{place}] may not be empty"))
        found += [invalid(f"{field}.path", path, f"segment[{place}]: {why}") for why in formats.subdomain(segment) if segment]
    return found


def _check_approval(document: Document, old: Document | None) -> list[FieldError]:
    if not names.protected(document["spec"].get("group") or ""):
        return []
    state, why = names.approval(document)
    if old is not None and names.approval(old)[0] == state:
        return []
    field = f"metadata.annotations[{names.APPROVED}]"
    if state == "missing":
        return [required(field, why)]
    annotation = (document["metadata"].get("annotations") or {}).get(names.APPROVED)
    return [invalid(field, annotation, why)] if state == "invalid" else []
