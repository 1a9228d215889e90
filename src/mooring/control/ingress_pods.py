"""What is a proxy's pod? One container, of no user that there is, with nothing to write but a small folder in memory."""

from msgspec import Struct

from mooring.control.ingress_class import labels, proxies_name
from mooring.control.reconciler import Document

IMAGE = "mooring.dev/gateway"
USER = 65532
"""Of nobody on any machine, as others' images without a user have it."""
REPLICAS = 2
DRAIN_SECONDS = 30
GRACE = 15
"""Seconds that a proxy gets to end in, once it has drained."""
PORTS = (("http", "TCP", 8080), ("https", "TCP", 8443), ("http3", "UDP", 8443), ("metrics", "TCP", 8082))
READY_PORT = 8081
CONTAINER = "gateway"
REQUESTS = {"cpu": "100m", "memory": "128Mi"}
"""What a replica takes when it has little to do."""
FOLDER = "/run/gateway"


class Wish(Struct, frozen=True):
    """`proxy` is envoy or nginx; `replicas` None: as many as people wish; `drain_seconds`: how long requests are waited for."""

    class_name: str
    proxy: str
    image: str
    replicas: int | None = None
    drain_seconds: int = DRAIN_SECONDS


def pod_template(wish: Wish) -> Document:
    pod_context = {
        "runAsNonRoot": True,
        "runAsUser": USER,
        "runAsGroup": USER,
        "fsGroup": USER,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    spread = {
        "topologyKey": "kubernetes.io/hostname",
        "maxSkew": 1,
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": labels(wish.class_name)},
        "matchLabelKeys": ["pod-template-hash"],
    }
    return {
        "metadata": {"labels": labels(wish.class_name)},
        "spec": {
            "serviceAccountName": proxies_name(wish.class_name),
            "terminationGracePeriodSeconds": wish.drain_seconds + GRACE,
            "securityContext": pod_context,
            "topologySpreadConstraints": [spread],
            "containers": [_container(wish)],
            "volumes": [{"name": "run", "emptyDir": {"medium": "Memory"}}],
        },
    }


def _container(wish: Wish) -> Document:
    fields = {
        "POD_NAME": "metadata.name",
        "POD_NAMESPACE": "metadata.namespace",
        "POD_IP": "status.podIP",
        "NODE_NAME": "spec.nodeName",
    }
    ports = [each for each in PORTS if wish.proxy == "envoy" or each[0] != "http3"]
    return {
        "name": CONTAINER,
        "image": wish.image,
        "args": [
            "gateway",
            *("--class", wish.class_name),
            *("--proxy", wish.proxy),
            *("--drain-seconds", str(wish.drain_seconds)),
        ],
        "env": [{"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in fields.items()],
        "ports": [{"name": name, "protocol": protocol, "containerPort": port} for name, protocol, port in ports],
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": READY_PORT}, "periodSeconds": 1},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "run", "mountPath": FOLDER}],
    }
