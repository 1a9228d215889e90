"""How does a pod get its link? A veth pair: eth0 in the pod with its address alone, a host route to it on the node.

Every packet of a pod passes the node's IP stack. The gateway is 169.254.1.1 (fe80::1), an address that nobody holds: both ends
know each other's link address beforehand, so no ARP or neighbour discovery ever runs on the pair and the first packet waits for
nothing. The calling process must be in the node's network namespace, and that must forward.
"""

import asyncio
import contextlib
import hashlib
from ipaddress import ip_address

from mooring.edges.pods.shim_link import ShimLink
from mooring.ports.pods import RuntimeFailure

GATEWAYS = {4: "169.254.1.1", 6: "fe80::1"}
_NODE_END = "ee:ee:ee:ee:ee:ee"
"""Every node end has the same link address; locally administered, and each pair is a link of its own."""


def link_name(uid: str) -> str:
    """The node end's name, at most 15 bytes, the same for a pod at all times."""
    return "pod" + hashlib.sha1(uid.encode()).hexdigest()[:11]


def pod_link_address(uid: str) -> str:
    digest = hashlib.sha1(uid.encode()).digest()
    return ":".join(f"{byte:02x}" for byte in (0x0A, *digest[:5]))


def node_commands(uid: str, addresses: tuple[str, ...], shim: int, mtu: int) -> str:
    """For `ip -batch` in the node's namespace. `shim` is the pid that holds the pod's namespace."""
    name, pod_end = link_name(uid), pod_link_address(uid)
    lines = [
        f"link add {name} address {_NODE_END} mtu {mtu} type veth peer name eth0 address {pod_end} mtu {mtu} netns {shim}",
        f"link set {name} addrgenmode none up",
    ]
    for address in addresses:
        length = ip_address(address).max_prefixlen
        lines.append(f"neigh replace {address} lladdr {pod_end} dev {name} nud permanent")
        lines.append(f"route replace {address}/{length} dev {name}")
    return "\n".join(lines) + "\n"


def pod_commands(addresses: tuple[str, ...]) -> str:
    """For `ip -batch` in the pod's namespace, once eth0 is there."""
    lines = ["link set lo up", "link set eth0 addrgenmode none up"]
    for address in addresses:
        ip = ip_address(address)
        gateway = GATEWAYS[ip.version]
        nodad = " nodad" if ip.version == 6 else ""
        lines.append(f"addr add {address}/{ip.max_prefixlen} dev eth0{nodad}")
        lines.append(f"neigh replace {gateway} lladdr {_NODE_END} dev eth0 nud permanent")
        if ip.version == 4:
            lines.append(f"route replace {gateway}/32 dev eth0 scope link")
        lines.append(f"route replace default via {gateway} dev eth0")
    return "\n".join(lines) + "\n"


async def attach(link: ShimLink, uid: str, addresses: tuple[str, ...], shim: int, mtu: int) -> None:
    """Makes the pair. Raises RuntimeFailure with what `ip` said."""
    await detach(uid, missing_ok=True)
    await _ip(node_commands(uid, addresses, shim, mtu))
    answer = await link.ask({"op": "run", "argv": ["ip", "-batch", "-"], "input": pod_commands(addresses)})
    if answer.get("code") != 0:
        raise RuntimeFailure("FailedCreatePodSandBox", f"pod network: {answer.get('output') or answer.get('failed')}")


async def detach(uid: str, *, missing_ok: bool = True) -> None:
    """Removes the pair, and with it addresses, routes and neighbours."""
    try:
        await _ip(f"link del {link_name(uid)}\n")
    except RuntimeFailure:
        if not missing_ok:
            raise


async def _ip(commands: str) -> None:
    process = await asyncio.create_subprocess_exec(
        "ip", "-batch", "-", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        output, _ = await process.communicate(commands.encode())
    except asyncio.CancelledError:
        with contextlib.suppress(ProcessLookupError):  # It may have ended by itself: that must not hide the cancellation.
            process.kill()
        await process.wait()
        raise
    if process.returncode != 0:
        raise RuntimeFailure("FailedCreatePodSandBox", f"pod network: {output.decode(errors='replace').strip()}")
