"""core/v1 Service: defaults, rules, addresses, ports and its row in a table."""

from collections.abc import Sequence
from typing import Any

from mooring.apiserver.contract import Env
from mooring.apiserver.kinds import formats, printing
from mooring.apiserver.kinds import service_defaults as defaults
from mooring.apiserver.kinds.plain import AGE, NAME, Plain, restore
from mooring.apiserver.kinds.service_allocation import claim_service
from mooring.apiserver.kinds.service_status import check_status
from mooring.apiserver.kinds.service_validation import check_service
from mooring.apiserver.kinds.service_warnings import service_warnings
from mooring.apiserver.strategy import Claim, Column, Document, FieldError
from mooring.model.kinds import SERVICE
from mooring.store.snapshot import Snapshot


class Service(Plain):
    kind = SERVICE
    has_status = True
    columns: tuple[Column, ...] = (
        NAME,
        Column("Type"),
        Column("Cluster-IP"),
        Column("External-IP"),
        Column("Port(s)"),
        AGE,
        Column("Selector", priority=1),
    )

    def name_rule(self, name: str) -> list[str]:
        """A DNS-1123 label, so it may start with a digit: RelaxedServiceNameValidation is GA in 1.37."""
        return formats.label(name)

    def default(self, document: Document) -> None:
        defaults.set_defaults(document.setdefault("spec", {}))
        if status := document.get("status"):
            defaults.default_ingress_mode(status)

    def prepare_create(self, document: Document, env: Env) -> None:
        document["status"] = {"loadBalancer": {}}
        defaults.normalize_cluster_ips(document["spec"], None)
        defaults.drop_meaningless_node_ports(document["spec"])

    def prepare_update(self, document: Document, old: Document, subresource: str, env: Env) -> None:
        super().prepare_update(document, old, subresource, env)
        if subresource == "status":
            document.setdefault("status", {}).setdefault("loadBalancer", {})
            return
        spec, before = document["spec"], old["spec"]
        defaults.keep_allocated(spec, before)
        defaults.normalize_cluster_ips(spec, before)
        defaults.keep_families(spec, before)
        defaults.wipe_dependent(document, old)
        defaults.drop_meaningless_node_ports(spec)
        if before.get("type") == "LoadBalancer" != spec["type"]:
            restore(document, old, "status")
            document["status"] = {**document.get("status", {}), "loadBalancer": {}}

    def check(self, document: Document, old: Document | None, subresource: str) -> list[FieldError]:
        return check_status(document, old) if subresource == "status" else check_service(document, old)

    def warnings(self, document: Document, old: Document | None) -> Sequence[str]:
        return service_warnings(document, old)

    def claim(self, document: Document | None, old: Document | None, snapshot: Snapshot, env: Env) -> Claim:
        return claim_service(document, old, snapshot, env)

    def fields(self, document: Document) -> dict[str, str]:
        spec = document.get("spec", {})
        return {"spec.clusterIP": spec.get("clusterIP", ""), "spec.type": spec.get("type", "")}

    def cells(self, document: Document, env: Env) -> Sequence[Any]:
        spec = document.get("spec", {})
        return [
            document["metadata"].get("name", ""),
            spec.get("type", ""),
            next(iter(spec.get("clusterIPs") or ()), printing.NONE),
            _external_ip(document),
            ",".join(map(_port, spec.get("ports") or ())) or printing.NONE,
            printing.age(document, env),
            printing.labels(spec.get("selector")),
        ]


def _port(port: Document) -> str:
    node_port = f":{port['nodePort']}" if port.get("nodePort") else ""
    return f"{port['port']}{node_port}/{port.get('protocol', 'TCP')}"


def _external_ip(document: Document) -> str:
    spec = document.get("spec", {})
    external: list[str] = spec.get("externalIPs") or []
    match spec.get("type"):
        case "ClusterIP" | "NodePort":
            return ",".join(external) or printing.NONE
        case "LoadBalancer":
            ingresses = ((document.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
            shown = dict.fromkeys(ingress.get("ip") or ingress.get("hostname") or "" for ingress in ingresses)
            return ",".join([text for text in shown if text] + external) or "<pending>"
        case "ExternalName":
            return str(spec.get("externalName", ""))
    return printing.UNKNOWN
