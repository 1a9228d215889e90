"""How does a pod name itself and find others? Its hostname, /etc/hosts and /etc/resolv.conf, as the kubelet writes them.

Source: docs, "DNS for Services and Pods"; pkg/kubelet/network/dns, pkg/kubelet/kubelet_pods.go.
"""

from collections.abc import Iterable

from mooring.model.pod import Pod

_MAX_NAMESERVERS, _MAX_SEARCHES = 3, 32
_HOSTNAME_LIMIT = 63
_LOCAL = """127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::0\tip6-localnet
fe00::0\tip6-mcastprefix
fe00::1\tip6-allnodes
fe00::2\tip6-allrouters
"""


def hostname(pod: Pod, domain: str, node_name: str) -> str:
    """What `hostname` says in the pod."""
    if pod.spec.host_network:
        return node_name
    short = short_name(pod)
    full = full_name(pod, domain)
    return full if pod.spec.set_hostname_as_fqdn and full else short


def short_name(pod: Pod) -> str:
    """spec.hostname, or the pod's name cut to what a host name may be."""
    return pod.spec.hostname or pod.metadata.name[:_HOSTNAME_LIMIT].rstrip("-.")


def full_name(pod: Pod, domain: str) -> str:
    """hostname.subdomain.namespace.svc.domain, or '' without a subdomain."""
    return f"{short_name(pod)}.{pod.spec.subdomain}.{pod.metadata.namespace}.svc.{domain}" if pod.spec.subdomain else ""


def hosts(pod: Pod, ips: Iterable[str], domain: str, node_hosts: str) -> str:
    """/etc/hosts. A pod in the node's network gets the node's own file with the aliases added."""
    if pod.spec.host_network:
        text = "# Kubernetes-managed hosts file (host network).\n" + node_hosts
    else:
        text = "# Kubernetes-managed hosts file.\n" + _LOCAL
        names = "\t".join(name for name in (full_name(pod, domain), short_name(pod)) if name)
        text += "".join(f"{ip}\t{names}\n" for ip in ips)
    if pod.spec.host_aliases:
        text += "\n# Entries added by HostAliases.\n"
        text += "".join("\t".join((alias.ip, *(alias.hostnames or ()))) + "\n" for alias in pod.spec.host_aliases)
    return text


def resolv_conf(pod: Pod, cluster_dns: tuple[str, ...], domain: str, node_resolv_conf: str) -> str:
    """/etc/resolv.conf by dnsPolicy and dnsConfig. Without a cluster DNS address, ClusterFirst falls back to Default."""
    policy = pod.spec.dns_policy
    if policy == "ClusterFirst" and pod.spec.host_network:
        policy = "Default"
    servers, searches, options = _parse(node_resolv_conf) if policy != "None" else ([], [], {})
    if policy in ("ClusterFirst", "ClusterFirstWithHostNet") and cluster_dns:
        namespace = pod.metadata.namespace
        servers = list(cluster_dns)
        searches = [f"{namespace}.svc.{domain}", f"svc.{domain}", domain, *searches]
        options = {"ndots": "5"}
    config = pod.spec.dns_config
    if config:
        servers += config.nameservers or ()
        searches += config.searches or ()
        options |= {option.name: option.value for option in config.options or ()}
    lines = []
    if searches:
        lines.append("search " + " ".join(list(dict.fromkeys(searches))[:_MAX_SEARCHES]))
    lines += [f"nameserver {server}" for server in list(dict.fromkeys(servers))[:_MAX_NAMESERVERS]]
    if options:
        lines.append(
            "options " + " ".join(name if value in (None, "") else f"{name}:{value}" for name, value in options.items())
        )
    return "\n".join(lines) + "\n"


def _parse(text: str) -> tuple[list[str], list[str], dict[str, str | None]]:
    """nameservers, searches and options of a resolv.conf (man 5 resolv.conf); the last search line wins."""
    servers: list[str] = []
    searches: list[str] = []
    options: dict[str, str | None] = {}
    for line in text.splitlines():
        word, *rest = line.split() or [""]
        if word == "nameserver" and rest:
            servers.append(rest[0])
        elif word == "search":
            searches = [name.rstrip(".") or "." for name in rest]
        elif word == "options":
            for option in rest:
                name, _, value = option.partition(":")
                options[name] = value or None
    return servers, searches, options
