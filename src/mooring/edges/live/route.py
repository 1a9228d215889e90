"""Where does a network namespace send what is for an address? Asked of the kernel's routes, by `ip route get`."""

import json
import subprocess
from contextlib import suppress

from mooring.edges.netlink import namespaces


def next_hop(namespace: str, address: str) -> str:
    """The gateway's address; the address itself when it is next door; '' when there is no way, or nobody may look."""
    with suppress(OSError, ValueError, LookupError):
        done = namespaces.within(
            namespace,
            lambda: subprocess.run(["ip", "-json", "route", "get", address], capture_output=True, text=True, check=False),
        )
        found = json.loads(done.stdout)[0]
        return str(found.get("gateway") or found["dst"])
    return ""
