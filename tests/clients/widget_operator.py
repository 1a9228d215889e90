"""An operator of the tests, run by `kopf run`: it makes a ConfigMap for each Widget, says so in the status, and cleans up."""

from typing import Any

import kopf
from kubernetes import client, config


@kopf.on.startup()
def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
    config.load_kube_config()
    settings.posting.enabled = True
    settings.persistence.finalizer = "example.com/widget-operator"


@kopf.on.create("example.com", "v1", "widgets")
def create(name: str, namespace: str, spec: dict[str, Any], **_: Any) -> dict[str, Any]:
    body = {"metadata": {"name": name, "namespace": namespace}, "data": {"size": str(spec["size"])}}
    kopf.adopt(body)
    client.CoreV1Api().create_namespaced_config_map(namespace, body)
    return {"made": name}


@kopf.on.update("example.com", "v1", "widgets", field="spec.size")
def update(name: str, namespace: str, new: int, **_: Any) -> None:
    client.CoreV1Api().patch_namespaced_config_map(name, namespace, {"data": {"size": str(new)}})


@kopf.timer("example.com", "v1", "widgets", interval=0.5)
def tick(patch: kopf.Patch, status: dict[str, Any], **_: Any) -> None:
    patch.status["ticks"] = status.get("ticks", 0) + 1


@kopf.on.delete("example.com", "v1", "widgets")
def delete(name: str, namespace: str, **_: Any) -> None:
    client.CoreV1Api().create_namespaced_config_map(namespace, {"metadata": {"name": f"{name}-was-here"}})
