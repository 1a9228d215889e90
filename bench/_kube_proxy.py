"""What would kube-proxy load for the same Services? Rulesets in the shape of its nftables and its iptables mode, as text.

The shapes are those of kube-proxy 1.33: a chain for each Service and each endpoint; nftables finds the Service's chain in a
verdict map, iptables by walking a list of rules. The mark 0x4000 asks for masquerading.
"""

from collections.abc import Iterator, Sequence

from msgspec import Struct

_MARK = "0x4000"


class Peer(Struct, frozen=True):
    """One TCP Service. `balancer` and `node_port` are '' and 0 where it has none. `endpoints` are (address, port)."""

    cluster_ip: str
    port: int
    endpoints: Sequence[tuple[str, int]]
    node_port: int = 0
    balancer: str = ""


def nftables(services: Sequence[Peer], node: str, pods: str) -> Iterator[str]:
    """Lines for `nft -f`. `node` is the address that answers node ports, `pods` the range of this node's pods."""
    yield "table ip kube-proxy {"
    yield " set cluster-ips { type ipv4_addr; }"
    yield f" set nodeport-ips {{ type ipv4_addr; elements = {{ {node} }} ; }}"
    yield " map service-ips { type ipv4_addr . inet_proto . inet_service : verdict; }"
    yield " map service-nodeports { type inet_proto . inet_service : verdict; }"
    yield " map no-endpoint-services { type ipv4_addr . inet_proto . inet_service : verdict; }"
    yield " map firewall-ips { type ipv4_addr . inet_proto . inet_service : verdict; }"
    yield f" chain mark-for-masquerade {{ meta mark set meta mark | {_MARK}; }}"
    yield " chain masquerading {"
    yield f"  meta mark & {_MARK} == 0 return"
    yield f"  meta mark set meta mark ^ {_MARK}"
    yield "  masquerade fully-random"
    yield " }"
    yield " chain services {"
    yield "  ip daddr . meta l4proto . th dport vmap @service-ips"
    yield "  ip daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports"
    yield " }"
    yield " chain endpoint-check { ip daddr . meta l4proto . th dport vmap @no-endpoint-services; }"
    yield " chain firewall-check { ip daddr . meta l4proto . th dport vmap @firewall-ips; }"
    yield " chain cluster-ips-check { ip daddr @cluster-ips reject; }"
    yield " chain filter-prerouting { type filter hook prerouting priority dstnat - 10; ct state new jump firewall-check; }"
    yield " chain filter-forward {"
    yield "  type filter hook forward priority filter"
    yield "  ct state new jump endpoint-check"
    yield "  ct state new jump cluster-ips-check"
    yield " }"
    yield " chain nat-prerouting { type nat hook prerouting priority dstnat; jump services; }"
    yield " chain nat-output { type nat hook output priority -100; jump services; }"
    yield " chain nat-postrouting { type nat hook postrouting priority srcnat; jump masquerading; }"
    yield "}"
    for index, service in enumerate(services):
        for each, (address, port) in enumerate(service.endpoints):
            chain = f"endpoint-{index}-{each}"
            yield f"add chain ip kube-proxy {chain}"
            yield f"add rule ip kube-proxy {chain} ip saddr {address} jump mark-for-masquerade"
            yield f"add rule ip kube-proxy {chain} meta l4proto tcp dnat to {address}:{port}"
        ways = ", ".join(f"{each} : goto endpoint-{index}-{each}" for each in range(len(service.endpoints)))
        chain = f"service-{index}"
        yield f"add chain ip kube-proxy {chain}"
        outsider = f"ip daddr {service.cluster_ip} tcp dport {service.port} ip saddr != {pods}"
        yield f"add rule ip kube-proxy {chain} {outsider} jump mark-for-masquerade"
        yield f"add rule ip kube-proxy {chain} numgen random mod {len(service.endpoints)} vmap {{ {ways} }}"
        yield f"add element ip kube-proxy cluster-ips {{ {service.cluster_ip} }}"
        yield f"add element ip kube-proxy service-ips {{ {service.cluster_ip} . tcp . {service.port} : goto {chain} }}"
        if service.node_port or service.balancer:
            external = f"external-{index}"
            yield f"add chain ip kube-proxy {external}"
            yield f"add rule ip kube-proxy {external} jump mark-for-masquerade"
            yield f"add rule ip kube-proxy {external} goto {chain}"
            if service.node_port:
                yield f"add element ip kube-proxy service-nodeports {{ tcp . {service.node_port} : goto {external} }}"
            if service.balancer:
                yield f"add element ip kube-proxy service-ips {{ {service.balancer} . tcp . {service.port} : goto {external} }}"


def iptables(services: Sequence[Peer], pods: str) -> Iterator[str]:
    """Lines for `iptables-restore`."""
    yield "*nat"
    for chain in ("SERVICES", "NODEPORTS", "POSTROUTING", "MARK-MASQ"):
        yield f":KUBE-{chain} - [0:0]"
    for index, service in enumerate(services):
        yield f":KUBE-SVC-{index} - [0:0]"
        yield from (f":KUBE-SEP-{index}-{each} - [0:0]" for each in range(len(service.endpoints)))
        if service.node_port or service.balancer:
            yield f":KUBE-EXT-{index} - [0:0]"
    yield "-A PREROUTING -j KUBE-SERVICES"
    yield "-A OUTPUT -j KUBE-SERVICES"
    yield "-A POSTROUTING -j KUBE-POSTROUTING"
    yield f"-A KUBE-MARK-MASQ -j MARK --set-xmark {_MARK}/{_MARK}"
    yield f"-A KUBE-POSTROUTING -m mark ! --mark {_MARK}/{_MARK} -j RETURN"
    yield f"-A KUBE-POSTROUTING -j MARK --set-xmark {_MARK}/0x0"
    yield "-A KUBE-POSTROUTING -j MASQUERADE --random-fully"
    for index, service in enumerate(services):
        yield from _iptables_service(index, service, pods)
    yield "-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS"
    yield "COMMIT"


def _iptables_service(index: int, service: Peer, pods: str) -> Iterator[str]:
    yield f"-A KUBE-SERVICES -d {service.cluster_ip}/32 -p tcp -m tcp --dport {service.port} -j KUBE-SVC-{index}"
    if service.balancer:
        yield f"-A KUBE-SERVICES -d {service.balancer}/32 -p tcp -m tcp --dport {service.port} -j KUBE-EXT-{index}"
    if service.node_port:
        yield f"-A KUBE-NODEPORTS -p tcp -m tcp --dport {service.node_port} -j KUBE-EXT-{index}"
    if service.node_port or service.balancer:
        yield f"-A KUBE-EXT-{index} -j KUBE-MARK-MASQ"
        yield f"-A KUBE-EXT-{index} -j KUBE-SVC-{index}"
    outsider = f"! -s {pods} -d {service.cluster_ip}/32 -p tcp -m tcp --dport {service.port}"
    yield f"-A KUBE-SVC-{index} {outsider} -j KUBE-MARK-MASQ"
    for each, (address, port) in enumerate(service.endpoints):
        left = len(service.endpoints) - each
        chance = f"-m statistic --mode random --probability {1 / left:.10f} " if left > 1 else ""
        yield f"-A KUBE-SVC-{index} {chance}-j KUBE-SEP-{index}-{each}"
        yield f"-A KUBE-SEP-{index}-{each} -s {address}/32 -j KUBE-MARK-MASQ"
        yield f"-A KUBE-SEP-{index}-{each} -p tcp -m tcp -j DNAT --to-destination {address}:{port}"
