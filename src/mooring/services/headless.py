"""What does a headless Service mean? Names only: DNS leads straight to the ready endpoints, no packet is touched."""

from mooring.model.service import Service


def is_headless(service: Service) -> bool:
    return service.spec.cluster_ip == "None"
