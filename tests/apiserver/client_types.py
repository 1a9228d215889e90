"""Which types and fields does the official Kubernetes Python client know? Run as a script, rewrites the committed table.

The client (PyPI `kubernetes`) is generated from the published OpenAPI document; it loses integer widths, quantities, micro
times and patch strategies. Those are the facts written here by hand, from the Go types of k8s.io/api.
"""

import ast
import json
import re
import sys
from importlib import resources
from pathlib import Path

TABLE = Path(__file__).parents[2] / "src" / "mooring" / "apiserver" / "schema_types.json"
ROOTS = [
    "V1Namespace", "V1Node", "V1Pod", "V1Service", "V1Endpoints", "V1ConfigMap", "V1Secret",
    "V1ServiceAccount", "CoreV1Event", "EventsV1Event", "V1Scale", "V1EndpointSlice",
    "V1Deployment", "V1ReplicaSet", "V1Lease", "V1ServiceCIDR", "V1IPAddress", "V1Ingress",
    "V1IngressClass", "V1Binding", "V1ListMeta", "V1DeleteOptions", "V1Status",
    "AuthenticationV1TokenRequest",
]  # fmt: skip

PACKAGES = {
    "meta.v1": "ObjectMeta ListMeta OwnerReference ManagedFieldsEntry LabelSelector LabelSelectorRequirement Status "
    "StatusDetails StatusCause DeleteOptions Preconditions Condition FieldSelectorRequirement ShardInfo",
    "apps.v1": "Deployment DeploymentSpec DeploymentStatus DeploymentStrategy DeploymentCondition RollingUpdateDeployment "
    "ReplicaSet ReplicaSetSpec ReplicaSetStatus ReplicaSetCondition",
    "autoscaling.v1": "Scale ScaleSpec ScaleStatus",
    "authentication.v1": "TokenRequest TokenRequestSpec TokenRequestStatus BoundObjectReference",
    "discovery.v1": "EndpointSlice Endpoint EndpointConditions EndpointHints ForZone ForNode",
    "coordination.v1": "Lease LeaseSpec",
    "networking.v1": "Ingress IngressSpec IngressStatus IngressRule IngressTLS IngressBackend IngressServiceBackend "
    "ServiceBackendPort HTTPIngressRuleValue HTTPIngressPath IngressLoadBalancerStatus "
    "IngressLoadBalancerIngress IngressPortStatus IngressClass IngressClassSpec "
    "IngressClassParametersReference ServiceCIDR ServiceCIDRSpec ServiceCIDRStatus IPAddress IPAddressSpec "
    "ParentReference",
}  # fmt: skip
PACKAGE_OF = {name: package for package, names in PACKAGES.items() for name in names.split()}
PREFIXES = {
    "CoreV1": "core.v1",
    "EventsV1": "events.v1",
    "DiscoveryV1": "discovery.v1",
    "AuthenticationV1": "authentication.v1",
}

INT64 = {
    "Condition.observedGeneration", "ContainerImage.sizeBytes", "DeleteOptions.gracePeriodSeconds",
    "DeploymentStatus.observedGeneration", "LinuxContainerUser.gid", "LinuxContainerUser.supplementalGroups",
    "LinuxContainerUser.uid", "ListMeta.remainingItemCount", "NodeSwapStatus.capacity",
    "ObjectMeta.deletionGracePeriodSeconds", "ObjectMeta.generation", "PodCondition.observedGeneration",
    "PodSecurityContext.fsGroup", "PodSecurityContext.runAsGroup", "PodSecurityContext.runAsUser",
    "PodSecurityContext.supplementalGroups", "PodSpec.activeDeadlineSeconds", "PodSpec.terminationGracePeriodSeconds",
    "PodStatus.observedGeneration", "Probe.terminationGracePeriodSeconds", "ReplicaSetStatus.observedGeneration",
    "SecurityContext.runAsGroup", "SecurityContext.runAsUser", "ServiceAccountTokenProjection.expirationSeconds",
    "SleepAction.seconds", "TokenRequestSpec.expirationSeconds", "Toleration.tolerationSeconds",
}  # fmt: skip
QUANTITY = {
    "ContainerStatus.allocatedResources", "EmptyDirVolumeSource.sizeLimit", "NodeStatus.allocatable", "NodeStatus.capacity",
    "PodSpec.overhead", "PodStatus.allocatedResources", "ResourceFieldSelector.divisor", "ResourceRequirements.limits",
    "ResourceRequirements.requests", "VolumeResourceRequirements.limits", "VolumeResourceRequirements.requests",
}  # fmt: skip
MICRO_TIME = {
    "Event.eventTime", "EventSeries.lastObservedTime", "LeaseSpec.acquireTime", "LeaseSpec.renewTime",
}  # fmt: skip
BYTES = {"ClusterTrustBundle.trustBundle"}
PATCH = {
    "ObjectMeta.finalizers": "merge",
    "ObjectMeta.ownerReferences": "merge:uid",
    "Container.ports": "merge:containerPort",
    "Container.env": "merge:name",
    "Container.volumeMounts": "merge:mountPath",
    "Container.volumeDevices": "merge:devicePath",
    "EphemeralContainer.ports": "merge:containerPort",
    "EphemeralContainer.env": "merge:name",
    "EphemeralContainer.volumeMounts": "merge:mountPath",
    "EphemeralContainer.volumeDevices": "merge:devicePath",
    "PodSpec.volumes": "merge,retainKeys:name",
    "PodSpec.resourceClaims": "merge,retainKeys:name",
    "PodSpec.initContainers": "merge:name",
    "PodSpec.containers": "merge:name",
    "PodSpec.ephemeralContainers": "merge:name",
    "PodSpec.imagePullSecrets": "merge:name",
    "PodSpec.hostAliases": "merge:ip",
    "PodSpec.topologySpreadConstraints": "merge:topologyKey",
    "PodSpec.schedulingGates": "merge:name",
    "PodStatus.conditions": "merge:type",
    "PodStatus.podIPs": "merge:ip",
    "PodStatus.hostIPs": "merge:ip",
    "PodStatus.resourceClaimStatuses": "merge,retainKeys:name",
    "ContainerStatus.volumeMounts": "merge:mountPath",
    "ContainerStatus.allocatedResourcesStatus": "merge:name",
    "ServiceSpec.ports": "merge:port",
    "ServiceStatus.conditions": "merge:type",
    "NamespaceStatus.conditions": "merge:type",
    "NodeSpec.podCIDRs": "merge",
    "NodeStatus.conditions": "merge:type",
    "NodeStatus.addresses": "merge:type",
    "ServiceAccount.secrets": "merge:name",
    "DeploymentSpec.strategy": "retainKeys",
    "DeploymentStatus.conditions": "merge:type",
    "ReplicaSetStatus.conditions": "merge:type",
    "ServiceCIDRStatus.conditions": "merge:type",
}
# ServiceAccount.imagePullSecrets has no patch strategy upstream: it is replaced whole.


