"""Which pods are refused, and in which words? Shared by Pod and the templates of Deployment and ReplicaSet.

Source: ValidatePodSpec and ValidatePodUpdate in k8s.io/kubernetes/pkg/apis/core/validation.
"""

from collections.abc import Callable, Sequence
from typing import Any

from mooring.apiserver.kinds import formats
from mooring.apiserver.kinds.affinity_validation import check_affinity
from mooring.apiserver.kinds.container_validation import check_container, check_host_ports, check_init, check_resize_policies
from mooring.apiserver.kinds.ephemeral_containers import check_ephemeral_containers
from mooring.apiserver.kinds.metadata import check_labels
from mooring.apiserver.kinds.problems import duplicate, each, forbidden, invalid, required, too_long, unsupported
from mooring.apiserver.kinds.volume_paths import check_host_path
from mooring.apiserver.strategy import Document, FieldError
from mooring.model.pod import MAX_NAMESERVERS, MAX_SEARCH_LETTERS, MAX_SEARCHES

Spec = dict[str, Any]

RESTART_POLICIES = ("Always", "Never", "OnFailure")
DNS_POLICIES = ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None")
TAINT_EFFECTS = ("NoExecute", "NoSchedule", "PreferNoSchedule")
TOLERATION_OPERATORS = ("Equal", "Exists", "Gt", "Lt")
MAX_HOSTNAME_OVERRIDE = 64
SURPRISING = "this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended"
CHANGEABLE = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def check_pod_spec(spec: Spec, field: str, restart_policies: Sequence[str] = RESTART_POLICIES) -> list[FieldError]:
    """Every rule of a pod's spec; `field` is where it stands ('spec', 'spec.template.spec')."""
    found, volumes = _check_volumes(spec.get("volumes") or (), f"{field}.volumes")
    names: set[str] = set()
    containers = spec.get("containers") or ()
    if not containers:
        found.append(required(f"{field}.containers"))
    for place, container in enumerate(containers):
        found += check_container(container, f"{field}.containers[{place}]", volumes, names)
        found += check_resize_policies(container, f"{field}.containers[{place}]", spec.get("restartPolicy", ""))
    for place, container in enumerate(spec.get("initContainers") or ()):
        found += check_container(container, f"{field}.initContainers[{place}]", volumes, names)
        found += check_init(container, f"{field}.initContainers[{place}]")
        found += check_resize_policies(container, f"{field}.initContainers[{place}]", spec.get("restartPolicy", ""))
    found += check_ephemeral_containers(spec, field, volumes, names)
    found += check_host_ports(spec, field)
    policy, dns = spec.get("restartPolicy"), spec.get("dnsPolicy")
    if policy not in restart_policies:
        found.append(unsupported(f"{field}.restartPolicy", policy, restart_policies))
    if not dns:
        found.append(required(f"{field}.dnsPolicy"))
    elif dns not in DNS_POLICIES:
        found.append(unsupported(f"{field}.dnsPolicy", dns, DNS_POLICIES))
    found += check_labels(spec.get("nodeSelector") or {}, f"{field}.nodeSelector")
    found += _check_names(spec, field) + _check_dns(spec, field) + check_affinity(spec, field)
    found += _check_tolerations(spec.get("tolerations") or (), f"{field}.tolerations")
    for place, alias in enumerate(spec.get("hostAliases") or ()):
        found += each(f"{field}.hostAliases[{place}].ip", alias.get("ip", ""), formats.ip(alias.get("ip", "")))
        for at, name in enumerate(alias.get("hostnames") or ()):
            found += each(f"{field}.hostAliases[{place}].hostnames[{at}]", name, formats.subdomain(name))
    if (seconds := spec.get("activeDeadlineSeconds")) is not None and not 1 <= seconds < 1 << 31:
        words = "must be between 1 and 2147483647, inclusive"
        found.append(invalid(f"{field}.activeDeadlineSeconds", seconds, words))
    if spec.get("terminationGracePeriodSeconds", 0) < 0:
        words = "must be greater than or equal to 0"
        found.append(invalid(f"{field}.terminationGracePeriodSeconds", spec["terminationGracePeriodSeconds"], words))
    for place, gate in enumerate(spec.get("readinessGates") or ()):
        name = gate.get("conditionType", "")
        found += each(f"{field}.readinessGates[{place}].conditionType", name, formats.qualified_name(name))
    return found


