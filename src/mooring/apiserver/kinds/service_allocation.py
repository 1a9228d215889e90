"""Which cluster IPs and node ports does a Service take, keep and give back in this write?

An address is taken by creating its IPAddress object, a port by creating its key, both compared with "absent": should another
write be first, nothing is written and everything here is decided again from the new snapshot. So no address or port ever has
two owners, and what a Service gives up is free in the same revision (KEP-1880, KEP-3070, KEP-3668).
"""

from collections.abc import Iterable

from msgspec import Struct, field

from mooring.alloc import cluster_ip, node_port
from mooring.apiserver.contract import Env
from mooring.apiserver.kinds import formats
from mooring.apiserver.kinds.problems import invalid
from mooring.apiserver.kinds.service_defaults import (
    Spec,
    is_headless,
    needs_cluster_ip,
    needs_health_check_port,
    needs_node_port,
    wants_node_ports,
)
from mooring.apiserver.kinds.service_families import settle_families
from mooring.apiserver.kinds.service_ranges import Ranges, ranges
from mooring.apiserver.metadata import new_uid, timestamp
from mooring.apiserver.strategy import Claim, Document, FieldError
from mooring.model.codec import decode, encode
from mooring.model.kinds import IP_ADDRESS
from mooring.store.records import Compare, Delete, Put
from mooring.store.snapshot import Snapshot

NODE_PORTS = "/allocations/nodeports/"
KUBERNETES = ("default", "kubernetes")
TAKEN_IP = "provided IP is already allocated"
TAKEN_PORT = "provided port is already allocated"
FULL = "range is full"


def node_port_key(port: int) -> str:
    return f"{NODE_PORTS}{port}"


def addresses_of(spec: Spec) -> list[str]:
    """The cluster IPs a stored Service owns, canonical."""
    if not needs_cluster_ip(spec):
        return []
    return [str(address) for text in spec.get("clusterIPs") or () if (address := formats.parse_ip(text))]


def ports_of(spec: Spec) -> set[int]:
    """The node ports a stored Service owns, the health check's among them."""
    found = {port["nodePort"] for port in spec.get("ports") or () if port.get("nodePort")}
    if number := spec.get("healthCheckNodePort"):
        found.add(number)
    return found


class _Ledger(Struct):
    """What one write takes and gives back."""

    metadata: Document
    snapshot: Snapshot
    env: Env
    compares: list[Compare] = field(default_factory=list)
    operations: list[Put | Delete] = field(default_factory=list)
    errors: list[FieldError] = field(default_factory=list)
    unavailable: str = ""

    def take(self, key: str, value: bytes) -> None:
        self.compares.append(Compare(key, 0))
        self.operations.append(Put(key, value))

    def give_back(self, key: str, owner: tuple[str, str], owner_of: str) -> None:
        """Deletes the key if it still belongs to the owner (namespace, name); what was repaired away is left alone."""
        record = self.snapshot.get(key)
        if record is None:
            return
        value = decode(record.value)
        holder = value["spec"]["parentRef"] if owner_of == "address" else value
        if (holder.get("namespace", ""), holder.get("name", "")) == owner:
            self.compares.append(Compare(key, record.mod_revision))
            self.operations.append(Delete(key))

    def claim(self) -> Claim:
        return Claim(tuple(self.compares), tuple(self.operations), tuple(self.errors), self.unavailable)


def claim_service(document: Document | None, old: Document | None, snapshot: Snapshot, env: Env) -> Claim:
    """Fills in families, clusterIP(s), node ports and the health check's port of `document`, in place, and says what to write.

    `document` None gives everything of `old` back.
    """
    subject = document or old
    if subject is None:
        return Claim()
    ledger = _Ledger(subject["metadata"], snapshot, env)
    before: Spec | None = old["spec"] if old is not None else None
    kept_addresses: list[str] = []
    kept_ports: set[int] = set()
    if document is not None:
        spec: Spec = document["spec"]
        known = ranges(snapshot, env.settings)
        ledger.errors += settle_families(spec, before, known)
        if not ledger.errors:
            _claim_addresses(spec, before, known, ledger)
            _claim_ports(spec, before, ledger)
        if ledger.errors or ledger.unavailable:
            return Claim(errors=tuple(ledger.errors), unavailable=ledger.unavailable)
        if before is not None:
            kept_addresses, kept_ports = addresses_of(spec), ports_of(spec)
    if before is not None:
        _give_back(before, kept_addresses, kept_ports, ledger)
    return ledger.claim()


