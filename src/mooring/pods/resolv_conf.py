"""Whom does a pod ask for names? Its /etc/resolv.conf by dnsPolicy and dnsConfig, and what had to be left out of it.

Source: pkg/kubelet/network/dns; the file's form is containerd's and CRI-O's; KEP-2595 for the limits.
"""

from collections.abc import Iterable, Sequence

from msgspec import Struct

from mooring.model.pod import MAX_NAMESERVERS, MAX_SEARCH_LETTERS, MAX_SEARCHES, DnsOption, Pod

LONGEST_SEARCH = 253
"""Some C libraries abort on a longer search path."""
NDOTS = "ndots:5"
_NO_CLUSTER_DNS = (
    'kubelet does not have ClusterDNS IP configured and cannot create Pod using "ClusterFirst" policy. '
    'Falling back to "Default" policy.'
)


class NodeDns(Struct, frozen=True):
    """What a node knows about names. `cluster` may be empty. `own` is the text of its own resolv.conf, '' for no DNS at all.

    `addresses` are the node's: without DNS, pods ask the loopback address of these families, where nobody answers.
    """

    cluster: tuple[str, ...]
    domain: str
    own: str
    addresses: tuple[str, ...] = ()


class Complaint(Struct, frozen=True):
    """A Warning Event about the pod, in the kubelet's words. `node`: what the node says about itself, '' for nothing."""

    reason: str
    message: str
    node: str = ""


class Resolver(Struct, frozen=True):
    """What stands in a pod's resolv.conf. Options keep the order in which they were first named."""

    nameservers: tuple[str, ...]
    searches: tuple[str, ...]
    options: tuple[str, ...]
    complaints: tuple[Complaint, ...] = ()

    @property
    def text(self) -> str:
        lines = [f"search {' '.join(self.searches)}"] if self.searches else []
        lines += [f"nameserver {each}" for each in self.nameservers]
        lines += [f"options {' '.join(self.options)}"] if self.options else []
        return "".join(f"{line}\n" for line in lines)


def resolver(pod: Pod, dns: NodeDns) -> Resolver:
    """ClusterFirst on the host network is Default, and so is every policy that wants a cluster DNS where there is none."""
    base, complaints = _by_policy(pod, dns)
    config = pod.spec.dns_config
    if config:
        base = Resolver(
            _unique((*base.nameservers, *(config.nameservers or ()))),
            _unique((*base.searches, *(config.searches or ()))),
            _merged(base.options, config.options or ()),
        )
    return _within_limits(base, complaints)


def node_complaint(own: str, domain: str, path: str) -> str:
    """What a node says about its own resolv.conf when pods cannot get all of it, '' when they can. `path` names the file."""
    searches = read(own).searches
    limit = MAX_SEARCHES - (3 if domain else 0)
    if len(searches) > limit:
        return f"Resolv.conf file '{path}' contains search line consisting of more than {limit} domains!"
    if any(len(each) > LONGEST_SEARCH for each in searches):
        return f'Resolv.conf file "{path}" contains a search path which length is more than allowed {LONGEST_SEARCH} chars!'
    if len(" ".join(searches)) > MAX_SEARCH_LETTERS:
        return f"Resolv.conf file '{path}' contains search line which length is more than allowed {MAX_SEARCH_LETTERS} chars!"
    return ""


def _by_policy(pod: Pod, dns: NodeDns) -> tuple[Resolver, tuple[Complaint, ...]]:
    policy = pod.spec.dns_policy
    if policy == "None":
        return Resolver((), (), ()), ()
    if policy == "Default" or (policy == "ClusterFirst" and pod.spec.host_network):
        return _of_node(dns), ()
    if not dns.cluster:
        whole = f'pod: "{pod.metadata.name}_{pod.metadata.namespace}({pod.uid})". {_NO_CLUSTER_DNS}'
        return _of_node(dns), (Complaint("MissingClusterDNS", whole, _NO_CLUSTER_DNS),)
    searches = read(dns.own).searches
    if dns.domain:
        services = f"svc.{dns.domain}"
        searches = _unique((f"{pod.metadata.namespace}.{services}", services, dns.domain, *searches))
    return Resolver(dns.cluster, searches, (NDOTS,)), ()


def _of_node(dns: NodeDns) -> Resolver:
    """As the kubelet with --resolv-conf '': a resolver that is told nobody would ask its own machine anyway."""
    if dns.own:
        return read(dns.own)
    loopback = tuple("::1" if ":" in address else "127.0.0.1" for address in dns.addresses)
    return Resolver(loopback or ("127.0.0.1",), (".",), ())


def _within_limits(wished: Resolver, complaints: tuple[Complaint, ...]) -> Resolver:
    """The same, cut to what resolvers bear, with a complaint for each list that lost something."""
    servers = wished.nameservers[:MAX_NAMESERVERS]
    if servers != wished.nameservers:
        words = (
            "Nameserver limits were exceeded, some nameservers have been omitted, "
            f"the applied nameserver line is: {' '.join(servers)}"
        )
        complaints = (*complaints, Complaint("DNSConfigForming", words))
    searches = tuple(each for each in wished.searches[:MAX_SEARCHES] if len(each) <= LONGEST_SEARCH)
    while len(" ".join(searches)) > MAX_SEARCH_LETTERS:
        searches = searches[:-1]
    if searches != wished.searches:
        words = (
            "Search Line limits were exceeded, some search paths have been omitted, "
            f"the applied search line is: {' '.join(searches)}"
        )
        complaints = (*complaints, Complaint("DNSConfigForming", words))
    return Resolver(servers, searches, wished.options, complaints)


def _merged(options: Iterable[str], config: Sequence[DnsOption]) -> tuple[str, ...]:
    """By name, the configuration's value winning; an empty value is none."""
    found = dict(option.partition(":")[::2] for option in options)
    found |= {option.name: option.value or "" for option in config}
    return tuple(f"{name}:{value}" if value else name for name, value in found.items())


def read(text: str) -> Resolver:
    """A resolv.conf (man 5 resolv.conf): the last search line counts, options add up, the last of a name winning.

    'search .' is left out: musl finds nothing with it, and systemd writes it unasked (kubernetes#112135).
    """
    servers: list[str] = []
    searches: tuple[str, ...] = ()
    options: dict[str, str] = {}
    for line in text.splitlines():
        word, *rest = line.split() or [""]
        if word == "nameserver":
            servers += rest[:1]
        elif word == "search":
            searches = tuple(name.removesuffix(".") for name in rest if name != ".")
        elif word == "options":
            options |= {option.partition(":")[0]: option for option in rest}
    return Resolver(tuple(servers), searches, tuple(options.values()))


def _unique(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(texts))
