"""core/v1 Node: taints, pod ranges that stay once set, and its row in a table."""

from collections.abc import Sequence
from typing import Any

from mooring.apiserver.contract import Env
from mooring.apiserver.kinds import formats, printing
from mooring.apiserver.kinds.plain import AGE, NAME, Plain
from mooring.apiserver.kinds.problems import duplicate, each, forbidden, invalid, required, unsupported
from mooring.apiserver.strategy import Column, Document, FieldError
from mooring.model.kinds import NODE

EFFECTS = ("NoExecute", "NoSchedule", "PreferNoSchedule")
ROLE_PREFIX = "node-role.kubernetes.io/"
ROLE_LABEL = "kubernetes.io/role"


class Node(Plain):
    kind = NODE
    has_status = True
    columns: tuple[Column, ...] = (
        NAME,
        Column("Status"),
        Column("Roles"),
        AGE,
        Column("Version"),
        Column("Internal-IP", priority=1),
        Column("External-IP", priority=1),
        Column("OS-Image", priority=1),
        Column("Kernel-Version", priority=1),
        Column("Container-Runtime", priority=1),
    )

    def default(self, document: Document) -> None:
        spec = document.setdefault("spec", {})
        if spec.get("podCIDR") and not spec.get("podCIDRs"):
            spec["podCIDRs"] = [spec["podCIDR"]]
        status = document.get("status") or {}
        if "capacity" in status:
            status.setdefault("allocatable", dict(status["capacity"]))

    def prepare_create(self, document: Document, env: Env) -> None:
        """A kubelet registers itself with its status: unlike others, it is kept on create."""

    def check(self, document: Document, old: Document | None, subresource: str) -> list[FieldError]:
        spec = document["spec"]
        found = _check_taints(spec.get("taints") or ())
        ranges = spec.get("podCIDRs") or []
        for place, text in enumerate(ranges):
            found += each(f"spec.podCIDRs[{place}]", text, formats.canonical_cidr(text))
        if ranges and ranges[0] != spec.get("podCIDR", ""):
            found.append(invalid("spec.podCIDR", spec.get("podCIDR", ""), "must equal the first of podCIDRs"))
        families = [network.version for text in ranges if (network := formats.parse_cidr(text))]
        if len(ranges) > 2 or len(families) != len(set(families)):
            found.append(invalid("spec.podCIDRs", ranges, "may specify no more than one CIDR for each IP family"))
        before = (old or {}).get("spec") or {}
        if before.get("podCIDRs") and ranges != before["podCIDRs"]:
            found.append(forbidden("spec.podCIDRs", 'node updates may not change podCIDR except from "" to valid'))
        if before.get("providerID") and spec.get("providerID") != before["providerID"]:
            found.append(forbidden("spec.providerID", 'node updates may not change providerID except from "" to valid'))
        seen: set[tuple[str, str]] = set()
        for place, address in enumerate((document.get("status") or {}).get("addresses") or ()):
            if (told := (address.get("type", ""), address.get("address", ""))) in seen:
                found.append(duplicate(f"status.addresses[{place}]", address))
            seen.add(told)
        return found

    def fields(self, document: Document) -> dict[str, str]:
        return {"spec.unschedulable": str(bool(document.get("spec", {}).get("unschedulable"))).lower()}

    def cells(self, document: Document, env: Env) -> Sequence[Any]:
        status = document.get("status") or {}
        info = status.get("nodeInfo") or {}
        addresses = {address.get("type"): address.get("address", "") for address in reversed(status.get("addresses") or ())}
        return [
            document["metadata"].get("name", ""),
            _status(document),
            ",".join(_roles(document)) or printing.NONE,
            printing.age(document, env),
            info.get("kubeletVersion", ""),
            addresses.get("InternalIP", printing.NONE),
            addresses.get("ExternalIP", printing.NONE),
            info.get("osImage") or printing.UNKNOWN,
            info.get("kernelVersion") or printing.UNKNOWN,
            info.get("containerRuntimeVersion") or printing.UNKNOWN,
        ]


def _check_taints(taints: Sequence[Document]) -> list[FieldError]:
    found: list[FieldError] = []
    seen: set[tuple[str, str]] = set()
    for place, taint in enumerate(taints):
        field, key, effect = f"spec.taints[{place}]", taint.get("key", ""), taint.get("effect", "")
        found += each(f"{field}.key", key, formats.qualified_name(key))
        found += each(f"{field}.value", taint.get("value", ""), formats.label_value(taint.get("value", "")))
        if not effect:
            found.append(required(f"{field}.effect"))
        elif effect not in EFFECTS:
            found.append(unsupported(f"{field}.effect", effect, EFFECTS))
        if (key, effect) in seen:
            found.append(duplicate(field, taint))
        seen.add((key, effect))
    return found


def _status(document: Document) -> str:
    conditions = {c.get("type"): c.get("status") for c in (document.get("status") or {}).get("conditions") or ()}
    ready = conditions.get("Ready")
    words = ["Unknown" if ready is None else "Ready" if ready == "True" else "NotReady"]
    if document.get("spec", {}).get("unschedulable"):
        words.append("SchedulingDisabled")
    return ",".join(words)


def _roles(document: Document) -> list[str]:
    labels = document["metadata"].get("labels") or {}
    roles = {key.removeprefix(ROLE_PREFIX) for key in labels if key.startswith(ROLE_PREFIX) and key != ROLE_PREFIX}
    if labels.get(ROLE_LABEL):
        roles.add(labels[ROLE_LABEL])
    return sorted(roles)
