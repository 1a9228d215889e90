"""How does a pod name itself? Its hostname and /etc/hosts, as the kubelet writes them.

Source: docs, "Pod Hostname" and "Adding entries to Pod /etc/hosts"; pkg/kubelet/kubelet_pods.go; KEP-4762.
"""

from collections.abc import Iterable

from mooring.model.pod import Pod

_HOSTNAME_LIMIT = 63
_KERNEL_LIMIT = 64
_LOCAL = """127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::0\tip6-localnet
fe00::0\tip6-mcastprefix
fe00::1\tip6-allnodes
fe00::2\tip6-allrouters
"""


class TooLong(Exception):
    """setHostnameAsFQDN asks for a name that the kernel does not take."""


def hostname(pod: Pod, domain: str, node_name: str) -> str:
    """What `hostname` says in the pod. Raises TooLong."""
    if pod.spec.host_network:
        return node_name
    full = full_name(pod, domain) if pod.spec.set_hostname_as_fqdn else ""
    if len(full) > _KERNEL_LIMIT:
        raise TooLong(
            f"Failed to construct FQDN from pod hostname and cluster domain, FQDN {full} is too long "
            f"({_KERNEL_LIMIT} characters is the max, {len(full)} characters requested)"
        )
    return full or short_name(pod)


def short_name(pod: Pod) -> str:
    """spec.hostnameOverride, spec.hostname, or the pod's name, cut to what a host name may be."""
    name = pod.spec.hostname_override or pod.spec.hostname or pod.metadata.name
    return name[:_HOSTNAME_LIMIT].rstrip("-.")


def full_name(pod: Pod, domain: str) -> str:
    """hostname.subdomain.namespace.svc.domain, or '' without a subdomain or with a name of the pod's own choice."""
    if not pod.spec.subdomain or pod.spec.hostname_override:
        return ""
    return f"{short_name(pod)}.{pod.spec.subdomain}.{pod.metadata.namespace}.svc.{domain}"


def hosts(pod: Pod, ips: Iterable[str], domain: str, node_hosts: str) -> str:
    """/etc/hosts. A pod in the node's network gets the node's own file with the aliases added. One line for each alias."""
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
