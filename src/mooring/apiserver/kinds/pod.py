"""core/v1 Pod: defaults and admission, rules, what deletes at once, field selectors."""

from collections.abc import Sequence
from typing import Any

from mooring.apiserver.contract import Env
from mooring.apiserver.kinds import formats
from mooring.apiserver.kinds.ephemeral_containers import check_additions
from mooring.apiserver.kinds.plain import Plain, restore
from mooring.apiserver.kinds.pod_columns import COLUMNS, pod_cells
from mooring.apiserver.kinds.pod_defaults import admit_pod, default_pod_spec, quality_of_service
from mooring.apiserver.kinds.pod_resize import check_resize, keep_all_but_resources
from mooring.apiserver.kinds.pod_validation import check_pod_change, check_pod_spec, pod_warnings
from mooring.apiserver.kinds.problems import each, forbidden, invalid
from mooring.apiserver.strategy import Column, Document, FieldError
from mooring.model.kinds import POD

FINISHED = ("Succeeded", "Failed")


_CHECKS = {"": check_pod_change, "ephemeralcontainers": check_additions, "resize": check_resize}
"""Which changes are refused, by subresource."""


class Pod(Plain):
    kind = POD
    columns: tuple[Column, ...] = COLUMNS
    has_status = True
    generation = True

    def default(self, document: Document) -> None:
        default_pod_spec(document.setdefault("spec", {}))

    def prepare_create(self, document: Document, env: Env) -> None:
        spec = document["spec"]
        admit_pod(document, env.rng)
        default_pod_spec(spec)
        status: Document = {"phase": "Pending"}
        if spec.get("schedulingGates"):
            gated = {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}
            status["conditions"] = [gated | {"message": "Scheduling is blocked due to non-empty scheduling gates"}]
        status["qosClass"] = quality_of_service(spec)
        document["status"] = status

    def prepare_update(self, document: Document, old: Document, subresource: str, env: Env) -> None:
        super().prepare_update(document, old, subresource, env)
        if subresource == "ephemeralcontainers":
            _keep_all_but_ephemeral_containers(document, old)
            _keep_metadata(document, old)
        if subresource == "resize":
            keep_all_but_resources(document, old)
            _keep_metadata(document, old)
        if subresource == "status" and "qosClass" in old.get("status", {}):
            document.setdefault("status", {}).setdefault("qosClass", old["status"]["qosClass"])

    def check(self, document: Document, old: Document | None, subresource: str) -> list[FieldError]:
        if subresource == "status":
            return _check_status(document)
        found = check_pod_spec(document["spec"], "spec")
        if old is None:
            if document["spec"].get("ephemeralContainers"):
                found.append(forbidden("spec.ephemeralContainers", "cannot be set on create"))
            return found
        return found + _CHECKS[subresource](document, old)

    def warnings(self, document: Document, old: Document | None) -> Sequence[str]:
        return pod_warnings(document) if old is None else ()

    def delete_at_once(self, document: Document) -> bool:
        """What no kubelet runs needs no grace: unscheduled, or finished."""
        return not document["spec"].get("nodeName") or document.get("status", {}).get("phase") in FINISHED

    def fields(self, document: Document) -> dict[str, str]:
        spec, status = document.get("spec") or {}, document.get("status") or {}
        return {
            "spec.nodeName": spec.get("nodeName", ""),
            "spec.restartPolicy": spec.get("restartPolicy", ""),
            "spec.schedulerName": spec.get("schedulerName", ""),
            "spec.serviceAccountName": spec.get("serviceAccountName", ""),
            "spec.hostNetwork": str(bool(spec.get("hostNetwork"))).lower(),
            "status.phase": status.get("phase", ""),
            "status.podIP": status.get("podIP", ""),
            "status.nominatedNodeName": status.get("nominatedNodeName", ""),
        }

    def cells(self, document: Document, env: Env) -> Sequence[Any]:
        return pod_cells(document, env)


def _keep_all_but_ephemeral_containers(document: Document, old: Document) -> None:
    added = {name: value for name, value in document["spec"].items() if name == "ephemeralContainers"}
    document["spec"] = {name: value for name, value in old["spec"].items() if name != "ephemeralContainers"} | added


def _keep_metadata(document: Document, old: Document) -> None:
    for name in ("labels", "annotations", "finalizers", "ownerReferences"):
        restore(document["metadata"], old["metadata"], name)


def _check_status(document: Document) -> list[FieldError]:
    status = document.get("status") or {}
    found: list[FieldError] = []
    for name in ("podIPs", "hostIPs"):
        addresses = [item.get("ip", "") for item in status.get(name) or ()]
        for place, text in enumerate(addresses):
            found += each(f"status.{name}[{place}].ip", text, formats.ip(text))
        versions = [address.version for text in addresses if (address := formats.parse_ip(text))]
        if len(versions) > 2 or len(set(versions)) != len(versions):
            found.append(invalid(f"status.{name}", addresses, "may specify no more than one IP for each IP family"))
    return found
