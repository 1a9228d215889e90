"""What does a pod mean where its author said nothing?

k8s.io/kubernetes/pkg/apis/core/v1/defaults.go, shared by Pod and the templates of Deployment and ReplicaSet; and what admission
adds to a Pod on create: the service account's token volume (ServiceAccount) and tolerations (DefaultTolerationSeconds).
"""

from collections.abc import Iterator
from typing import Any

from mooring.alloc.rng import Rng
from mooring.apiserver.kinds.container_validation import amount
from mooring.apiserver.strategy import Document

Spec = dict[str, Any]

MODE = 0o644
TOKEN_SECONDS = 3607
TOKEN_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
UNREACHABLE_TAINTS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
TOLERATION_SECONDS = 300
_SUFFIX_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
MIRROR = "kubernetes.io/config.mirror"
"""The annotation of mirror pods."""
_MODED_VOLUMES = ("secret", "configMap", "downwardAPI", "projected")


def containers_of(spec: Spec) -> Iterator[Spec]:
    """Init containers, then containers, then ephemeral ones."""
    for name in ("initContainers", "containers", "ephemeralContainers"):
        yield from spec.get(name) or ()


def default_pod_spec(spec: Spec) -> None:
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("securityContext", {})
    spec.setdefault("schedulerName", "default-scheduler")
    if spec.get("serviceAccountName"):  # the deprecated alias follows
        spec["serviceAccount"] = spec["serviceAccountName"]
    elif spec.get("serviceAccount"):
        spec["serviceAccountName"] = spec["serviceAccount"]
    for container in containers_of(spec):
        _default_container(container, bool(spec.get("hostNetwork")))
    for volume in spec.get("volumes") or ():
        _default_volume(volume)
    for constraint in spec.get("topologySpreadConstraints") or ():
        constraint.setdefault("nodeAffinityPolicy", "Honor")
        constraint.setdefault("nodeTaintsPolicy", "Ignore")


def _default_container(container: Spec, host_network: bool) -> None:
    container.setdefault("terminationMessagePath", "/dev/termination-log")
    container.setdefault("terminationMessagePolicy", "File")
    container.setdefault("resources", {})
    container.setdefault("imagePullPolicy", _pull_policy(container.get("image", "")))
    resources = container["resources"]
    for name, limit in (resources.get("limits") or {}).items():
        resources.setdefault("requests", {}).setdefault(name, limit)
    for port in container.get("ports") or ():
        if not port.get("protocol"):
            port["protocol"] = "TCP"
        if host_network and not port.get("hostPort") and port.get("containerPort"):
            port["hostPort"] = port["containerPort"]
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if probe := container.get(name):
            _default_probe(probe)
    for hook in (container.get("lifecycle") or {}).values():
        if isinstance(hook, dict) and "httpGet" in hook:
            _default_http_get(hook["httpGet"])
    for variable in container.get("env") or ():
        if reference := (variable.get("valueFrom") or {}).get("fieldRef"):
            reference.setdefault("apiVersion", "v1")


def _pull_policy(image: str) -> str:
    """Always for ':latest' and for no tag, IfNotPresent for a tag or a digest."""
    name = image.rpartition("/")[2]
    if "@" in name:
        return "IfNotPresent"
    tag = name.partition(":")[2]
    return "Always" if tag in ("", "latest") else "IfNotPresent"


def _default_probe(probe: Spec) -> None:
    for name, value in (("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)):
        if not probe.get(name):
            probe[name] = value
    if "httpGet" in probe:
        _default_http_get(probe["httpGet"])
    if "grpc" in probe:
        probe["grpc"].setdefault("service", "")


def _default_http_get(action: Spec) -> None:
    if not action.get("path"):
        action["path"] = "/"
    if not action.get("scheme"):
        action["scheme"] = "HTTP"


def _default_volume(volume: Spec) -> None:
    if not any(name != "name" for name in volume):
        volume["emptyDir"] = {}
    for name in _MODED_VOLUMES:
        if name in volume:
            volume[name].setdefault("defaultMode", MODE)
    for source in (volume.get("projected") or {}).get("sources") or ():
        if token := source.get("serviceAccountToken"):
            token.setdefault("expirationSeconds", 3600)
        for item in (source.get("downwardAPI") or {}).get("items") or ():
            _default_field_reference(item)
    for item in (volume.get("downwardAPI") or {}).get("items") or ():
        _default_field_reference(item)
    if "hostPath" in volume:
        volume["hostPath"].setdefault("type", "")


def _default_field_reference(item: Spec) -> None:
    if "fieldRef" in item:
        item["fieldRef"].setdefault("apiVersion", "v1")


# Admission --------------------------------------------------------------------------------------------------------------


def admit_pod(document: Document, rng: Rng) -> None:
    """What the admission plugins that always run add to a new Pod, in place."""
    spec: Spec = document["spec"]
    mirror = is_mirror(document)
    if not mirror and not spec.get("serviceAccountName"):
        spec["serviceAccountName"] = spec["serviceAccount"] = "default"
    spec.setdefault("enableServiceLinks", True)
    spec.setdefault("priority", 0)
    spec.setdefault("preemptionPolicy", "PreemptLowerPriority")
    if not mirror and spec.get("automountServiceAccountToken", True):
        _mount_token(spec, rng)
    _tolerate_unreachable(spec)


def is_mirror(pod: Document) -> bool:
    """Whether a node tells by it of a Pod that it runs without having been told to, and which therefore has no account."""
    return MIRROR in (pod["metadata"].get("annotations") or {})


def _mount_token(spec: Spec, rng: Rng) -> None:
    targets = [
        container
        for container in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ()))
        if all(mount.get("mountPath") != TOKEN_PATH for mount in container.get("volumeMounts") or ())
    ]
    if not targets:
        return
    volumes = spec.setdefault("volumes", [])
    name = next((volume["name"] for volume in volumes if volume.get("name", "").startswith("kube-api-access-")), "")
    if not name:
        name = "kube-api-access-" + "".join(_SUFFIX_LETTERS[rng.randrange(len(_SUFFIX_LETTERS))] for _ in range(5))
        volumes.append(_token_volume(name))
    for container in targets:
        mount = {"name": name, "readOnly": True, "mountPath": TOKEN_PATH}
        container.setdefault("volumeMounts", []).append(mount)


def _token_volume(name: str) -> Spec:
    namespace = {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
    sources = [
        {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [namespace]}},
    ]
    return {"name": name, "projected": {"sources": sources, "defaultMode": MODE}}


def _tolerate_unreachable(spec: Spec) -> None:
    tolerations = spec.get("tolerations") or []
    for key in UNREACHABLE_TAINTS:
        if not any(
            toleration.get("key") in (key, None, "") and toleration.get("effect") in ("NoExecute", None, "")
            for toleration in tolerations
        ):
            tolerations.append(
                {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": TOLERATION_SECONDS}
            )
    spec["tolerations"] = tolerations


def quality_of_service(spec: Spec) -> str:
    """Guaranteed, Burstable or BestEffort, by requests and limits of CPU and memory."""
    guaranteed, anything = True, False
    for container in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ())):
        resources = container.get("resources") or {}
        requests, limits = resources.get("requests") or {}, resources.get("limits") or {}
        for name in ("cpu", "memory"):
            asked, limit = requests.get(name), limits.get(name)
            anything |= asked is not None or limit is not None
            guaranteed &= limit is not None and (asked is None or amount(asked) == amount(limit))
    if not anything:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"
