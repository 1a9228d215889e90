"""When is a cluster ready? Asked from outside, as its users would ask."""

import asyncio
import contextlib
import http.client
import socket
from collections.abc import Callable, Sequence

from mooring.app.aside import aside
from mooring.app.connection import Connection, Refused, Unreachable
from mooring.app.progress import Step, Tell
from mooring.edges.netlink import namespaces

FIRST_PAUSE, LONGEST_PAUSE = 0.02, 0.5
NODE_HEALTH_PORT = 10256


class NotReady(Exception):
    """What was waited for in vain, and the last answer."""


async def wait(what: str, answer: Callable[[], str], deadline: float, tell: Tell) -> None:
    """Asks in a thread until `answer` returns '' (ready); otherwise it says what is still missing. `deadline` in loop time: it
    ends a question that hangs too.

    Raises NotReady.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    pause = FIRST_PAUSE
    missing = "no answer"
    tell(Step("waiting", what))
    try:
        async with asyncio.timeout_at(deadline):
            while missing := await aside(answer):
                await asyncio.sleep(pause)
                pause = min(pause * 1.5, LONGEST_PAUSE)
    except TimeoutError:
        raise NotReady(f"{what}: not ready after {loop.time() - began:.0f} s: {missing}") from None
    tell(Step("done", what, loop.time() - began))


def api(connection: Connection) -> str:
    try:
        connection.raw("GET", "/readyz")
    except (Refused, Unreachable) as error:
        return str(error)
    return ""


def health(port: int) -> str:
    """/readyz of a role on 127.0.0.1."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        response = connection.getresponse()
        text = response.read().decode(errors="replace").strip()
        return "" if response.status == 200 else text or f"{response.status}"
    except (OSError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__
    finally:
        connection.close()


def node(connection: Connection, name: str, namespace: str) -> str:
    """The agent is well (an earlier agent's word in the API would not do) and the Node's Ready condition is True."""
    if missing := namespaces.within(namespace, lambda: health(NODE_HEALTH_PORT)):
        return missing
    try:
        document = connection.get(f"/api/v1/nodes/{name}")
    except (Refused, Unreachable) as error:
        return str(error)
    for condition in document.get("status", {}).get("conditions") or ():
        if condition.get("type") == "Ready":
            return (
                "" if condition.get("status") == "True" else condition.get("message") or condition.get("reason") or "not Ready"
            )
    return "no Ready condition yet"


def dns(namespace: str, servers: Sequence[str], domain: str) -> str:
    """Every cluster DNS address answers, inside a node's namespace, for the one Service that always exists.

    That Service has one address, of the cluster's first family, as upstream's.
    """
    import dns.exception
    import dns.message
    import dns.query
    import dns.rcode

    query = dns.message.make_query(f"kubernetes.default.svc.{domain}.", "AAAA" if ":" in servers[0] else "A")
    for server in servers:
        family = socket.AF_INET6 if ":" in server else socket.AF_INET
        with contextlib.closing(namespaces.open_socket(namespace, family, socket.SOCK_DGRAM)) as channel:
            channel.setblocking(False)
            try:
                reply = dns.query.udp(query, server, timeout=1, sock=channel, ignore_errors=True)
            except (OSError, dns.exception.DNSException) as error:
                return f"{server}: {error or type(error).__name__}"
        if reply.rcode() != dns.rcode.NOERROR or not reply.answer:
            return f"{server} answers {dns.rcode.to_text(reply.rcode())} with {len(reply.answer)} records"
    return ""
