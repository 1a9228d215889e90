"""core/v1 Endpoints, the old form of EndpointSlices (deprecated by KEP-4974)."""

from collections.abc import Sequence
from typing import Any

from mooring.apiserver.contract import Env
from mooring.apiserver.kinds import formats, printing
from mooring.apiserver.kinds.plain import AGE, NAME, Plain
from mooring.apiserver.kinds.problems import each, required, unsupported
from mooring.apiserver.strategy import Column, Document, FieldError
from mooring.model.kinds import ENDPOINTS

PROTOCOLS = ("SCTP", "TCP", "UDP")
SHOWN = 3
LEADER_ANNOTATION = "control-plane.alpha.kubernetes.io/leader"


class Endpoints(Plain):
    kind = ENDPOINTS
    columns: tuple[Column, ...] = (NAME, Column("Endpoints"), AGE)

    def default(self, document: Document) -> None:
        for subset in document.get("subsets") or ():
            for port in subset.get("ports") or ():
                if not port.get("protocol"):
                    port["protocol"] = "TCP"

    def check(self, document: Document, old: Document | None, subresource: str) -> list[FieldError]:
        found: list[FieldError] = []
        known = {
            address.get("ip")
            for subset in (old or {}).get("subsets") or ()
            for address in (*(subset.get("addresses") or ()), *(subset.get("notReadyAddresses") or ()))
        }
        for place, subset in enumerate(document.get("subsets") or ()):
            field = f"subsets[{place}]"
            if not subset.get("addresses") and not subset.get("notReadyAddresses"):
                found.append(required(field, "must specify `addresses` or `notReadyAddresses`"))
            for name in ("addresses", "notReadyAddresses"):
                for at, address in enumerate(subset.get(name) or ()):
                    found += _check_address(address, f"{field}.{name}[{at}]", known)
            ports = subset.get("ports") or ()
            for at, port in enumerate(ports):
                found += _check_port(port, len(ports) > 1, f"{field}.ports[{at}]")
        return found

    def warnings(self, document: Document, old: Document | None) -> Sequence[str]:
        if LEADER_ANNOTATION in (document["metadata"].get("annotations") or {}):
            return ()
        return ("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",)

    def cells(self, document: Document, env: Env) -> Sequence[Any]:
        return [document["metadata"].get("name", ""), _addresses(document), printing.age(document, env)]


def _check_address(address: Document, field: str, known: set[str | None]) -> list[FieldError]:
    text = address.get("ip", "")
    words = formats.loose_ip(text) if text in known else formats.ip(text)
    found = each(f"{field}.ip", text, words or formats.special_ip(text))
    if hostname := address.get("hostname"):
        found += each(f"{field}.hostname", hostname, formats.label(hostname))
    if (node := address.get("nodeName")) is not None:
        found += each(f"{field}.nodeName", node, formats.subdomain(node))
    return found


def _check_port(port: Document, needs_name: bool, field: str) -> list[FieldError]:
    found: list[FieldError] = []
    name, number, protocol = port.get("name", ""), port.get("port", 0), port.get("protocol", "")
    if name:
        found += each(f"{field}.name", name, formats.label(name))
    elif needs_name:
        found.append(required(f"{field}.name"))
    found += each(f"{field}.port", number, formats.port_number(number))
    if protocol not in PROTOCOLS:
        found.append(unsupported(f"{field}.protocol", protocol, PROTOCOLS))
    if application := port.get("appProtocol"):
        found += each(f"{field}.appProtocol", application, formats.qualified_name(application))
    return found


def _addresses(document: Document) -> str:
    """'10.0.0.1:80,10.0.0.2:80 + 3 more...': the ready ones of every subset and port."""
    found = []
    for subset in document.get("subsets") or ():
        hosts = [address.get("ip", "") for address in subset.get("addresses") or ()]
        ports = subset.get("ports") or ()
        if ports:
            found += [
                f"[{host}]:{port.get('port', 0)}" if ":" in host else f"{host}:{port.get('port', 0)}"
                for port in ports
                for host in hosts
            ]
        else:
            found += hosts
    return printing.more(found, SHOWN) or printing.NONE
