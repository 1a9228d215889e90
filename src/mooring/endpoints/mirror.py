"""Which slices mirror a core/v1 Endpoints object that somebody wrote for a Service without selector?

https://kubernetes.io/docs/concepts/services-networking/service/#endpointslice-mirroring
"""

from collections.abc import Iterable
from ipaddress import ip_address

from msgspec import Struct, field

from mooring.endpoints.desired import Desired, Group, endpoint_key, ports_key
from mooring.endpoints.legacy import LEADER_ANNOTATION
from mooring.endpoints.pods import Document
from mooring.endpoints.slices import MOST, TRIGGER_ANNOTATION, Parent, slice_labels

MANAGED_BY = "endpointslicemirroring-controller.k8s.io"
SKIP_LABEL = "endpointslice.kubernetes.io/skip-mirror"
APPLIED_ANNOTATION = "kubectl.kubernetes.io/last-applied-configuration"


class Mirrored(Struct):
    """What is wanted in each family, and how many addresses could not be taken over."""

    families: dict[str, Desired] = field(default_factory=dict)
    invalid: int = 0
    skipped: int = 0
    """Over the limit of MOST addresses in a subset."""


def should_mirror(endpoints: Document | None, service: Document | None) -> bool:
    """Only a Service without selector, and no Endpoints that are a leader's lock or ask not to be mirrored."""
    if endpoints is None or service is None or service["spec"].get("selector"):
        return False
    metadata = endpoints["metadata"]
    if metadata.get("deletionTimestamp") or LEADER_ANNOTATION in (metadata.get("annotations") or {}):
        return False
    return (metadata.get("labels") or {}).get(SKIP_LABEL) != "true"


def mirror_parent(endpoints: Document) -> Parent:
    metadata = endpoints["metadata"]
    annotations = {
        key: value
        for key, value in (metadata.get("annotations") or {}).items()
        if key not in (TRIGGER_ANNOTATION, APPLIED_ANNOTATION)
    }
    labels = slice_labels(metadata.get("labels"), metadata["name"], MANAGED_BY, headless=False)
    return Parent(endpoints, labels, annotations)


def mirrored_endpoints(endpoints: Document) -> Mirrored:
    mirrored = Mirrored()
    for subset in endpoints.get("subsets") or ():
        ports = tuple({"name": "", **port} for port in subset.get("ports") or ())
        taken = 0
        for address, ready in addresses(subset):
            if taken >= MOST:
                mirrored.skipped += 1
            elif (family := family_of(address.get("ip", ""))) is None:
                mirrored.invalid += 1
            else:
                taken += 1
                groups = mirrored.families.setdefault(family, Desired()).groups
                group = groups.setdefault(ports_key(ports), Group(ports))
                endpoint = mirrored_endpoint(address, ready)
                group.endpoints.setdefault(endpoint_key(endpoint), endpoint)
    return mirrored


def addresses(subset: Document) -> Iterable[tuple[Document, bool]]:
    """Ready ones first, as only so many are mirrored."""
    yield from ((address, True) for address in subset.get("addresses") or ())
    yield from ((address, False) for address in subset.get("notReadyAddresses") or ())


def mirrored_endpoint(address: Document, ready: bool) -> Document:
    document: Document = {"addresses": [address["ip"]], "conditions": {"ready": ready}}
    for name in ("hostname", "nodeName", "targetRef"):
        if address.get(name):
            document[name] = address[name]
    return document


def family_of(address: str) -> str | None:
    try:
        return f"IPv{ip_address(address).version}"
    except ValueError:
        return None