def _check_names(spec: Spec, field: str) -> list[FieldError]:
    rules: tuple[tuple[str, Callable[[str], list[str]]], ...] = (
        ("serviceAccountName", formats.subdomain),
        ("nodeName", formats.subdomain),
        ("hostname", formats.label),
        ("subdomain", formats.label),
        ("priorityClassName", formats.subdomain),
    )
    found = [error for name, rule in rules if spec.get(name) for error in each(f"{field}.{name}", spec[name], rule(spec[name]))]
    return found + _check_hostname_override(spec, f"{field}.hostnameOverride")


def _check_hostname_override(spec: Spec, field: str) -> list[FieldError]:
    name = spec.get("hostnameOverride")
    if name is None:
        return []
    found = each(field, name, formats.subdomain(name))
    if len(name) > MAX_HOSTNAME_OVERRIDE:
        found.append(too_long(field, MAX_HOSTNAME_OVERRIDE))
    return found + [
        forbidden(field, f"may not be set when `{other}` is true")
        for other in ("hostNetwork", "setHostnameAsFQDN")
        if spec.get(other)
    ]


# Volumes ----------------------------------------------------------------------------------------------------------------


def _check_volumes(volumes: Sequence[Spec], field: str) -> tuple[list[FieldError], set[str]]:
    found: list[FieldError] = []
    names: set[str] = set()
    for place, volume in enumerate(volumes):
        here, name = f"{field}[{place}]", volume.get("name", "")
        if not name:
            found.append(required(f"{here}.name"))
        else:
            found += each(f"{here}.name", name, formats.label(name))
        if name in names:
            found.append(duplicate(f"{here}.name", name))
        names.add(name)
        sources = [source for source in volume if source != "name"]
        if not sources:
            found.append(required(here, "must specify a volume type"))
        found += [forbidden(f"{here}.{source}", "may not specify more than 1 volume type") for source in sources[1:]]
        found += _check_volume_source(volume, here)
    return found, names


def _check_volume_source(volume: Spec, field: str) -> list[FieldError]:
    found: list[FieldError] = []
    if "secret" in volume and not volume["secret"].get("secretName"):
        found.append(required(f"{field}.secret.secretName"))
    if "configMap" in volume and not volume["configMap"].get("name"):
        found.append(required(f"{field}.configMap.name"))
    if "hostPath" in volume:
        found += check_host_path(volume["hostPath"], f"{field}.hostPath")
    if "persistentVolumeClaim" in volume and not volume["persistentVolumeClaim"].get("claimName"):
        found.append(required(f"{field}.persistentVolumeClaim.claimName"))
    for name in ("secret", "configMap"):
        for place, item in enumerate((volume.get(name) or {}).get("items") or ()):
            found += _check_item_path(item, f"{field}.{name}.items[{place}]")
    for place, item in enumerate((volume.get("downwardAPI") or {}).get("items") or ()):
        found += _check_item_path(item, f"{field}.downwardAPI.items[{place}]", keyed=False)
    return found


def _check_item_path(item: Spec, field: str, keyed: bool = True) -> list[FieldError]:
    found = []
    if keyed and not item.get("key"):
        found.append(required(f"{field}.key"))
    path = item.get("path", "")
    if not path:
        found.append(required(f"{field}.path"))
    elif path.startswith("/"):
        found.append(invalid(f"{field}.path", path, "must be a relative path"))
    elif ".." in path.split("/"):
        found.append(invalid(f"{field}.path", path, "must not contain '..'"))
    return found


def _check_dns(spec: Spec, field: str) -> list[FieldError]:
    here, config = f"{field}.dnsConfig", spec.get("dnsConfig")
    if config is None:
        missing = required(here, "must provide `dnsConfig` when `dnsPolicy` is None")
        return [missing] if spec.get("dnsPolicy") == "None" else []
    servers, searches = config.get("nameservers") or (), config.get("searches") or ()
    if spec.get("dnsPolicy") == "None" and not servers:
        return [required(f"{here}.nameservers", "must provide at least one DNS nameserver when `dnsPolicy` is None")]
    found: list[FieldError] = []
    if len(servers) > MAX_NAMESERVERS:
        found.append(invalid(f"{here}.nameservers", servers, f"must not have more than {MAX_NAMESERVERS} nameservers"))
    for place, server in enumerate(servers):
        found += each(f"{here}.nameservers[{place}]", server, formats.ip(server))
    if len(searches) > MAX_SEARCHES:
        found.append(invalid(f"{here}.searches", searches, f"must not have more than {MAX_SEARCHES} search paths"))
    if len(" ".join(searches)) > MAX_SEARCH_LETTERS:
        words = f"must not have more than {MAX_SEARCH_LETTERS} characters (including spaces) in the search list"
        found.append(invalid(f"{here}.searches", searches, words))
    for place, search in enumerate(searches):
        if search != ".":
            name = search.removesuffix(".")
            found += each(f"{here}.searches[{place}]", name, formats.search_path(name))
    for place, option in enumerate(config.get("options") or ()):
        if not option.get("name"):
            found.append(required(f"{here}.options[{place}]", "must not be empty"))
    return found


