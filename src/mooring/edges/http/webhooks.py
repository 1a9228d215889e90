"""How are webhooks asked? One HTTPS POST of JSON to an address that the core has chosen: from the cluster's network, where pods
are reached, or from this machine's when the address is its own loopback.

The server must be who it is said to be: certified for its name by the authorities given, or by the system's. Redirects are not
followed, answers are read up to a limit, and whatever goes wrong becomes an answer that says so.
"""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable
from functools import lru_cache
from urllib.parse import urlsplit

import httptools

from mooring.apiserver.contract import Answer, Question
from mooring.edges.http.sockets import stream_socket

Inquire = Callable[[Question], Awaitable[Answer]]
"""Sends a question and returns what came back; never raises."""

MAX_ANSWER = 16 * 1024 * 1024
"""Bytes of an answer's body; those of its head are few."""
MAX_HEAD = 64 * 1024
MOST_AT_ONCE = 64
"""Questions under way: more wait, so that a webhook that hangs takes no more than these connections."""
_READ = 64 * 1024


async def answers_to(questions: tuple[Question, ...], inquire: Inquire | None) -> dict[Question, Answer]:
    """All of them, asked at once."""
    if inquire is None:
        return dict.fromkeys(questions, Answer(error="this API server calls no webhooks"))
    return dict(zip(questions, await asyncio.gather(*map(inquire, questions)), strict=True))


class Webhooks:
    """Inquire, with sockets made in the named network namespace; in this one when ''."""

    def __init__(self, namespace: str = "") -> None:
        self._namespace = namespace
        self._turns = asyncio.Semaphore(MOST_AT_ONCE)

    async def __call__(self, question: Question) -> Answer:
        try:
            async with asyncio.timeout(question.timeout):
                async with self._turns:
                    return await self._ask(question)
        except TimeoutError:
            return Answer(error="context deadline exceeded")
        except ssl.SSLCertVerificationError as error:
            return Answer(error=f"tls: failed to verify certificate: {error.verify_message}")
        except ConnectionRefusedError:
            host, port = question.address
            return Answer(error=f"dial tcp {host}:{port}: connect: connection refused")
        except (OSError, EOFError, ValueError, httptools.HttpParserError) as error:
            return Answer(error=str(error) or type(error).__name__)

    async def _ask(self, question: Question) -> Answer:
        loop = asyncio.get_running_loop()
        host, port = question.address
        address = str((await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM))[0][4][0])
        context = trusting(question.ca)
        namespace = "" if ipaddress.ip_address(address).is_loopback else self._namespace
        sock = await asyncio.to_thread(stream_socket, address, namespace)
        try:
            await loop.sock_connect(sock, (address, port))
            reader, writer = await asyncio.open_connection(sock=sock, ssl=context, server_hostname=question.server_name)
        except BaseException:
            sock.close()
            raise
        try:
            writer.write(_request(question))
            await writer.drain()
            return await _Reply().read(reader)
        finally:
            writer.close()


@lru_cache(maxsize=256)
def trusting(ca: bytes) -> ssl.SSLContext:
    """Raises ValueError when `ca` holds no certificates."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if ca:
        try:
            context.load_verify_locations(cadata=ca.decode())
        except (ssl.SSLError, UnicodeDecodeError) as error:
            raise ValueError(f"unable to load root certificates: {error}") from None
    else:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    return context


def _request(question: Question) -> bytes:
    parts = urlsplit(question.url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    head = (
        f"POST {target} HTTP/1.1", f"Host: {parts.netloc}", "User-Agent: kube-apiserver-admission", "Accept: application/json",
        "Content-Type: application/json", f"Content-Length: {len(question.body)}", "Connection: close", "", "",
    )  # fmt: skip
    return "\r\n".join(head).encode("latin-1") + question.body


class _Reply:
    """What comes back, as the parser finds it."""

    def __init__(self) -> None:
        self._body: list[bytes] = []
        self._size = self._head = 0
        self._complete = self._began = False
        self._parser = httptools.HttpResponseParser(self)

    async def read(self, reader: asyncio.StreamReader) -> Answer:
        """Raises EOFError, ValueError, HttpParserError."""
        while not self._complete:
            data = await reader.read(_READ)
            if not data:
                if not self._began:
                    raise EOFError("EOF")
                break  # an answer without a length ends with its connection
            if not self._began:
                self._head += len(data)
                if self._head > MAX_HEAD:
                    raise ValueError("the head of the webhook's answer is too long")
            self._parser.feed_data(data)
            if self._size > MAX_ANSWER:
                raise ValueError(f"http: the webhook's answer is larger than {MAX_ANSWER} bytes")
        return Answer(self._parser.get_status_code(), b"".join(self._body))

    def on_headers_complete(self) -> None:
        self._began = True

    def on_body(self, body: bytes) -> None:
        self._size += len(body)
        if self._size <= MAX_ANSWER:
            self._body.append(body)

    def on_message_complete(self) -> None:
        self._complete = True
