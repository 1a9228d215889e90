"""In which form does the client want the answer, and in which did it send the body?

Accept may also ask for a transformation (https://kubernetes.io/docs/reference/using-api/api-concepts/#receiving-resources-as-tables).
"""

from collections.abc import Iterator
from functools import lru_cache

from msgspec import Struct

from mooring.apiserver import errors

JSON = "application/json"
YAML = "application/yaml"
PROTOBUF = "application/vnd.kubernetes.protobuf"
"""Of request bodies only: answers to those clients are JSON, which they accept too."""
_ANSWERED = "application/json, application/yaml"
_ACCEPTED = f"{_ANSWERED}, application/vnd.kubernetes.protobuf"
_TRANSFORMS = frozenset({"Table", "PartialObjectMetadata", "PartialObjectMetadataList"})
_META_VERSIONS = frozenset({"v1", "v1beta1"})
_DISCOVERY_VERSIONS = frozenset({"v2", "v2beta1"})


class Accepted(Struct, frozen=True):
    """`media` is JSON or YAML; `transform` is '', 'Table', 'PartialObjectMetadata', 'PartialObjectMetadataList' or
    'APIGroupDiscoveryList'; `version` is the transform's API version.
    """

    media: str = JSON
    transform: str = ""
    version: str = ""


def _clauses(header: str) -> Iterator[tuple[float, str, dict[str, str]]]:
    for part in header.split(","):
        media, *parameters = (piece.strip() for piece in part.split(";"))
        pairs = dict(pair.split("=", 1) for pair in parameters if "=" in pair)
        try:
            quality = float(pairs.pop("q", "1"))
        except ValueError:
            quality = 0.0
        yield quality, media.lower(), pairs


@lru_cache(maxsize=256)
def accepted(header: str, *, watching: bool = False, discovery: bool = False) -> Accepted:
    """The best form we can give; clauses with parameters we do not know are passed over. Raises StatusError 406."""
    if not header.strip():
        return Accepted()
    for quality, media, parameters in sorted(_clauses(header), key=lambda clause: -clause[0]):
        form = _media(media)
        if not form or quality <= 0 or (watching and form == YAML):
            continue
        transform, group, version = (parameters.get(name, "") for name in ("as", "g", "v"))
        if not transform:
            return Accepted(form)
        if transform in _TRANSFORMS and group == "meta.k8s.io" and version in _META_VERSIONS and not discovery:
            return Accepted(form, transform, version)
        if (
            discovery
            and transform == "APIGroupDiscoveryList"
            and group == "apidiscovery.k8s.io"
            and version in _DISCOVERY_VERSIONS
        ):
            return Accepted(form, transform, version)
    raise errors.not_acceptable(_ANSWERED)


def _media(media: str) -> str:
    if media in (JSON, "*/*", "application/*"):
        return JSON
    return YAML if media in (YAML, "application/x-yaml", "text/yaml") else ""


@lru_cache(maxsize=256)
def body_media(content_type: str) -> str:
    """JSON, YAML or PROTOBUF, of a request body; none given means JSON. Raises StatusError 415."""
    media = content_type.split(";", 1)[0].strip().lower()
    if media == PROTOBUF:
        return PROTOBUF
    form = JSON if not media else _media(media)
    if not form or media == "*/*":
        raise errors.unsupported_media_type(_ACCEPTED)
    return form
