"""For how long does a client come back to the same endpoint? sessionAffinity ClientIP and its timeout, each 0 seconds without.

The client is its address, as this node sees it; it is remembered for the service port, whichever of its frontends it came to,
and each new connection starts the time again. Nodes do not tell each other.
"""

from mooring.model.service import ClientIPConfig, Service

CLIENT_IP = "ClientIP"
LONGEST = 86400
"""Seconds, as the API allows; what is stored beyond it is read as the default."""


def seconds(service: Service) -> int:
    """0 for none."""
    if service.spec.session_affinity != CLIENT_IP:
        return 0
    config = service.spec.session_affinity_config
    chosen = config.client_ip.timeout_seconds if config and config.client_ip else None
    default = ClientIPConfig().timeout_seconds
    return chosen if chosen is not None and 0 < chosen <= LONGEST else default
