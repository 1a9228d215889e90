"""Which listeners does the Gateway need, with which certificates?"""

import itertools
from collections.abc import Iterable, Iterator, Mapping

import msgspec
from msgspec import Struct

from mooring.routing.ingress.annotations.canary import is_canary
from mooring.routing.ingress.classes import seniority
from mooring.routing.ingress.conversion.backends import GROUP, grant
from mooring.routing.ingress.conversion.remark import Document, Mark, Remark
from mooring.routing.ingress.objects import Name, Objects, Translation
from mooring.routing.table import Chain, ClientCertificates, Passthrough, RouteTable, Terminate, Verify

HTTP = "http"
MOST_LISTENERS = 64
"""Of a Gateway, and of a ListenerSet."""
NO_DEFAULT = Remark(
    "",
    Mark.CHANGES,
    "hosts without `tls` are not served over HTTPS: a Gateway has no certificate of its own",
    "give them a Secret",
)
AUTH_TLS = ("auth-tls-*",)
ALL = {"namespaces": {"from": "All"}}


class GatewayName(Struct, frozen=True):
    namespace: str
    name: str
    class_name: str


class Front(Struct, frozen=True):
    """`served`: host to listener. `holders`: listener to the ListenerSet that has it, where that is not the Gateway."""

    name: GatewayName
    documents: tuple[Document, ...] = ()
    remarks: tuple[Remark, ...] = ()
    served: Mapping[str, str] = {}
    holders: Mapping[str, str] = {}
    passed: Mapping[str, Passthrough] = {}

    def listener_of(self, host: str) -> str | None:
        """The listener with TLS for a host: its own, or that of the wildcard over it."""
        return self.served.get(host) or self.served.get("*." + host.partition(".")[2])

    def parent(self, listener: str, namespace: str) -> Document:
        """As parentRefs of a route write it."""
        away = {} if namespace == self.name.namespace else {"namespace": self.name.namespace}
        holder = self.holders.get(listener)
        if holder:
            return {"group": GROUP, "kind": "ListenerSet", "name": holder, **away, "sectionName": listener}
        return {"name": self.name.name, **away, "sectionName": listener}


def slug(host: str) -> str:
    """A host as part of a name."""
    return "any" if host == "*" else host.replace("*", "wildcard").replace(".", "-")


def front(translation: Translation, objects: Objects, name: GatewayName) -> Front:
    """The Gateway with everything that belongs to it but its routes."""
    table = translation.table
    passed = {host: chain.tls for listener in table.listeners for chain in listener.chains
              for host in chain.server_names if isinstance(chain.tls, Passthrough)}  # fmt: skip
    certificates, remarks = _certificates(translation, objects)
    remarks += _ciphers(table)
    demands, validation, extra, more = _clients(table, [host for host in certificates if host not in passed], name)
    remarks += more
    same = {namespace for namespace, _ in translation.served} <= {name.namespace}
    allowed = {"namespaces": {"from": "Same"}} if same else ALL
    listeners: list[Document] = []
    if any(not each.is_tls and any(chain.virtual_hosts for chain in each.chains) for each in table.listeners):
        listeners.append({"name": HTTP, "port": 80, "protocol": "HTTP", "allowedRoutes": allowed})
    served, names = dict[str, str](), set[str]()
    for host, (namespace, secret) in certificates.items():
        if host in passed or host in demands:
            continue
        away = {} if namespace == name.namespace else {"namespace": namespace}
        tls = {"mode": "Terminate", "certificateRefs": [{"name": secret, **away}]}
        served[host] = _free(f"https-{slug(host)}", names)
        listeners.append(_listener(served[host], host, "HTTPS", tls, allowed))
    for host in passed:
        served[host] = _free(f"tls-{slug(host)}", names)
        listeners.append(_listener(served[host], host, "TLS", {"mode": "Passthrough"}, allowed))
    if not listeners:
        listeners.append({"name": HTTP, "port": 80, "protocol": "HTTP", "allowedRoutes": allowed})
    documents, holders = _documents(name, listeners, validation)
    elsewhere = {key for host, key in certificates.items() if host in served and key[0] != name.namespace}
    grants = [grant("Gateway", name.namespace, "Secret", key) for key in sorted(elsewhere)]
    return Front(name, (*documents, *extra, *grants), tuple(remarks), served, holders, passed)


def _free(name: str, taken: set[str]) -> str:
    """Takes it, with a number if it is taken: `a.b` and `a-b` are the same in a name."""
    name = name[:240].rstrip("-")
    names = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
    free = next(each for each in names if each not in taken)
    taken.add(free)
    return free


def _listener(name: str, host: str, protocol: str, tls: Document, allowed: Document) -> Document:
    return {"name": name, "hostname": host, "port": 443, "protocol": protocol, "tls": tls, "allowedRoutes": allowed}


