"""core/v1 PersistentVolume and PersistentVolumeClaim, storage.k8s.io/v1 StorageClass: defaults, rules, rows in a table.

Source: ValidatePersistentVolume, ValidatePersistentVolumeClaim and their updates in k8s.io/kubernetes/pkg/apis/core/validation,
pkg/apis/storage/validation; the admission plugins DefaultStorageClass, StorageObjectInUseProtection and
PersistentVolumeClaimResize.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from mooring.apiserver import errors, metadata
from mooring.apiserver.contract import Env
from mooring.apiserver.kinds import formats, printing
from mooring.apiserver.kinds.affinity_validation import check_node_selector
from mooring.apiserver.kinds.container_validation import amount
from mooring.apiserver.kinds.label_selectors import check_label_selector
from mooring.apiserver.kinds.plain import AGE, NAME, NOTHING, Plain
from mooring.apiserver.kinds.problems import IMMUTABLE, each, forbidden, invalid, required, unsupported
from mooring.apiserver.kinds.volume_paths import check_host_path, check_path
from mooring.apiserver.strategy import Claim, Column, Document, FieldError
from mooring.model import codec
from mooring.model.kinds import PERSISTENT_VOLUME, PERSISTENT_VOLUME_CLAIM, STORAGE_CLASS
from mooring.store.snapshot import Snapshot

ACCESS_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
SHORT_MODES = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}
VOLUME_MODES = ("Block", "Filesystem")
RECLAIM_POLICIES = ("Delete", "Recycle", "Retain")
BINDING_MODES = ("Immediate", "WaitForFirstConsumer")
CLAIM_FINALIZER, VOLUME_FINALIZER = "kubernetes.io/pvc-protection", "kubernetes.io/pv-protection"
DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
CLASS_ANNOTATION = "volume.beta.kubernetes.io/storage-class"
FIXED_CLAIM = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
FIXED_SOURCE = "spec.persistentvolumesource is immutable after creation"
NO_RESIZE = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize"
_NO_SOURCES = frozenset((
    "accessModes", "capacity", "claimRef", "mountOptions", "nodeAffinity", "persistentVolumeReclaimPolicy", "storageClassName",
    "volumeAttributesClassName", "volumeMode",
))  # fmt: skip
_MOST_PARAMETERS = 512
_MOST_PARAMETER_BYTES = 256 * 1024


# Claims -----------------------------------------------------------------------------------------------------------------


class PersistentVolumeClaim(Plain):
    kind = PERSISTENT_VOLUME_CLAIM
    has_status = True
    columns: tuple[Column, ...] = (
        NAME,
        Column("Status"),
        Column("Volume"),
        Column("Capacity"),
        Column("Access Modes"),
        Column("StorageClass"),
        Column("VolumeAttributesClass"),
        AGE,
        Column("VolumeMode", priority=1),
    )

    def default(self, document: Document) -> None:
        document.setdefault("spec", {}).setdefault("volumeMode", "Filesystem")

    def prepare_create(self, document: Document, env: Env) -> None:
        document["status"] = {"phase": "Pending"}
        _protect(document, CLAIM_FINALIZER)

    def check(self, document: Document, old: Document | None, subresource: str) -> list[FieldError]:
        if subresource == "status":
            return _check_access_modes((document.get("status") or {}).get("accessModes") or (), "status.accessModes")
        found = check_claim_spec(document["spec"], "spec")
        return found if old is None else found + _check_claim_change(document, old)

    def claim(self, document: Document | None, old: Document | None, snapshot: Snapshot, env: Env) -> Claim:
        """Nothing is allocated; a claim that is created without a class gets the default one. Raises StatusError 403."""
        if document is None:
            return NOTHING
        if old is None:
            if "storageClassName" not in document["spec"] and CLASS_ANNOTATION not in _annotations(document):
                name = default_class(snapshot)
                if name:
                    document["spec"]["storageClassName"] = name
        elif _asked(document) > _asked(old):
            record = snapshot.get(STORAGE_CLASS.key("", document["spec"].get("storageClassName") or ""))
            if record is None or not codec.decode(record.value).get("allowVolumeExpansion"):
                raise errors.forbidden(PERSISTENT_VOLUME_CLAIM, document["metadata"]["name"], NO_RESIZE)
        return NOTHING

    def cells(self, document: Document, env: Env) -> Sequence[Any]:
        spec, status = document.get("spec") or {}, document.get("status") or {}
        has = bool(spec.get("volumeName"))
        return [
            document["metadata"].get("name", ""),
            _phase(document),
            spec.get("volumeName", ""),
            str((status.get("capacity") or {}).get("storage", "")) if has else "",
            short_modes(status.get("accessModes") or ()) if has else "",
            _annotations(document).get(CLASS_ANNOTATION) or spec.get("storageClassName") or "",
            spec.get("volumeAttributesClassName") or printing.UNSET,
            printing.age(document, env),
            spec.get("volumeMode") or printing.UNSET,
        ]


def check_claim_spec(spec: Document, field: str) -> list[FieldError]:
    """Of a claim, or of a template for claims."""
    found: list[FieldError] = []
    modes = spec.get("accessModes") or ()
    if not modes:
        found.append(required(f"{field}.accessModes", "at least 1 access mode is required"))
    if (selector := spec.get("selector")) is not None:
        found += check_label_selector(selector, f"{field}.selector")
    found += _check_access_modes(modes, f"{field}.accessModes")
    size = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    if size is None:
        found.append(required(f"{field}.resources[storage]"))
    elif amount(size) <= 0:
        found.append(invalid(f"{field}.resources[storage]", str(size), "must be greater than zero"))
    if name := spec.get("storageClassName"):
        found += each(f"{field}.storageClassName", name, formats.subdomain(name))
    if name := spec.get("volumeName"):
        found += each(f"{field}.volumeName", name, formats.subdomain(name))
    if (mode := spec.get("volumeMode")) is not None and mode not in VOLUME_MODES:
        found.append(unsupported(f"{field}.volumeMode", mode, VOLUME_MODES))
    if (source := spec.get("dataSource")) is not None:
        found += [required(f"{field}.dataSource.{name}") for name in ("name", "kind") if not source.get(name)]
    return found


def _check_claim_change(document: Document, old: Document) -> list[FieldError]:
    """A spec stands, but that its volume and its class are filled in once, and that a bound claim may ask for more."""
    spec, before = dict(document["spec"]), dict(old["spec"])
    if not before.get("volumeName"):
        before["volumeName"] = spec.get("volumeName", "")
    if "storageClassName" not in before and "storageClassName" in spec:
        before["storageClassName"] = spec["storageClassName"]
    if (old.get("status") or {}).get("phase") == "Bound":
        for part in (spec, before):
            part["resources"] = {"requests": {**((part.get("resources") or {}).get("requests") or {}), "storage": 0}}
            part.pop("volumeAttributesClassName", None)
    if _said(spec) != _said(before):
        return [forbidden("spec", FIXED_CLAIM)]
    held = (old.get("status") or {}).get("capacity") or {}
    if _asked(document) < _asked(old) and "storage" in held and _asked(document) <= amount(held["storage"]):
        return [forbidden("spec.resources.requests.storage", "field can not be less than status.capacity")]
    return []


def _said(spec: Document) -> Document:
    return {name: value for name, value in spec.items() if value not in ("", {}, [], None)}


def _asked(document: Document) -> float:
    return amount((((document["spec"].get("resources") or {}).get("requests")) or {}).get("storage", 0))


def default_class(snapshot: Snapshot) -> str:
    """Of several, the newest, then the first by name; '' when there is none."""
    classes = [codec.decode(record.value) for record in snapshot.scan(STORAGE_CLASS.prefix)]
    found = [one["metadata"] for one in classes if _annotations(one).get(DEFAULT_CLASS) == "true"]
    newest = max((one.get("creationTimestamp", "") for one in found), default="")
    return min((one["name"] for one in found if one.get("creationTimestamp", "") == newest), default="")


# Volumes ----------------------------------------------------------------------------------------------------------------


class PersistentVolume(Plain):
    kind = PERSISTENT_VOLUME
    has_status = True
    columns: tuple[Column, ...] = (
        NAME,
        Column("Capacity"),
        Column("Access Modes"),
        Column("Reclaim Policy"),
        Column("Status"),
        Column("Claim"),
        Column("StorageClass"),
        Column("VolumeAttributesClass"),
        Column("Reason"),
        AGE,
        Column("VolumeMode", priority=1),
    )

    def default(self, document: Document) -> None:
        spec = document.setdefault("spec", {})
        if not spec.get("persistentVolumeReclaimPolicy"):
            spec["persistentVolumeReclaimPolicy"] = "Retain"
        spec.setdefault("volumeMode", "Filesystem")
        if (path := spec.get("hostPath")) is not None:
            path.setdefault("type", "")

    def prepare_create(self, document: Document, env: Env) -> None:
        document["status"] = {"phase": "Pending", "lastPhaseTransitionTime": metadata.timestamp(env.now)}
        _protect(document, VOLUME_FINALIZER)

    def prepare_update(self, document: Document, old: Document, subresource: str, env: Env) -> None:
        super().prepare_update(document, old, subresource, env)
        status, before = document.get("status") or {}, old.get("status") or {}
        if subresource == "status" and status.get("phase") != before.get("phase"):
            status["lastPhaseTransitionTime"] = metadata.timestamp(env.now)

    def check(self, document: Document, old: Document | None, subresource: str) -> list[FieldError]:
        if subresource:
            return []
        spec = document["spec"]
        found = _check_volume(spec)
        if old is not None:
            before = old["spec"]
            if _sources(spec) != _sources(before):
                found.append(forbidden("spec.persistentvolumesource", FIXED_SOURCE))
            if spec.get("volumeMode") != before.get("volumeMode"):
                found.append(invalid("spec.volumeMode", spec.get("volumeMode"), IMMUTABLE))
            if before.get("nodeAffinity") is not None and spec.get("nodeAffinity") != before["nodeAffinity"]:
                found.append(invalid("spec.nodeAffinity", spec.get("nodeAffinity"), IMMUTABLE))
        return found

    def cells(self, document: Document, env: Env) -> Sequence[Any]:
        spec, status = document.get("spec") or {}, document.get("status") or {}
        reference = spec.get("claimRef") or {}
        return [
            document["metadata"].get("name", ""),
            str((spec.get("capacity") or {}).get("storage", "")),
            short_modes(spec.get("accessModes") or ()),
            spec.get("persistentVolumeReclaimPolicy", ""),
            _phase(document),
            f"{reference.get('namespace', '')}/{reference.get('name', '')}" if reference else "",
            _annotations(document).get(CLASS_ANNOTATION) or spec.get("storageClassName") or "",
            spec.get("volumeAttributesClassName") or printing.UNSET,
            status.get("reason", ""),
            printing.age(document, env),
            spec.get("volumeMode") or printing.UNSET,
        ]


def _check_volume(spec: Document) -> list[FieldError]:
    found: list[FieldError] = []
    modes, capacity = spec.get("accessModes") or (), spec.get("capacity") or {}
    if not modes:
        found.append(required("spec.accessModes"))
    found += _check_access_modes(modes, "spec.accessModes")
    if not capacity:
        found.append(required("spec.capacity"))
    elif set(capacity) != {"storage"}:
        found.append(unsupported("spec.capacity", capacity, ("storage",)))
    elif amount(capacity["storage"]) <= 0:
        found.append(invalid("spec.capacity[storage]", str(capacity["storage"]), "must be greater than zero"))
    policy, mode = spec.get("persistentVolumeReclaimPolicy"), spec.get("volumeMode")
    if policy not in RECLAIM_POLICIES:
        found.append(unsupported("spec.persistentVolumeReclaimPolicy", policy, RECLAIM_POLICIES))
    if mode not in VOLUME_MODES:
        found.append(unsupported("spec.volumeMode", mode, VOLUME_MODES))
    if name := spec.get("storageClassName"):
        found += each("spec.storageClassName", name, formats.subdomain(name))
    if (affinity := spec.get("nodeAffinity")) is not None:
        if affinity.get("required") is None:
            found.append(required("spec.nodeAffinity.required", "must specify required node constraints"))
        else:
            found += check_node_selector(affinity["required"], "spec.nodeAffinity.required")
    return found + _check_source(spec)


def _sources(spec: Document) -> Document:
    return {name: value for name, value in spec.items() if name not in _NO_SOURCES and value is not None}


def _check_source(spec: Document) -> list[FieldError]:
    sources = _sources(spec)
    if not sources:
        return [required("spec", "must specify a volume type")]
    found = [forbidden(f"spec.{name}", "may not specify more than 1 volume type") for name in list(sources)[1:]]
    if (source := sources.get("hostPath")) is not None:
        found += check_host_path(source, "spec.hostPath")
        if source.get("path") == "/" and spec.get("persistentVolumeReclaimPolicy") == "Recycle":
            found.append(forbidden("spec.persistentVolumeReclaimPolicy", "may not be 'recycle' for a hostPath mount of '/'"))
    if (source := sources.get("local")) is not None:
        found += check_path(source.get("path", ""), "spec.local.path")
        if not spec.get("nodeAffinity"):
            found.append(required("metadata.annotations", "Local volume requires node affinity"))
    return found


# Classes ----------------------------------------------------------------------------------------------------------------


class StorageClass(Plain):
    kind = STORAGE_CLASS
    columns: tuple[Column, ...] = (
        NAME,
        Column("Provisioner"),
        Column("ReclaimPolicy"),
        Column("VolumeBindingMode"),
        Column("AllowVolumeExpansion"),
        AGE,
    )

    def default(self, document: Document) -> None:
        document.setdefault("reclaimPolicy", "Delete")
        document.setdefault("volumeBindingMode", "Immediate")

    def check(self, document: Document, old: Document | None, subresource: str) -> list[FieldError]:
        provisioner, parameters = document.get("provisioner", ""), document.get("parameters") or {}
        found = each("provisioner", provisioner, formats.qualified_name(provisioner.lower())) if provisioner else []
        if not provisioner:
            found.append(required("provisioner"))
        if len(parameters) > _MOST_PARAMETERS:
            found.append(
                FieldError("FieldValueTooLong", "parameters", f"Too long: may not be more than {_MOST_PARAMETERS} bytes")
            )
        if "" in parameters:
            found.append(invalid("parameters", "", "field can not be empty."))
        if sum(len(key) + len(value) for key, value in parameters.items()) > _MOST_PARAMETER_BYTES:
            words = f"Too long: may not be more than {_MOST_PARAMETER_BYTES} bytes"
            found.append(FieldError("FieldValueTooLong", "parameters", words))
        if document["reclaimPolicy"] not in RECLAIM_POLICIES:
            found.append(unsupported("reclaimPolicy", document["reclaimPolicy"], RECLAIM_POLICIES))
        if document["volumeBindingMode"] not in BINDING_MODES:
            found.append(unsupported("volumeBindingMode", document["volumeBindingMode"], BINDING_MODES))
        found += _check_topologies(document.get("allowedTopologies") or ())
        if old is not None:
            for name in ("parameters", "provisioner", "reclaimPolicy"):
                if (document.get(name) or {}) != (old.get(name) or {}):
                    found.append(forbidden(name, f"updates to {name} are forbidden."))
            if document["volumeBindingMode"] != old.get("volumeBindingMode"):
                found.append(invalid("volumeBindingMode", document["volumeBindingMode"], IMMUTABLE))
        return found

    def cells(self, document: Document, env: Env) -> Sequence[Any]:
        name = document["metadata"].get("name", "")
        return [
            f"{name} (default)" if _annotations(document).get(DEFAULT_CLASS) == "true" else name,
            document.get("provisioner", ""),
            document.get("reclaimPolicy", "Delete"),
            document.get("volumeBindingMode", "Immediate"),
            bool(document.get("allowVolumeExpansion")),
            printing.age(document, env),
        ]


def _check_topologies(terms: Sequence[Document]) -> list[FieldError]:
    found: list[FieldError] = []
    for place, term in enumerate(terms):
        field = f"allowedTopologies[{place}].matchLabelExpressions"
        if not term.get("matchLabelExpressions"):
            found.append(required(field))
        for at, rule in enumerate(term.get("matchLabelExpressions") or ()):
            found += each(f"{field}[{at}].key", rule.get("key", ""), formats.qualified_name(rule.get("key", "")))
            if not rule.get("values"):
                found.append(required(f"{field}[{at}].values"))
            for which, value in enumerate(rule.get("values") or ()):
                found += each(f"{field}[{at}].values[{which}]", value, formats.label_value(value))
    return found


# All of them ------------------------------------------------------------------------------------------------------------


def _annotations(document: Document) -> Document:
    return document["metadata"].get("annotations") or {}


def _protect(document: Document, finalizer: str) -> None:
    """What is in use does not go before its user (the plugin StorageObjectInUseProtection)."""
    finalizers = document["metadata"].setdefault("finalizers", [])
    if finalizer not in finalizers:
        finalizers.append(finalizer)


def _phase(document: Document) -> str:
    if document["metadata"].get("deletionTimestamp"):
        return "Terminating"
    return str((document.get("status") or {}).get("phase", ""))


def short_modes(modes: Iterable[str]) -> str:
    """'RWO,ROX', in a fixed order."""
    return ",".join(short for mode, short in SHORT_MODES.items() if mode in set(modes))


def _check_access_modes(modes: Sequence[str], field: str) -> list[FieldError]:
    found = [unsupported(field, mode, ACCESS_MODES) for mode in modes if mode not in ACCESS_MODES]
    if "ReadWriteOncePod" in modes and len(set(modes)) > 1:
        found.append(forbidden(field, "may not use ReadWriteOncePod with other access modes"))
    return found
