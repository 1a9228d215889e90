"""Which Services, and which of their slices, does this node carry packets for? Two labels, whatever their value, say no."""

from mooring.model.discovery import EndpointSlice
from mooring.model.service import Service

OTHER_PROXY_LABEL = "service.kubernetes.io/service-proxy-name"
HEADLESS_LABEL = "service.kubernetes.io/headless"


def is_proxied(service: Service) -> bool:
    """Headless and ExternalName Services are names only; a label hands a Service to another proxy, or makes it headless."""
    labels = service.metadata.labels or {}
    return (
        service.spec.cluster_ip not in ("", "None")
        and service.spec.type != "ExternalName"
        and OTHER_PROXY_LABEL not in labels
        and HEADLESS_LABEL not in labels
    )


def is_read(found: EndpointSlice) -> bool:
    """The controller labels the slices of headless Services; a slice for another proxy is that one's."""
    labels = found.metadata.labels or {}
    return HEADLESS_LABEL not in labels and OTHER_PROXY_LABEL not in labels
