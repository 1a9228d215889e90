"""What does a network namespace track, of whatever protocol? Its whole table, for tests that ask what is not in it."""

import socket
import struct
from contextlib import closing

from mooring.dataplane.sighting import Place
from mooring.edges.live.tracked import ends
from mooring.edges.nft.netlink import NetlinkSocket, attributes

_GET = 1 << 8 | 1  # IPCTNL_MSG_CT_GET
_ORIGINAL = 1

Entry = tuple[int, Place, Place]
"""(protocol number, source, destination) of a connection's first packet"""


def entries(namespace: str) -> set[Entry]:
    """All that have ports. Raises NetlinkError, OSError."""
    found: set[Entry] = set()

    def note(payload: bytes) -> None:
        entry = ends(dict(attributes(payload, 4)).get(_ORIGINAL, b""))
        if entry:
            found.add(entry)

    with closing(NetlinkSocket(namespace)) as asked:
        for family in (socket.AF_INET, socket.AF_INET6):
            asked.dump(_GET, struct.pack("!BBH", family, 0, 0), note)
    return found
