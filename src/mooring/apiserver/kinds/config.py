"""core/v1 ConfigMap and Secret: keyed data, its limits, and what immutable means."""

import base64
import binascii
import re
from collections.abc import Sequence
from typing import Any

from mooring.apiserver.contract import Env
from mooring.apiserver.kinds import formats, printing
from mooring.apiserver.kinds.plain import AGE, NAME, Plain
from mooring.apiserver.kinds.problems import IMMUTABLE, each, forbidden, invalid, required
from mooring.apiserver.strategy import Column, Document, FieldError
from mooring.model.codec import decode
from mooring.model.kinds import CONFIG_MAP, SECRET

MAX_SIZE = 1024 * 1024
SET_IMMUTABLE = "field is immutable when `immutable` is set"
ACCOUNT_NAME = "kubernetes.io/service-account.name"
TYPE_KEYS = {
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
}


def _too_big(field: str) -> FieldError:
    return FieldError("FieldValueTooLong", field, f"Too long: may not be more than {MAX_SIZE} bytes")


def _bytes_size(encoded: str) -> int:
    return len(encoded) * 3 // 4 - encoded[-4:].count("=")


def _check_frozen(document: Document, old: Document | None, names: Sequence[str]) -> list[FieldError]:
    """Once `immutable` is set, neither it nor the data may change."""
    if old is None or not old.get("immutable"):
        return []
    found = []
    if not document.get("immutable"):
        found.append(forbidden("immutable", SET_IMMUTABLE))
    return found + [forbidden(name, SET_IMMUTABLE) for name in names if (document.get(name) or {}) != (old.get(name) or {})]


class ConfigMap(Plain):
    kind = CONFIG_MAP
    columns: tuple[Column, ...] = (NAME, Column("Data"), AGE)

    def check(self, document: Document, old: Document | None, subresource: str) -> list[FieldError]:
        found: list[FieldError] = []
        text, binary = document.get("data") or {}, document.get("binaryData") or {}
        size = 0
        for key, value in text.items():
            found += each(f"data[{key}]", key, formats.config_key(key))
            if key in binary:
                found.append(invalid(f"data[{key}]", key, "duplicate of key present in binaryData"))
            size += len(value.encode())
        for key, value in binary.items():
            found += each(f"binaryData[{key}]", key, formats.config_key(key))
            size += _bytes_size(value)
        if size > MAX_SIZE:
            found.append(_too_big(""))
        return found + _check_frozen(document, old, ("data", "binaryData"))

    def cells(self, document: Document, env: Env) -> Sequence[Any]:
        count = len(document.get("data") or ()) + len(document.get("binaryData") or ())
        return [document["metadata"].get("name", ""), count, printing.age(document, env)]


class Secret(Plain):
    kind = SECRET
    columns: tuple[Column, ...] = (NAME, Column("Type"), Column("Data"), AGE)

    def default(self, document: Document) -> None:
        """stringData is for writing only: its values are merged over data's."""
        if (plain := document.pop("stringData", None)) is not None:
            data = document.setdefault("data", {})
            for key, value in plain.items():
                data[key] = base64.b64encode(value.encode()).decode()
        if not document.get("type"):
            document["type"] = "Opaque"

    def check(self, document: Document, old: Document | None, subresource: str) -> list[FieldError]:
        found: list[FieldError] = []
        data, secret_type = document.get("data") or {}, document["type"]
        for key in data:
            found += each(f"data[{key}]", key, formats.config_key(key))
        if sum(map(_bytes_size, data.values())) > MAX_SIZE:
            found.append(_too_big("data"))
        found += _check_type(document, secret_type, data)
        if old is not None and secret_type != old.get("type"):
            found.append(invalid("type", secret_type, IMMUTABLE))
        return found + _check_frozen(document, old, ("data",))

    def fields(self, document: Document) -> dict[str, str]:
        return {"type": document.get("type", "")}

    def cells(self, document: Document, env: Env) -> Sequence[Any]:
        metadata = document["metadata"]
        return [
            metadata.get("name", ""),
            document.get("type", ""),
            len(document.get("data") or ()),
            printing.age(document, env),
        ]


def _check_type(document: Document, secret_type: str, data: dict[str, str]) -> list[FieldError]:
    if secret_type == "kubernetes.io/service-account-token":
        if not (document["metadata"].get("annotations") or {}).get(ACCOUNT_NAME):
            return [required(f"metadata.annotations[{ACCOUNT_NAME}]")]
    elif secret_type == "kubernetes.io/basic-auth":
        if "username" not in data and "password" not in data:
            return [required("data[username]"), required("data[password]")]
    elif keys := TYPE_KEYS.get(secret_type):
        found = [required(f"data[{key}]") for key in keys if key not in data]
        if not found and secret_type.startswith("kubernetes.io/docker"):
            found += _check_json(keys[0], data[keys[0]])
        return found
    return []


def _check_json(key: str, encoded: str) -> list[FieldError]:
    try:
        decode(base64.b64decode(re.sub(r"\s", "", encoded), validate=True))
    except (binascii.Error, ValueError) as why:
        return [invalid(f"data[{key}]", "<secret contents redacted>", str(why))]
    return []
