"""What every object carries: names, labels, owners, revisions."""

from datetime import datetime
from typing import Any

from msgspec import Struct, field


class OwnerReference(Struct, frozen=True, gc=False):
    api_version: str = field(name="apiVersion", default="")
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool | None = None


class Meta(Struct, frozen=True, gc=False):
    """metadata, the fields logic needs. Absent maps and lists read as empty."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = field(name="resourceVersion", default="")
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    creation_timestamp: datetime | None = field(name="creationTimestamp", default=None)
    deletion_timestamp: datetime | None = field(name="deletionTimestamp", default=None)
    owner_references: tuple[OwnerReference, ...] | None = field(name="ownerReferences", default=None)


IntOrString = int | str
Document = dict[str, Any]
