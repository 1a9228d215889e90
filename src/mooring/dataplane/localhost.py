"""What must a node's kernel allow so that node ports answer at its loopback addresses, and where can they not?

A node's own connection to 127.0.0.1 is rewritten in the output hook and leaves with the node's address; the kernel routes
packets from and to 127.0.0.0/8 over other links than lo only with `route_localnet`. The `loopback` chain (skeleton.py) keeps
closed what that would open: nothing that bears such an address comes in from elsewhere than lo.
"""

from collections.abc import Mapping

from mooring.services.view import NodeView

LOCALHOST_SYSCTLS: Mapping[str, str] = {"net/ipv4/conf/all/route_localnet": "1"}
"""Names below /proc/sys. To be set once the tables are in place: they are the guard."""

LOOPBACK6 = "::1"
LOOPBACK6_REASON = (
    "no node port can answer at ::1: the kernel takes packets to ::1 from lo alone, so the answers of endpoints on other links "
    "would find no way back (127.0.0.1 works)"
)


def localhost_sysctls(view: NodeView) -> dict[str, str]:
    """The sysctls that the view's frontends need; none where no IPv4 loopback address answers."""
    frontends = (each for ports in view.services.values() for port in ports for each in port.frontends)
    return dict(LOCALHOST_SYSCTLS) if any(each.address.startswith("127.") for each in frontends) else {}


def not_carried(address: str) -> str:
    """Why a frontend at this address is left out of the tables; '' for one that is not."""
    return LOOPBACK6_REASON if address == LOOPBACK6 else ""
