"""How are TCP sockets made in another network namespace, without moving the process there?

A socket belongs for life to the namespace of the thread that made it, so a short-lived thread enters the namespace, makes the
socket and ends (edges/netlink/namespaces.py). Accepting, connecting and everything after happen in the caller's loop.
"""

import os
import socket

from mooring.edges.netlink import namespaces

BACKLOG = 1024


def listener(host: str, port: int, namespace: str = "") -> socket.socket:
    """A listening socket, in a named namespace when given. Raises OSError that says which address and where."""

    def make() -> socket.socket:
        made = socket.socket(_family(host), socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if made.family == socket.AF_INET6:
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            made.bind((host, port))
            made.listen(BACKLOG)
        except OSError:
            made.close()
            raise
        return made

    try:
        return namespaces.within(namespace, make) if namespace else make()
    except OSError as error:
        where = f" in namespace {namespace}" if namespace else ""
        raise OSError(error.errno, f"cannot listen on {host} port {port}{where}: {os.strerror(error.errno or 0)}") from error


def stream_socket(host: str, namespace: str = "") -> socket.socket:
    """An unconnected, non-blocking socket for dialing the address `host`, from a named namespace when given."""
    kind = socket.SOCK_STREAM | socket.SOCK_NONBLOCK
    return namespaces.open_socket(namespace, _family(host), kind) if namespace else socket.socket(_family(host), kind)


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