def _give_back(before: Spec, kept_addresses: list[str], kept_ports: set[int], ledger: _Ledger) -> None:
    owner = (ledger.metadata.get("namespace", ""), ledger.metadata["name"])
    for address in addresses_of(before):
        if address not in kept_addresses:
            ledger.give_back(IP_ADDRESS.key("", address), owner, "address")
    for port in sorted(ports_of(before) - kept_ports):
        ledger.give_back(node_port_key(port), owner, "port")


# Cluster IPs ------------------------------------------------------------------------------------------------------------


def _claim_addresses(spec: Spec, before: Spec | None, known: Ranges, ledger: _Ledger) -> None:
    if not needs_cluster_ip(spec) or is_headless(spec):
        if is_headless(spec):
            spec["clusterIPs"] = ["None"]
        return
    owned = addresses_of(before) if before is not None else []
    asked: list[str] = list(spec.get("clusterIPs") or ())
    metadata = ledger.metadata
    if not asked and (metadata.get("namespace"), metadata["name"]) == KUBERNETES:
        asked = [str(cluster_ip.first_address(known.first))]
    given = []
    for place, family in enumerate(spec["ipFamilies"]):
        if place < len(asked):
            text = asked[place]
            if str(formats.parse_ip(text)) not in owned:
                _claim_asked_address(text, asked, family, known, ledger)
        elif (text := _choose_address(family, known, ledger)) == "":
            return
        given.append(text)
    spec["clusterIP"], spec["clusterIPs"] = given[0], given


def _claim_asked_address(text: str, asked: list[str], family: str, known: Ranges, ledger: _Ledger) -> None:
    address = formats.parse_ip(text)
    networks = known.ready.get(family, ())
    if address is None or not any(cluster_ip.contains(network, address) for network in networks):
        valid = ", ".join(map(str, networks))
        words = f"the provided IP ({text}) is not in the valid range. The range of valid IPs is {valid}"
    elif ledger.snapshot.get(IP_ADDRESS.key("", str(address))) is not None:
        words = TAKEN_IP
    else:
        _take_address(str(address), family, ledger)
        return
    ledger.errors.append(invalid("spec.clusterIPs", asked, f"failed to allocate IP {text}: {words}"))


def _choose_address(family: str, known: Ranges, ledger: _Ledger) -> str:
    prefix, get = IP_ADDRESS.prefix, ledger.snapshot.get

    def used() -> set[int]:
        names = (record.key[len(prefix) :] for record in ledger.snapshot.scan(prefix))
        return {int(address) for name in names if (address := formats.parse_ip(name)) and f"IPv{address.version}" == family}

    networks = known.ready.get(family, ())
    text = cluster_ip.choose(networks, lambda text: get(prefix + text) is not None, used, ledger.env.rng)
    if text is None:
        why = FULL if networks else f"no ready ServiceCIDR of family {family}"
        ledger.unavailable = f"failed to allocate a serviceIP: {why}"
        return ""
    _take_address(text, family, ledger)
    return text


def _take_address(text: str, family: str, ledger: _Ledger) -> None:
    ledger.take(IP_ADDRESS.key("", text), encode(ip_address_document(text, family, ledger.metadata, ledger.env)))


def ip_address_document(text: str, family: str, service: Document, env: Env) -> Document:
    """The IPAddress object that holds `text` for the Service with this metadata."""
    return {
        "kind": IP_ADDRESS.kind,
        "apiVersion": IP_ADDRESS.api_version,
        "metadata": {
            "name": text,
            "uid": new_uid(env.rng),
            "creationTimestamp": timestamp(env.now),
            "generation": 1,
            "labels": {
                "ipaddress.kubernetes.io/ip-family": family,
                "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
            },
        },
        "spec": {
            "parentRef": {
                "resource": "services",
                "namespace": service.get("namespace", ""),
                "name": service["name"],
            }
        },
    }


