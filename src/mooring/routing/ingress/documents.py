"""Which of some API objects bear on Ingresses? Each decoded; what its view cannot read is left out, as if it were not there."""

import base64
import binascii
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from mooring.model.ingress import ingress, ingress_class
from mooring.model.meta import Document
from mooring.model.service import service
from mooring.routing.ingress.objects import Name, Objects, Secret

View = TypeVar("View")


def objects(documents: Iterable[Document]) -> Objects:
    """Of whatever kinds; those of no interest are skipped. Of two with the same name the later counts."""
    of_kind: dict[str, dict[Name, Document]] = {}
    for each in documents:
        if isinstance(each, dict) and isinstance(metadata := each.get("metadata"), dict):
            name = (str(metadata.get("namespace") or ""), str(metadata.get("name") or ""))
            of_kind.setdefault(str(each.get("kind")), {})[name] = each
    classes = _decoded(of_kind.get("IngressClass", {}), ingress_class)
    return Objects(
        ingresses=_decoded(of_kind.get("Ingress", {}), ingress),
        classes={name: each for (_, name), each in classes.items()},
        services=_decoded(of_kind.get("Service", {}), service),
        secrets=_decoded(of_kind.get("Secret", {}), secret),
        config_maps=_decoded(of_kind.get("ConfigMap", {}), config_map),
    )


def _decoded(documents: Mapping[Name, Document], decode: Callable[[Document], View]) -> dict[Name, View]:
    found = {}
    for name, each in documents.items():
        try:
            found[name] = decode(each)
        except (msgspec.ValidationError, ValueError):
            continue
    return found


def secret(document: Document) -> Secret:
    """stringData wins over data, as the API server writes it. Raises ValueError for what is no base64."""
    data = {name: _octets(value) for name, value in _texts(document.get("data"))}
    data |= {name: value.encode() for name, value in _texts(document.get("stringData"))}
    return Secret(str(document.get("type") or "Opaque"), data)


def config_map(document: Document) -> Mapping[str, str]:
    return dict(_texts(document.get("data")))


def _texts(value: Any) -> list[tuple[str, str]]:
    return [(name, text) for name, text in (value or {}).items() if isinstance(text, str)]


def _octets(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"no base64: {error}") from error