def _certificates(translation: Translation, objects: Objects) -> tuple[dict[str, Name], list[Remark]]:
    """Host to Secret: the most senior Ingress that names one, canaries apart, as it is served."""
    found: dict[str, Name] = {}
    remarks: list[Remark] = []
    covered: set[str] = set()
    mains = [each for each in map(objects.ingresses.__getitem__, translation.served) if not is_canary(each)]
    for ingress in sorted(mains, key=seniority):
        key = ingress.metadata.namespace, ingress.metadata.name
        hosts = [rule.host.lower() for rule in ingress.spec.rules or () if rule.host]
        for at, tls in enumerate(ingress.spec.tls or ()):
            source = f"ingress {key[0]}/{key[1]} spec.tls[{at}]"
            named = [host.lower() for host in tls.hosts or ()] or hosts
            covered.update(named)
            if not tls.secret_name:
                words = "it names no Secret, and a Gateway has no certificate of its own"
                remarks.append(Remark(source, Mark.CANNOT, words, "make a Secret and name it"))
                continue
            for host in named:
                found.setdefault(host, (key[0], tls.secret_name))
    everywhere = {host for listener in translation.table.listeners for chain in listener.chains
                  for each in chain.virtual_hosts for host in each.hosts}  # fmt: skip
    if covered and any(host not in found and "*." + host.partition(".")[2] not in found for host in everywhere - {"*"}):
        remarks.append(NO_DEFAULT)
    return found, remarks


def _clients(table: RouteTable, hosts: list[str], name: GatewayName) -> tuple[set[str], Document, list[Document], list[Remark]]:
    """Hosts whose listener must be left out, the Gateway's `tls`, what it names, and remarks. A Gateway asks for client
    certificates at all of its listeners or at none."""
    asked: dict[str, ClientCertificates | None] = dict.fromkeys(hosts)
    for listener in table.listeners:
        for chain in listener.chains:
            if isinstance(chain.tls, Terminate) and chain.tls.clients:
                named = msgspec.structs.replace(chain.tls.clients, source=_source(chain))
                asked |= {host: named for host in chain.server_names if host in asked}
    demands = {host: each for host, each in asked.items() if each}
    remarks: list[Remark] = []
    if not demands:
        return set(), {}, [], remarks
    first = next(iter(demands.values()))
    alike = len(demands) == len(asked) and all(_same(each, first) for each in demands.values())
    if alike and first.verify == Verify.REQUIRED and not first.revoked:
        called = f"{name.name}-clients"
        metadata = {"name": called, "namespace": name.namespace}
        data = {"ca.crt": first.authorities.decode("utf-8", "replace")}
        reference = {"group": "", "kind": "ConfigMap", "name": called}
        validation = {"frontend": {"default": {"validation": {"caCertificateRefs": [reference], "mode": "AllowValidOnly"}}}}
        remarks += [*_lost(demands.values())]
        return set(), validation, [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}], remarks
    for host, each in demands.items():
        words = f"client certificates for some hosts alone; {host} is printed without its listener, so nobody gets in"
        todo = "give the host a Gateway of its own, with spec.tls.frontend"
        remarks.append(Remark(each.source, Mark.CANNOT, words, todo, AUTH_TLS))
    return set(demands), {}, [], remarks


def _source(chain: Chain) -> str:
    """The Ingress whose hosts a chain is for."""
    own = [each for each in chain.virtual_hosts if {*each.hosts} & {*chain.server_names}]
    return next((source for each in own for source in (each.source, *(route.source for route in each.routes)) if source), "")


def _ciphers(table: RouteTable) -> Iterator[Remark]:
    for listener in table.listeners:
        for chain in listener.chains:
            if isinstance(chain.tls, Terminate) and chain.tls.ciphers:
                todo = "see which options of a listener's tls the implementation has"
                yield Remark(_source(chain), Mark.CANNOT, "the suites of TLS", todo, ("ssl-ciphers",))


def _same(one: ClientCertificates, other: ClientCertificates) -> bool:
    return (one.authorities, one.verify, one.revoked) == (other.authorities, other.verify, other.revoked)


def _lost(demands: Iterable[ClientCertificates]) -> Iterator[Remark]:
    for each in demands:
        if each.hand_on:
            asked = ("auth-tls-pass-certificate-to-upstream",)
            yield Remark(each.source, Mark.CANNOT, "handing the client's certificate to the backend", "", asked)
        if each.error_page:
            yield Remark(each.source, Mark.CANNOT, "a page for clients without certificate", "", ("auth-tls-error-page",))


def _documents(name: GatewayName, listeners: list[Document], tls: Document) -> tuple[list[Document], dict[str, str]]:
    """The Gateway, and a ListenerSet for each 64 listeners that have no room in it."""
    own, rest = listeners[:MOST_LISTENERS], listeners[MOST_LISTENERS:]
    metadata = {"name": name.name, "namespace": name.namespace}
    spec: dict[str, object] = {"gatewayClassName": name.class_name, "listeners": own}
    if tls:
        spec["tls"] = tls
    if rest:
        spec["allowedListeners"] = {"namespaces": {"from": "Same"}}
    documents: list[Document] = [{"apiVersion": f"{GROUP}/v1", "kind": "Gateway", "metadata": metadata, "spec": spec}]
    holders: dict[str, str] = {}
    for number, at in enumerate(range(0, len(rest), MOST_LISTENERS), 1):
        some = rest[at : at + MOST_LISTENERS]
        called = f"{name.name}-{number}"
        holders |= {str(each["name"]): called for each in some}
        documents.append(
            {
                "apiVersion": f"{GROUP}/v1",
                "kind": "ListenerSet",
                "metadata": {"name": called, "namespace": name.namespace},
                "spec": {"parentRef": {"name": name.name}, "listeners": some},
            }
        )
    return documents, holders
