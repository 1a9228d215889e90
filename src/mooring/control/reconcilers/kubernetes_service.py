"""Do the things that every cluster has exist: its first namespaces, the Services of the API server and of the cluster DNS?

Upstream: pkg/controlplane/controller/{systemnamespaces,kubernetesservice}, and kubeadm for kube-dns. All are put back when they
are deleted or bent; kube-dns belongs to the node-local DNS (ARCHITECTURE: "Network of a local cluster"), hence its proxy name.
"""

from collections.abc import Iterable, Sequence
from ipaddress import ip_address, ip_network

from mooring.control.amend import amend, create, overlaid
from mooring.control.namespaces import active_namespace
from mooring.control.reconciler import NOTHING, Apply, Change, Document, Key, Plan, World
from mooring.model.discovery import SERVICE_NAME_LABEL
from mooring.model.kinds import ENDPOINT_SLICE, ENDPOINTS, NAMESPACE, SERVICE, Kind

NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
API: Key = ("default", "kubernetes")
DNS: Key = ("kube-system", "kube-dns")
PROXY_NAME = "mooring-dns"
"""The value of service.kubernetes.io/service-proxy-name: every dataplane leaves the Service alone."""
DNS_OFFSET = 10


class KubernetesService:
    name = "kubernetes-service"
    watches = (NAMESPACE, SERVICE, ENDPOINTS, ENDPOINT_SLICE)
    serial = False
    initial: tuple[Key, ...] = (*(("", name) for name in NAMESPACES), API, DNS)

    def __init__(
        self, service_cidrs: Sequence[str], advertised: Sequence[str], port: int = 6443, dns: Sequence[str] = ()
    ) -> None:
        """`advertised` are the API server's addresses, of the family of the first CIDR, and its port.

        `dns` are the cluster DNS addresses, the tenth of each CIDR by default.
        """
        first = ip_network(service_cidrs[0])
        self._address, self._family = str(first[1]), f"IPv{first.version}"
        self._advertised = sorted(map(str, map(ip_address, advertised)))
        self._port = port
        self._dns = tuple(dns) or tuple(str(ip_network(each)[DNS_OFFSET]) for each in service_cidrs)

    def keys(self, change: Change, world: World) -> Iterable[Key]:
        either = change.after or change.before
        assert either is not None
        name = either["metadata"]["name"]
        if change.kind == NAMESPACE:
            return [key for key in self.initial if name in (key[0] or key[1],)]
        key = either["metadata"]["namespace"], name
        return [key] if key == API or (key == DNS and change.kind == SERVICE) else ()

    def plan(self, key: Key, world: World) -> Plan:
        if not key[0]:
            missing = world.get(NAMESPACE, *key) is None
            return Plan((create(NAMESPACE, {"metadata": {"name": key[1]}}, "AlreadyExists"),)) if missing else NOTHING
        if not active_namespace(world, key[0]):
            return NOTHING
        if key == DNS:
            return Plan(_restored(world, SERVICE, DNS, self._dns_service()))
        wanted = ((SERVICE, self._service()), (ENDPOINTS, self._endpoints()), (ENDPOINT_SLICE, self._slice()))
        return Plan(tuple(write for kind, fields in wanted for write in _restored(world, kind, API, fields)))

    def _service(self) -> Document:
        return {
            "metadata": {"labels": {"component": "apiserver", "provider": "kubernetes"}},
            "spec": {
                "type": "ClusterIP",
                "clusterIP": self._address,
                "clusterIPs": [self._address],
                "ipFamilies": [self._family],
                "ipFamilyPolicy": "SingleStack",
                "ports": [{"name": "https", "protocol": "TCP", "port": 443, "targetPort": self._port}],
            },
        }

    def _endpoints(self) -> Document:
        return {
            # The slice is written here too: the mirror of Endpoints into slices must not make a second one.
            "metadata": {"labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
            "subsets": [
                {
                    "addresses": [{"ip": address} for address in self._advertised],
                    "ports": [{"name": "https", "port": self._port, "protocol": "TCP"}],
                }
            ],
        }

    def _slice(self) -> Document:
        return {
            "metadata": {"labels": {SERVICE_NAME_LABEL: API[1]}},
            "addressType": self._family,
            "endpoints": [{"addresses": [address], "conditions": {"ready": True}} for address in self._advertised],
            "ports": [{"name": "https", "port": self._port, "protocol": "TCP"}],
        }

    def _dns_service(self) -> Document:
        ports = (("dns", "UDP", 53), ("dns-tcp", "TCP", 53), ("metrics", "TCP", 9153))
        return {
            "metadata": {
                "labels": {
                    "k8s-app": "kube-dns",
                    "kubernetes.io/cluster-service": "true",
                    "kubernetes.io/name": "CoreDNS",
                    "service.kubernetes.io/service-proxy-name": PROXY_NAME,
                }
            },
            "spec": {
                "type": "ClusterIP",
                "clusterIP": self._dns[0],
                "clusterIPs": list(self._dns),
                "ipFamilies": [f"IPv{ip_address(each).version}" for each in self._dns],
                "ipFamilyPolicy": "SingleStack" if len(self._dns) == 1 else "RequireDualStack",
                "ports": [
                    {"name": name, "protocol": protocol, "port": port, "targetPort": port} for name, protocol, port in ports
                ],
            },
        }


def _restored(world: World, kind: Kind, key: Key, fields: Document) -> tuple[Apply, ...]:
    """Creates the object, or sets these fields of it and leaves the others. Cluster IPs, once given, cannot be changed."""
    held = world.get(kind, *key)
    if held is None:
        metadata = {**fields["metadata"], "namespace": key[0], "name": key[1]}
        return (create(kind, {**fields, "metadata": metadata}, "AlreadyExists"),)
    fixed = ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy")
    spec = {name: value for name, value in fields.get("spec", {}).items() if name not in fixed}
    return amend(kind, held, overlaid(held, {**fields, "spec": spec} if spec else fields))
