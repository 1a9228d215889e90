"""What does one probe meet? HTTP and TCP over a plain connection, exec in the container; worded as upstream words it.

Source: pkg/probe/http, pkg/probe/tcp, pkg/probe/exec. Redirects are followed on the same host, up to ten.
"""

import asyncio
import errno
import ssl
from urllib.parse import urljoin, urlsplit

from mooring.edges.pods.streams import PodStreams
from mooring.pods.wishes import ExecCheck, HttpCheck, Outcome, TcpCheck
from mooring.ports.pods import RuntimeFailure

_MAX_BODY, _MAX_REDIRECTS = 10 * 1024, 10
_CAUSES = {
    errno.ECONNREFUSED: "connection refused",
    errno.EHOSTUNREACH: "no route to host",
    errno.ENETUNREACH: "network is unreachable",
}


def _any_certificate() -> ssl.SSLContext:
    """The kubelet does not verify a pod's certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


class PodProber:
    """The Prober port. It must run in the node's network namespace."""

    def __init__(self, streams: PodStreams) -> None:
        self.streams = streams
        self._tls: ssl.SSLContext | None = None

    async def check(self, what: HttpCheck | TcpCheck | ExecCheck, timeout: float) -> Outcome:
        match what:
            case HttpCheck():
                return await self._http(what, timeout)
            case TcpCheck():
                return await self._tcp(what, timeout)
            case ExecCheck():
                return await self._exec(what, timeout)

    async def _http(self, what: HttpCheck, timeout: float) -> Outcome:
        scheme = what.scheme.lower()
        url = f"{scheme}://{_joined(what.host, what.port)}{what.path}"
        for name, value in what.headers:
            if any(sign in value for sign in "\r\n\0"):
                return Outcome(False, f'Get "{url}": net/http: invalid header field value for "{name}"')
        try:
            async with asyncio.timeout(timeout):
                for _ in range(_MAX_REDIRECTS):
                    status, location, body = await self._get(url, what.headers)
                    target = urljoin(url, location)
                    if not (300 <= status < 400 and location) or urlsplit(target).hostname != urlsplit(url).hostname:
                        break
                    url = target
                else:
                    return Outcome(False, f'Get "{url}": stopped after {_MAX_REDIRECTS} redirects')
        except TimeoutError:
            return Outcome(False, f'Get "{url}": context deadline exceeded (Client.Timeout exceeded while awaiting headers)')
        except OSError as error:
            return Outcome(False, f'Get "{url}": {_dial(what.host, what.port, error)}')
        except (ValueError, EOFError, asyncio.LimitOverrunError):
            return Outcome(False, f'Get "{url}": malformed HTTP response')
        if 200 <= status < 400:
            return Outcome(True, body)
        return Outcome(False, f"HTTP probe failed with statuscode: {status}")

    async def _get(self, url: str, headers: tuple[tuple[str, str], ...]) -> tuple[int, str, str]:
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        if secure and self._tls is None:
            self._tls = _any_certificate()
        reader, writer = await asyncio.open_connection(
            parts.hostname, parts.port or (443 if secure else 80), ssl=self._tls if secure else None
        )
        try:
            given = dict(headers)
            host = next((value for name, value in given.items() if name.lower() == "host"), parts.netloc)
            lines = [f"GET {parts.path or '/'}{'?' + parts.query if parts.query else ''} HTTP/1.1", f"Host: {host}"]
            lines += [f"{name}: {value}" for name, value in given.items() if name.lower() != "host"]
            writer.write(("\r\n".join([*lines, "Connection: close"]) + "\r\n\r\n").encode())
            version, status = (await reader.readuntil(b"\n")).decode("latin-1").split(" ", 2)[:2]
            if not version.startswith("HTTP/1."):
                raise ValueError(f"malformed HTTP version {version}")
            fields = {}
            while line := (await reader.readuntil(b"\n")).decode("latin-1").strip():
                name, _, value = line.partition(":")
                fields[name.strip().lower()] = value.strip()
            length = int(fields.get("content-length", _MAX_BODY))
            body = b""
            while len(body) < min(length, _MAX_BODY) and (data := await reader.read(_MAX_BODY)):
                body += data
            return int(status), fields.get("location", ""), body.decode(errors="replace")
        finally:
            writer.close()  # Not waited for: a server that never closes its TLS would hold the probe beyond its time.

    async def _tcp(self, what: TcpCheck, timeout: float) -> Outcome:
        try:
            async with asyncio.timeout(timeout):
                _, writer = await asyncio.open_connection(what.host, what.port)
                writer.close()
                return Outcome(True)
        except TimeoutError:
            return Outcome(False, f"dial tcp {_joined(what.host, what.port)}: i/o timeout")
        except OSError as error:
            return Outcome(False, _dial(what.host, what.port, error))

    async def _exec(self, what: ExecCheck, timeout: float) -> Outcome:
        process = None
        try:
            async with asyncio.timeout(timeout):
                process = await self.streams.exec(what.uid, what.container, what.command)
                output = await process.output()
                code = await process.wait()
            return Outcome(code == 0, output.decode(errors="replace").strip())
        except RuntimeFailure as error:
            return Outcome(False, error.message)
        except TimeoutError:
            return Outcome(False, f'command "{" ".join(what.command)}" timed out')
        finally:
            if process:
                await process.kill()
                process.close()


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _dial(host: str, port: int, error: OSError) -> str:
    """As Go words a failed connection."""
    cause = _CAUSES.get(error.errno or 0)
    return f"dial tcp {_joined(host, port)}: connect: {cause}" if cause else str(error) or type(error).__name__