def _check_tolerations(tolerations: Sequence[Spec], field: str) -> list[FieldError]:
    found: list[FieldError] = []
    for place, toleration in enumerate(tolerations):
        here, key, operator = f"{field}[{place}]", toleration.get("key", ""), toleration.get("operator") or "Equal"
        effect = toleration.get("effect", "")
        if key:
            found += each(f"{here}.key", key, formats.qualified_name(key))
        elif operator != "Exists":
            found.append(
                invalid(
                    f"{here}.operator",
                    operator,
                    'operator must be Exists when `key` is empty, which means "match all values and all keys"',
                )
            )
        if operator not in TOLERATION_OPERATORS:
            found.append(unsupported(f"{here}.operator", operator, TOLERATION_OPERATORS))
        if operator == "Exists" and toleration.get("value"):
            found.append(invalid(f"{here}.operator", toleration["value"], "value must be empty when `operator` is 'Exists'"))
        if effect and effect not in TAINT_EFFECTS:
            found.append(unsupported(f"{here}.effect", effect, TAINT_EFFECTS))
        if "tolerationSeconds" in toleration and effect != "NoExecute":
            words = "effect must be 'NoExecute' when `tolerationSeconds` is set"
            found.append(invalid(f"{here}.effect", effect, words))
    return found


def pod_warnings(document: Document) -> list[str]:
    """What a new pod is told about its name and its host aliases, though both are allowed."""
    found: list[str] = []
    if words := formats.label(document["metadata"].get("name", "")):
        found.append(f"metadata.name: {SURPRISING}: [{' '.join(words)}]")
    seen: set[str] = set()
    for place, alias in enumerate(document["spec"].get("hostAliases") or ()):
        address = alias.get("ip", "")
        if address in seen:
            found.append(f'spec.hostAliases[{place}].ip: duplicate ip "{address}"')
        seen.add(address)
    return found


def check_pod_change(document: Document, old: Document) -> list[FieldError]:
    """A Pod's spec stands, but for images, a sooner deadline and more tolerations; gates may go, a gated pod be directed."""
    spec, before = document["spec"], old["spec"]
    found: list[FieldError] = []
    for group in ("containers", "initContainers"):
        if len(spec.get(group) or ()) != len(before.get(group) or ()):
            return [forbidden(f"spec.{group}", "pod updates may not add or remove containers")]
    deadline, previous = spec.get("activeDeadlineSeconds"), before.get("activeDeadlineSeconds")
    if previous is not None and (deadline is None or deadline > previous):
        words = "must not update from a positive integer to nil value"
        if deadline is not None:
            words = "must be less than or equal to previous value"
        found.append(invalid("spec.activeDeadlineSeconds", deadline, words))
    kept = [_without_seconds(toleration) for toleration in spec.get("tolerations") or ()]
    if any(_without_seconds(toleration) not in kept for toleration in before.get("tolerations") or ()):
        found.append(forbidden("spec.tolerations", "existing toleration can not be modified except its tolerationSeconds"))
    gates = [gate.get("name") for gate in before.get("schedulingGates") or ()]
    for gate in spec.get("schedulingGates") or ():
        if gate.get("name") not in gates:
            words = "only deletion is allowed, but found new scheduling gate '{}'".format(gate.get("name"))
            found.append(forbidden("spec.schedulingGates", words))
    if _fixed_part(spec, bool(gates)) != _fixed_part(before, bool(gates)):
        found.append(forbidden("spec", CHANGEABLE))
    return found


def _without_seconds(toleration: Spec) -> Spec:
    return {name: value for name, value in toleration.items() if name != "tolerationSeconds"}


def _fixed_part(spec: Spec, gated: bool) -> Spec:
    loose = {"activeDeadlineSeconds", "tolerations", "schedulingGates"} | ({"nodeSelector", "affinity"} if gated else set())
    fixed = {name: value for name, value in spec.items() if name not in loose and value not in ({}, [], "")}
    if fixed.get("terminationGracePeriodSeconds", 0) < 0:
        fixed["terminationGracePeriodSeconds"] = 1
    for name in ("containers", "initContainers"):
        if name in fixed:
            fixed[name] = [{key: value for key, value in c.items() if key != "image"} for c in fixed[name]]
    return fixed