def client_sources() -> dict[str, str]:
    """The client's model classes by name, as source text."""
    sources = {}
    for path in resources.files("kubernetes.client.models").iterdir():
        if path.name.endswith(".py"):
            text = path.read_text()
            if named := re.search(r"^class (\w+)\(BaseModel\)", text, re.M):
                sources[named[1]] = text
    return sources


def go_name(client_class: str) -> tuple[str, str]:
    """The Go package and type of a client class: ('core.v1', 'ServicePort') of 'V1ServicePort'."""
    for prefix, package in PREFIXES.items():
        if client_class.startswith(prefix):
            return package, client_class.removeprefix(prefix)
    name = client_class.removeprefix("V1")
    return PACKAGE_OF.get(name, "core.v1"), name


def field_type(owner: str, name: str, client_type: str, package: str) -> str:
    """The table's word for a field's type."""
    if listed := re.fullmatch(r"List\[(.+)\]", client_type):
        return "[]" + field_type(owner, name, listed[1], package)
    if mapped := re.fullmatch(r"Dict\[str, (.+)\]", client_type):
        return "map[string]" + field_type(owner, name, mapped[1], package)
    qualified = f"{owner}.{name}"
    match client_type:
        case "str":
            return "quantity" if qualified in QUANTITY else "string"
        case "int":
            return "int64" if qualified in INT64 else "int32"
        case "datetime":
            return "micro-time" if qualified in MICRO_TIME else "time"
        case "bytes" | "bool":
            return client_type
        case "object":
            return "any" if name == "fieldsV1" else "int-or-string"
    other, type_name = go_name(client_type)
    return type_name if other == package else f"{other}.{type_name}"


def table() -> dict[str, dict[str, dict[str, str]]]:
    """{package: {type: {field: 'type[!][ patch]'}}}; `!` marks a required field, patch is 'strategies[:mergeKey]'."""
    sources = client_sources()
    types: dict[str, dict[str, dict[str, str]]] = {}
    waiting, seen = list(ROOTS), set()
    while waiting:
        client_class = waiting.pop()
        if client_class in seen or client_class not in sources:
            continue
        seen.add(client_class)
        text = sources[client_class]
        kinds, names = (
            ast.literal_eval(re.search(rf"{attribute}: ClassVar\[Dict\[str, str\]\] = (\{{.*?\}})", text, re.S)[1])
            for attribute in ("openapi_types", "attribute_map")
        )
        required = {
            found[1]
            for found in re.finditer(r"^    (\w+): (?!Optional|ClassVar)[^=\n]+(?:= Field\((?!default=).*)?$", text, re.M)
        }
        package, owner = go_name(client_class)
        fields = types.setdefault(package, {}).setdefault(owner, {})
        for attribute, client_type in kinds.items():
            name = names[attribute]
            entry = field_type(owner, name, client_type, package) + ("!" if attribute in required else "")
            fields[name] = " ".join(filter(None, (entry, PATCH.get(f"{owner}.{name}"))))
            waiting += re.findall(r"\b[A-Z]\w+", client_type)
    return {package: dict(sorted(found.items())) for package, found in sorted(types.items())}


def render(types: dict[str, dict[str, dict[str, str]]]) -> str:
    """One line a type, so that a diff names the type that changed."""
    packages = []
    for package, found in types.items():
        lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(fields)}" for name, fields in found.items())
        packages.append(f"{json.dumps(package)}: {{\n{lines}\n}}")
    return "{\n" + ",\n".join(packages) + "\n}\n"


if __name__ == "__main__":
    TABLE.write_text(render(table()))
    sys.stdout.write(f"{TABLE.name} rewritten\n")
