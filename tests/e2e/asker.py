"""What does this place get for an answer? Runs inside a pod or on a node, the standard library alone: a JSON line in, one out.

In:  {"transport": "tcp"|"udp", "host", "port", "payload" (hex), "source" (a port, 0: any), "timeout",
      "reads": "datagram" | "stream" (until it ends) | "frame" (RFC 1035 4.2.2), "tls": the name to ask for, '': no TLS}
     or {"name", "family" (4, 6, 0: both)} to ask the resolver that the place is configured with.
Out: {"payload": hex, "certificate": the SHA-256 of the server's, '' without TLS} or {"addresses": [...]},
     else {"failed": "refused"|"silence"|"unreachable"|words}.
"""

import contextlib
import hashlib
import json
import socket
import sys

FAMILIES = {0: socket.AF_UNSPEC, 4: socket.AF_INET, 6: socket.AF_INET6}


def resolve(name, family):
    found = socket.getaddrinfo(name, None, FAMILIES[family], socket.SOCK_STREAM)
    return {"addresses": sorted({entry[4][0] for entry in found})}


@contextlib.contextmanager
def secured(connection, name):
    """The connection itself without a name. Whose certificate it is, the asker looks at."""
    if not name:
        yield connection
        return
    import ssl

    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with context.wrap_socket(connection, server_hostname=name) as made:
        yield made


def exchange(transport, host, port, payload, source, timeout, reads, tls=""):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM if transport == "tcp" else socket.SOCK_DGRAM) as plain:
        plain.settimeout(timeout)
        if source:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            plain.bind(("", source))
        plain.connect((host, port))
        data = bytes.fromhex(payload)
        with secured(plain, tls) as made:
            with contextlib.suppress(PermissionError):
                # A node's own datagram that is rejected or dropped: the kernel says so at once, a rejection's ICMP follows.
                made.sendall(len(data).to_bytes(2, "big") + data if reads == "frame" else data)
            if reads == "datagram":
                return {"payload": made.recv(65536).hex()}
            with made.makefile("rb") as stream:
                answered = READERS[reads](stream).hex()
            certificate = hashlib.sha256(made.getpeercert(binary_form=True)).hexdigest() if tls else ""
            return {"payload": answered, "certificate": certificate}


READERS = {
    "stream": lambda stream: stream.read(),
    "frame": lambda stream: stream.read(int.from_bytes(stream.read(2), "big")),
}


def answer(asked):
    try:
        return resolve(**asked) if "name" in asked else exchange(**asked)
    except ConnectionRefusedError:
        return {"failed": "refused"}
    except TimeoutError:
        return {"failed": "silence"}
    except socket.gaierror as error:
        return {"failed": error.strerror}
    except OSError as error:
        return {"failed": "unreachable" if "nreachable" in str(error) or "route to host" in str(error) else str(error)}


for line in sys.stdin:
    print(json.dumps(answer(json.loads(line))), flush=True)
