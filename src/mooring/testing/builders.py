"""Documents to try things on: Services, pods and nodes with only what matters spelt out."""

from typing import Any

Document = dict[str, Any]
TIME = "2026-01-01T00:00:00Z"


def service(name: str = "web", *ports: Document, **spec: Any) -> Document:
    """A ClusterIP Service that selects app=<name> on port 80 unless told otherwise."""
    metadata = {"name": name, "namespace": "default", "uid": f"service-{name}", "creationTimestamp": TIME}
    base = {
        "type": "ClusterIP",
        "clusterIP": "10.96.0.1",
        "ipFamilies": ["IPv4"],
        "selector": {"app": name},
        "ports": list(ports) or [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080}],
    }
    return {"kind": "Service", "apiVersion": "v1", "metadata": metadata, "spec": {**base, **spec}}


def pod(name: str, *addresses: str, ready: bool = True, node: str = "a", app: str = "web", since: str = TIME) -> Document:
    condition = {"type": "Ready", "status": str(ready), "lastTransitionTime": since}
    return {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {"name": name, "namespace": "default", "uid": f"pod-{name}", "labels": {"app": app}},
        "spec": {"nodeName": node, "containers": [{"name": "main"}]},
        "status": {"phase": "Running", "podIPs": [{"ip": ip} for ip in addresses], "conditions": [condition]},
    }


def node(name: str, zone: str = "", cpu: str = "", ready: bool = True, **labels: str) -> Document:
    zones = {"topology.kubernetes.io/zone": zone} if zone else {}
    status = {"allocatable": {"cpu": cpu} if cpu else {}, "conditions": [{"type": "Ready", "status": str(ready)}]}
    return {"kind": "Node", "apiVersion": "v1", "metadata": {"name": name, "labels": zones | labels}, "status": status}
