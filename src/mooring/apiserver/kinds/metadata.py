"""Is an object's metadata sound? The rules every kind shares: apimachinery/pkg/api/validation ValidateObjectMeta."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from mooring.apiserver.apply.managers import entry_faults
from mooring.apiserver.kinds import formats
from mooring.apiserver.kinds.problems import IMMUTABLE, each, forbidden, invalid, required
from mooring.apiserver.strategy import Document, FieldError

Rule = Callable[[str], list[str]]

ANNOTATIONS_LIMIT = 256 * 1024
ANNOTATIONS = "metadata.annotations"
MOST_ERRORS = 1000
"""Of one field: with more wrong than this it is not read to its end, for nobody would be told."""
STANDARD_FINALIZERS = frozenset({"kubernetes", "orphan", "foregroundDeletion"})


def path_segment(name: str) -> list[str]:
    """Any name that can stand in a URL path."""
    if name in (".", ".."):
        return [f"may not be '{name}'"]
    return [f"may not contain '{letter}'" for letter in "/%" if letter in name]


def check_labels(labels: Mapping[str, str], field: str) -> list[FieldError]:
    found: list[FieldError] = []
    for key, value in labels.items():
        if len(key) + len(value) > _REMEMBERED or not _sound(key, value):
            found += each(field, key, formats.qualified_name(key))
            found += each(field, value, formats.label_value(value))
            if len(found) > MOST_ERRORS:
                break
    return found


_REMEMBERED = 384
"""No label that is longer is sound."""


@lru_cache(8192)
def _sound(key: str, value: str) -> bool:
    """Most labels are like others: looked at once."""
    return not formats.qualified_name(key) and not formats.label_value(value)


def check_annotations(annotations: Mapping[str, str], field: str = ANNOTATIONS) -> list[FieldError]:
    found: list[FieldError] = []
    size = 0
    for key, value in annotations.items():
        found += each(field, key, formats.qualified_name(key.lower()))
        size += len(key.encode()) + len(value.encode())
    if size > ANNOTATIONS_LIMIT:
        found.append(FieldError("FieldValueTooLong", field, f"Too long: may not be more than {ANNOTATIONS_LIMIT} bytes"))
    return found


def _check_owners(owners: list[dict[str, Any]]) -> list[FieldError]:
    field, found = "metadata.ownerReferences", []
    controllers = [owner.get("name", "") for owner in owners if owner.get("controller")]
    for owner in owners:
        group, slash, version = owner.get("apiVersion", "").rpartition("/")
        if not (version or group) or (slash and not group):
            found.append(invalid(f"{field}.apiVersion", owner.get("apiVersion", ""), "version must not be empty"))
        for name in ("kind", "name", "uid"):
            if not owner.get(name):
                found.append(invalid(f"{field}.{name}", owner.get(name, ""), f"{name} must not be empty"))
        if len(found) > MOST_ERRORS:
            break
    if len(controllers) > 1:
        found.append(
            invalid(
                field,
                owners,
                "Only one reference can have Controller set to true. "
                f'Found "true" in references for {controllers[0]} and {controllers[1]}',
            )
        )
    return found


def _check_finalizers(finalizers: list[str], any_name: bool) -> list[FieldError]:
    field, found = "metadata.finalizers", []
    for finalizer in finalizers:
        found += each(field, finalizer, formats.qualified_name(finalizer))
        if not any_name and "/" not in finalizer and finalizer not in STANDARD_FINALIZERS:
            found.append(invalid(field, finalizer, "name is neither a standard finalizer name nor is it fully qualified"))
        if len(found) > MOST_ERRORS:
            break
    if {"orphan", "foregroundDeletion"} <= set(finalizers):
        found.append(invalid(field, finalizers, "finalizer orphan and foregroundDeletion cannot be both set"))
    return found


def check_metadata(
    document: Document, old: Document | None, namespaced: bool, name_rule: Rule, *, any_finalizers: bool = False
) -> list[FieldError]:
    """Name, namespace, labels, annotations, owners and finalizers; on an update, what may not change.

    `any_finalizers`: they need not be of somebody's domain, as upstream lets definitions and custom resources have them.
    """
    metadata = document["metadata"]
    found: list[FieldError] = []
    if old is None:
        if generate := metadata.get("generateName"):
            found += each("metadata.generateName", generate, name_rule(generate[:-1] if generate.endswith("-") else generate))
        if name := metadata.get("name"):
            found += each("metadata.name", name, name_rule(name))
        elif not metadata.get("generateName"):
            found.append(required("metadata.name", "name or generateName is required"))
    if namespaced:
        if namespace := metadata.get("namespace"):
            found += each("metadata.namespace", namespace, formats.label(namespace))
        else:
            found.append(required("metadata.namespace"))
    elif metadata.get("namespace"):
        found.append(forbidden("metadata.namespace", "not allowed on this type"))
    if labels := metadata.get("labels"):
        found += check_labels(labels, "metadata.labels")
    if annotations := metadata.get("annotations"):
        found += check_annotations(annotations)
    if owners := metadata.get("ownerReferences"):
        found += _check_owners(owners)
    if finalizers := metadata.get("finalizers"):
        found += _check_finalizers(finalizers, any_finalizers)
    if managed := metadata.get("managedFields"):
        found += entry_faults(managed, "metadata.managedFields")
    if old is not None:
        found += _check_changes(metadata, old["metadata"])
    return found


def _check_changes(metadata: Document, old: Document) -> list[FieldError]:
    found = []
    if old.get("deletionTimestamp"):
        known = frozenset(old.get("finalizers") or ())
        new = [name for name in metadata.get("finalizers") or () if name not in known]
        if new:
            listed = ", ".join(f'"{name}"' for name in new)
            found.append(
                forbidden(
                    "metadata.finalizers",
                    f"no new finalizers can be added if the object is being deleted, found new finalizers []string{{{listed}}}",
                )
            )
    for name in ("name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"):
        if metadata.get(name) != old.get(name):
            found.append(invalid(f"metadata.{name}", metadata.get(name), IMMUTABLE))
    return found
