"""Of which quality-of-service class is a pod? (docs: "Pod Quality of Service Classes")"""

from mooring.model.pod import Pod
from mooring.pods.quantity import parse

_COUNTED = ("cpu", "memory")


def qos_class(pod: Pod) -> str:
    """Guaranteed: every container limits cpu and memory and asks for just that. BestEffort: none asks for anything."""
    asked, guaranteed = False, True
    for container in pod.containers:
        limits, requests = container.resources.limits or {}, container.resources.requests or {}
        for name in _COUNTED:
            limit, request = parse(limits.get(name, 0)), parse(requests.get(name, limits.get(name, 0)))
            asked = asked or limit > 0 or request > 0
            guaranteed = guaranteed and limit > 0 and limit == request
    if not asked:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"
