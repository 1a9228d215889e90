"""apps/v1 StatefulSet: defaults, rules, what of it may change, its row in a table.

Upstream: pkg/apis/apps/validation and pkg/registry/apps/statefulset. As there, the Pod template's own rules are left to the
creation of its Pods: whether its mounts fit is not known before the claims' volumes are added.
"""

from collections.abc import Sequence
from typing import Any

from mooring.apiserver.contract import Env
from mooring.apiserver.kinds import formats, printing
from mooring.apiserver.kinds.metadata import check_annotations
from mooring.apiserver.kinds.plain import AGE, NAME, Plain
from mooring.apiserver.kinds.problems import forbidden, invalid, required, unsupported
from mooring.apiserver.kinds.workloads import (
    NOT_NEGATIVE,
    WIDE,
    check_no_deadline,
    check_selector,
    check_share,
    default_template,
    wide_cells,
)
from mooring.apiserver.strategy import Column, Document, FieldError
from mooring.model.kinds import STATEFUL_SET

CHANGEABLE = (
    "replicas", "ordinals", "template", "updateStrategy", "revisionHistoryLimit", "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
)  # fmt: skip
_FORBIDDEN = "updates to statefulset spec for fields other than {} and '{}' are forbidden".format(
    ", ".join(f"'{name}'" for name in CHANGEABLE[:-1]), CHANGEABLE[-1]
)
_COUNTS = ("replicas", "readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas")


class StatefulSet(Plain):
    kind = STATEFUL_SET
    columns: tuple[Column, ...] = (NAME, Column("Ready"), AGE, *WIDE[:2])
    has_status = True
    generation = True

    def name_rule(self, name: str) -> list[str]:
        return formats.label(name)

    def default(self, document: Document) -> None:
        spec = document.setdefault("spec", {})
        spec.setdefault("podManagementPolicy", "OrderedReady")
        strategy = spec.setdefault("updateStrategy", {})
        if not strategy.get("type"):
            strategy["type"] = "RollingUpdate"
            strategy.setdefault("rollingUpdate", {})
        if strategy["type"] == "RollingUpdate" and "rollingUpdate" in strategy:
            strategy["rollingUpdate"].setdefault("partition", 0)
        policy = spec.setdefault("persistentVolumeClaimRetentionPolicy", {})
        for name in ("whenDeleted", "whenScaled"):
            if not policy.get(name):
                policy[name] = "Retain"
        spec.setdefault("replicas", 1)
        spec.setdefault("revisionHistoryLimit", 10)
        default_template(spec)
        for claim in spec.get("volumeClaimTemplates") or ():
            claim["apiVersion"], claim["kind"] = "v1", "PersistentVolumeClaim"
            claim.setdefault("spec", {}).setdefault("volumeMode", "Filesystem")
            claim["status"] = {"phase": "Pending"}

    def prepare_create(self, document: Document, env: Env) -> None:
        document["status"] = {"replicas": 0, "availableReplicas": 0}

    def check(self, document: Document, old: Document | None, subresource: str) -> list[FieldError]:
        if subresource == "status":
            return _check_status(document, old or {})
        spec = document["spec"]
        found = _check_strategies(spec)
        found += [
            invalid(f"spec.{name}", spec[name], NOT_NEGATIVE)
            for name in ("replicas", "minReadySeconds")
            if spec.get(name, 0) < 0
        ]
        start = (spec.get("ordinals") or {}).get("start", 0)
        if start < 0:
            found.append(invalid("spec.ordinals.start", start, NOT_NEGATIVE))
        found += check_selector(spec, "statefulset")
        found += check_annotations(spec["template"]["metadata"].get("annotations") or {}, "spec.template.annotations")
        restart = spec["template"]["spec"]["restartPolicy"]
        if restart != "Always":
            found.append(unsupported("spec.template.spec.restartPolicy", restart, ("Always",)))
        found += check_no_deadline(spec, "StatefulSet")
        if old is not None and _fixed(spec) != _fixed(old.get("spec") or {}):
            found.append(forbidden("spec", _FORBIDDEN))
        return found

    def cells(self, document: Document, env: Env) -> Sequence[Any]:
        spec, status = document.get("spec") or {}, document.get("status") or {}
        return [
            document["metadata"].get("name", ""),
            f"{status.get('readyReplicas', 0)}/{spec.get('replicas', 0)}",
            printing.age(document, env),
            *wide_cells(spec)[:2],
        ]


def _fixed(spec: Document) -> Document:
    return {name: value for name, value in spec.items() if name not in CHANGEABLE and value not in ("", [], {})}


def _check_strategies(spec: Document) -> list[FieldError]:
    found: list[FieldError] = []
    management, strategy, policy = (
        spec["podManagementPolicy"], spec["updateStrategy"], spec["persistentVolumeClaimRetentionPolicy"],
    )  # fmt: skip
    if not management:
        found.append(required("spec.podManagementPolicy"))
    elif management not in ("OrderedReady", "Parallel"):
        found.append(invalid("spec.podManagementPolicy", management, "must be 'OrderedReady' or 'Parallel'"))
    rolling, field = strategy.get("rollingUpdate"), "spec.updateStrategy.rollingUpdate"
    if strategy["type"] == "OnDelete":
        if rolling is not None:
            found.append(invalid(field, rolling, "only allowed for updateStrategy 'RollingUpdate'"))
    elif strategy["type"] != "RollingUpdate":
        found.append(invalid("spec.updateStrategy", strategy, "must be 'RollingUpdate' or 'OnDelete'"))
    elif rolling is not None:
        found += _check_rolling(rolling, field)
    for name in ("whenDeleted", "whenScaled"):
        if policy[name] not in ("Retain", "Delete"):
            found.append(unsupported(f"spec.persistentVolumeClaimRetentionPolicy.{name}", policy[name], ("Retain", "Delete")))
    return found


def _check_rolling(rolling: Document, field: str) -> list[FieldError]:
    found: list[FieldError] = []
    if rolling["partition"] < 0:
        found.append(invalid(f"{field}.partition", rolling["partition"], NOT_NEGATIVE))
    if (most := rolling.get("maxUnavailable")) is not None:
        found += check_share(most, f"{field}.maxUnavailable", at_most_all=True)
        if str(most) in ("0", "0%"):
            found.append(invalid(f"{field}.maxUnavailable", most, "cannot be 0"))
    return found


def _check_status(document: Document, old: Document) -> list[FieldError]:
    status = document.get("status") or {}
    counts = {name: status.get(name, 0) for name in (*_COUNTS, "observedGeneration", "collisionCount")}
    found = [invalid(f"status.{name}", count, NOT_NEGATIVE) for name, count in counts.items() if count < 0]
    words = "cannot be greater than status.replicas"
    found += [invalid(f"status.{name}", counts[name], words) for name in _COUNTS[1:] if counts[name] > counts["replicas"]]
    if counts["availableReplicas"] > counts["readyReplicas"]:
        words = "cannot be greater than status.readyReplicas"
        found.append(invalid("status.availableReplicas", counts["availableReplicas"], words))
    if counts["collisionCount"] < (old.get("status") or {}).get("collisionCount", 0):
        found.append(invalid("status.collisionCount", counts["collisionCount"], "cannot be decremented"))
    return found