# Node ports -------------------------------------------------------------------------------------------------------------


def _claim_ports(spec: Spec, before: Spec | None, ledger: _Ledger) -> None:
    if not needs_node_port(spec):  # nor the health check's, which a LoadBalancer alone has
        return
    held = ports_of(before) if before is not None else set()
    numbers: set[int] = set()
    """Node ports of this Service after the write; one may serve several protocols."""
    _claim_asked_ports(spec, held, numbers, ledger)
    if wants_node_ports(spec):
        _choose_ports(spec, numbers, before is None, ledger)
    if needs_health_check_port(spec):
        _claim_health_check_port(spec, held, numbers, ledger)


def _claim_asked_ports(spec: Spec, held: Iterable[int], numbers: set[int], ledger: _Ledger) -> None:
    for place, port in enumerate(spec.get("ports") or ()):
        number = port.get("nodePort", 0)
        if number and number not in numbers:
            if number not in held and (words := _refusal(number, ledger)):
                ledger.errors.append(invalid(f"spec.ports[{place}].nodePort", number, words))
            numbers.add(number)


def _choose_ports(spec: Spec, numbers: set[int], share: bool, ledger: _Ledger) -> None:
    """On create, ports of one number share a node port across protocols (DNS over TCP and UDP); later each gets its own."""
    by_port = {port["port"]: port["nodePort"] for port in reversed(spec.get("ports") or ()) if port.get("nodePort")}
    for port in spec.get("ports") or ():
        if port.get("nodePort"):
            continue
        number = by_port.get(port["port"]) if share else None
        if number is None:
            number = _choose_port(numbers, ledger)
            if number is None:
                ledger.unavailable = f"failed to allocate a nodePort: {FULL}"
                return
            by_port[port["port"]] = number
            numbers.add(number)
        port["nodePort"] = number


def _claim_health_check_port(spec: Spec, held: Iterable[int], numbers: set[int], ledger: _Ledger) -> None:
    number = spec.get("healthCheckNodePort", 0)
    if not number:
        chosen = _choose_port(numbers, ledger)
        if chosen is None:
            ledger.unavailable = f"failed to allocate a HealthCheck NodePort: {FULL}"
            return
        spec["healthCheckNodePort"] = chosen
    elif number in numbers:
        ledger.errors.append(_health_check_refused(number, TAKEN_PORT))
    elif number not in held and (words := _refusal(number, ledger)):
        ledger.errors.append(_health_check_refused(number, words))


def _health_check_refused(number: int, words: str) -> FieldError:
    return invalid("spec.healthCheckNodePort", number, f"failed to allocate requested HealthCheck NodePort {number}: {words}")


def _refusal(number: int, ledger: _Ledger) -> str:
    """Takes the port, or says why it may not be had."""
    low, high = ledger.env.settings.node_port_range
    if not low <= number <= high:
        return f"provided port is not in the valid range. The range of valid ports is {low}-{high}"
    if ledger.snapshot.get(node_port_key(number)) is not None:
        return TAKEN_PORT
    _take_port(number, ledger)
    return ""


def _choose_port(numbers: set[int], ledger: _Ledger) -> int | None:
    get = ledger.snapshot.get

    def used() -> set[int]:
        return {int(record.key[len(NODE_PORTS) :]) for record in ledger.snapshot.scan(NODE_PORTS)} | numbers

    number = node_port.choose(
        ledger.env.settings.node_port_range,
        lambda port: port in numbers or get(node_port_key(port)) is not None,
        used,
        ledger.env.rng,
    )
    if number is not None:
        _take_port(number, ledger)
    return number


def _take_port(number: int, ledger: _Ledger) -> None:
    metadata = ledger.metadata
    owner = {"namespace": metadata.get("namespace", ""), "name": metadata["name"], "uid": metadata.get("uid", "")}
    ledger.take(node_port_key(number), encode(owner))
