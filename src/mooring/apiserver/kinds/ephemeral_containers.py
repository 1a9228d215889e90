"""Which ephemeral containers are refused, and in which words? They are added to a pod that is there, to stay as they are.

Source: validateEphemeralContainers and ValidatePodEphemeralContainersUpdate in k8s.io/kubernetes/pkg/apis/core/validation.
"""

from typing import Any

from mooring.apiserver.kinds.container_validation import check_container
from mooring.apiserver.kinds.pod_defaults import is_mirror
from mooring.apiserver.kinds.problems import forbidden, not_found
from mooring.apiserver.strategy import Document, FieldError

Spec = dict[str, Any]

_FIELD = "ephemeralContainers"
_NOT_TAKEN = (
    "ports", "resources", "resizePolicy", "restartPolicy", "restartPolicyRules", "livenessProbe", "readinessProbe",
    "startupProbe", "lifecycle",
)  # fmt: skip
"""What a service is made of: nothing is to rely on an ephemeral container."""
_NOT_TAKEN_OF_MOUNTS = ("subPath", "subPathExpr")
_CHECKED_TOO = frozenset(("ports", "resources"))
_WORDS = "cannot be set for an Ephemeral Container"


def check_ephemeral_containers(spec: Spec, field: str, volumes: set[str], names: set[str]) -> list[FieldError]:
    """`names`: of the pod's other containers."""
    found: list[FieldError] = []
    others = frozenset(names)
    for place, container in enumerate(spec.get(_FIELD) or ()):
        here = f"{field}.{_FIELD}[{place}]"
        unwanted = [name for name in _NOT_TAKEN if container.get(name)]
        common = {name: value for name, value in container.items() if name not in unwanted or name in _CHECKED_TOO}
        found += check_container(common, here, volumes, names)
        if (target := container.get("targetContainerName")) and target not in others:
            found.append(not_found(f"{here}.targetContainerName", target))
        found += [forbidden(f"{here}.{name}", _WORDS) for name in unwanted]
        found += [
            forbidden(f"{here}.volumeMounts[{at}].{name}", _WORDS)
            for at, mount in enumerate(container.get("volumeMounts") or ())
            for name in _NOT_TAKEN_OF_MOUNTS
            if mount.get(name)
        ]
    return found


def check_additions(document: Document, old: Document) -> list[FieldError]:
    """Ephemeral containers may come, in any order, but neither change nor go."""
    if is_mirror(old):
        return [forbidden("", "static pods do not support ephemeral containers")]
    given = {container.get("name"): container for container in document["spec"].get(_FIELD) or ()}
    found: list[FieldError] = []
    for container in old["spec"].get(_FIELD) or ():
        name = container["name"]
        if name not in given:
            found.append(forbidden(f"spec.{_FIELD}", f'existing ephemeral containers "{name}" may not be removed'))
        elif _said(given[name]) != _said(container):
            found.append(forbidden(f"spec.{_FIELD}", f'existing ephemeral containers "{name}" may not be changed'))
    return found


def _said(container: Spec) -> Spec:
    """Without what says nothing: clients leave it out, or do not, as they like."""
    return {name: value for name, value in container.items() if value not in ({}, [], "", False)}
