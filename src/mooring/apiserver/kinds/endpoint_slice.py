"""discovery.k8s.io/v1 EndpointSlice: its limits and its row in a table."""

from collections.abc import Sequence
from typing import Any

from mooring.apiserver.contract import Env
from mooring.apiserver.kinds import formats, printing
from mooring.apiserver.kinds.plain import AGE, NAME, Plain
from mooring.apiserver.kinds.problems import IMMUTABLE, duplicate, each, invalid, required, too_many, unsupported
from mooring.apiserver.strategy import Column, Document, FieldError
from mooring.model.kinds import ENDPOINT_SLICE

ADDRESS_TYPES = ("FQDN", "IPv4", "IPv6")
PROTOCOLS = ("SCTP", "TCP", "UDP")
MAX_ENDPOINTS, MAX_PORTS, MAX_ADDRESSES, MAX_HINTS = 1000, 100, 100, 8
SHOWN = 3
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"


class EndpointSlice(Plain):
    kind = ENDPOINT_SLICE
    generation = True
    columns: tuple[Column, ...] = (NAME, Column("AddressType"), Column("Ports"), Column("Endpoints"), AGE)

    def default(self, document: Document) -> None:
        """Nil endpoints are written as an empty list, ports get a name and a protocol."""
        document.setdefault("endpoints", [])
        for port in document.get("ports") or ():
            port.setdefault("name", "")
            port.setdefault("protocol", "TCP")

    def prepare_create(self, document: Document, env: Env) -> None:
        for endpoint in document.get("endpoints") or ():
            endpoint.pop("deprecatedTopology", None)

    def prepare_update(self, document: Document, old: Document, subresource: str, env: Env) -> None:
        """deprecatedTopology is ignored on write: what stood there may stay, nothing new comes in."""
        if document.get("endpoints") != old.get("endpoints"):
            before = [endpoint.get("deprecatedTopology") for endpoint in old.get("endpoints") or ()]
            for endpoint in document.get("endpoints") or ():
                if endpoint.get("deprecatedTopology") not in before:
                    endpoint.pop("deprecatedTopology", None)

    def check(self, document: Document, old: Document | None, subresource: str) -> list[FieldError]:
        address_type = document.get("addressType", "")
        found: list[FieldError] = []
        if not address_type:
            found.append(required("addressType"))
        elif address_type not in ADDRESS_TYPES:
            found.append(unsupported("addressType", address_type, ADDRESS_TYPES))
        if old is not None and address_type != old.get("addressType"):
            found.append(invalid("addressType", address_type, IMMUTABLE))
        known = {text for endpoint in (old or {}).get("endpoints") or () for text in endpoint.get("addresses") or ()}
        endpoints = document.get("endpoints") or ()
        if len(endpoints) > MAX_ENDPOINTS:
            found.append(too_many("endpoints", len(endpoints), MAX_ENDPOINTS))
        else:
            for place, endpoint in enumerate(endpoints):
                found += _check_endpoint(endpoint, address_type, f"endpoints[{place}]", known)
        return found + _check_ports(document.get("ports") or ())

    def warnings(self, document: Document, old: Document | None) -> Sequence[str]:
        if document.get("addressType") == "FQDN":
            return ("addressType: FQDN endpoints are deprecated and have no effect in kube-proxy",)
        return ()

    def cells(self, document: Document, env: Env) -> Sequence[Any]:
        ports = [_port(port) for port in document.get("ports") or ()]
        shown_ports = printing.more(ports, SHOWN) if document.get("ports") is not None and ports else printing.UNSET
        addresses = [text for endpoint in document.get("endpoints") or () for text in endpoint.get("addresses") or ()]
        return [
            document["metadata"].get("name", ""),
            document.get("addressType", ""),
            shown_ports,
            printing.more(addresses, SHOWN) or printing.UNSET,
            printing.age(document, env),
        ]


def _port(port: Document) -> str:
    if port.get("port"):
        return str(port["port"])
    return port.get("name") or "*"


def _check_endpoint(endpoint: Document, address_type: str, field: str, known: set[str]) -> list[FieldError]:
    found: list[FieldError] = []
    addresses = endpoint.get("addresses") or ()
    if not addresses:
        found.append(required(f"{field}.addresses", "must contain at least 1 address"))
    elif len(addresses) > MAX_ADDRESSES:
        found.append(too_many(f"{field}.addresses", len(addresses), MAX_ADDRESSES))
    for place, text in enumerate(addresses):
        found += _check_address(text, address_type, f"{field}.addresses[{place}]", text in known)
    if (hostname := endpoint.get("hostname")) is not None:
        found += each(f"{field}.hostname", hostname, formats.label(hostname))
    if (node := endpoint.get("nodeName")) is not None:
        found += each(f"{field}.nodeName", node, formats.subdomain(node))
    return found + _check_hints(endpoint.get("hints") or {}, f"{field}.hints")


def _check_address(text: str, address_type: str, field: str, stood: bool) -> list[FieldError]:
    if address_type == "FQDN":
        return each(field, text, formats.subdomain(text))
    if address_type not in ADDRESS_TYPES:
        return []
    if words := formats.loose_ip(text) if stood else formats.ip(text):
        return each(field, text, words)
    address = formats.parse_ip(text)
    if address is not None and f"IPv{address.version}" != address_type:
        return [invalid(field, text, f"must be an {address_type} address")]
    return each(field, text, formats.special_ip(text))


def _check_hints(hints: Document, field: str) -> list[FieldError]:
    found: list[FieldError] = []
    for name, rule in (("forZones", formats.label_value), ("forNodes", formats.subdomain)):
        targets = hints.get(name) or ()
        if len(targets) > MAX_HINTS:
            found.append(too_many(f"{field}.{name}", len(targets), MAX_HINTS))
            continue
        seen: set[str] = set()
        for place, target in enumerate(targets):
            value = target.get("name", "")
            if value in seen:
                found.append(duplicate(f"{field}.{name}[{place}].name", value))
            seen.add(value)
            found += each(f"{field}.{name}[{place}].name", value, rule(value))
    return found


def _check_ports(ports: Sequence[Document]) -> list[FieldError]:
    if len(ports) > MAX_PORTS:
        return [too_many("ports", len(ports), MAX_PORTS)]
    found: list[FieldError] = []
    names: set[str] = set()
    for place, port in enumerate(ports):
        field, name = f"ports[{place}]", port.get("name", "")
        if name:
            found += each(f"{field}.name", name, formats.label(name))
        if name in names:
            found.append(duplicate(f"{field}.name", name))
        names.add(name)
        if port.get("protocol") not in PROTOCOLS:
            found.append(unsupported(f"{field}.protocol", port.get("protocol", ""), PROTOCOLS))
        if (number := port.get("port")) is not None:
            found += each(f"{field}.port", number, formats.port_number(number))
        if application := port.get("appProtocol"):
            found += each(f"{field}.appProtocol", application, formats.qualified_name(application))
    return found
