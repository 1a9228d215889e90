"""How is a Kubernetes API server reached? Over HTTPS, with a client certificate or a token: ours, or any other.

async with ApiClient(kubeconfig.load(path)) as api:
    services = await api.list(SERVICE)
    async for event in api.watch(SERVICE, services.resource_version): ...
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from pathlib import Path
from random import Random
from urllib.parse import quote

import aiohttp
from yarl import URL

from mooring.edges.http.kubeconfig import Access, KubeconfigError
from mooring.edges.http.renewal import LOOK_AGAIN
from mooring.edges.http.rest import RestApi, refusal
from mooring.ports.api import ApiUnavailable

REQUEST_SECONDS, CONNECT_SECONDS = 60.0, 10.0
IDLE_SECONDS = 150.0
"""Without a byte for so long a watch counts as broken; servers send a bookmark about every minute."""
TOKEN_SECONDS = 60.0
"""A token file is read again this often: a pod's token is exchanged before it expires."""


class ApiClient(RestApi):
    """ports.api.Api over HTTPS. Make it inside a running event loop."""

    def __init__(
        self, access: Access, *, agent: str = "mooring", idle_seconds: float = IDLE_SECONDS, rng: Random | None = None
    ) -> None:
        self._http = HttpTransport(access, agent, idle_seconds)
        super().__init__(self._http, rng)

    @property
    def access(self) -> Access:
        """As it was read last."""
        return self._http.access


class HttpTransport:
    """A pool of kept connections; each watch has one to itself."""

    def __init__(self, access: Access, agent: str, idle_seconds: float) -> None:
        self.access, self._idle_seconds = access, idle_seconds
        self._token, self._token_until = access.token, 0.0
        self._tls, self._look_again = _tls(access), 0.0
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=REQUEST_SECONDS, sock_connect=CONNECT_SECONDS),
            # Both ends are usually one machine or one rack: the processor is scarcer than the wire.
            headers={"User-Agent": agent, "Accept-Encoding": "identity"},
            read_bufsize=1 << 18,
        )

    async def close(self) -> None:
        await self._session.close()

    async def exchange(
        self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: bytes
    ) -> tuple[int, bytes]:
        self._renew()
        try:
            async with self._session.request(
                method,
                self._url(path, query),
                data=body or None,
                headers={**headers, **self._authorization()},
                ssl=self._tls,
                server_hostname=self.access.server_name or None,
            ) as response:
                return response.status, await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._unavailable(error) from error

    async def stream(self, path: str, query: Mapping[str, str]) -> AsyncIterator[bytes]:
        self._renew()
        try:
            async with self._session.get(
                self._url(path, query),
                headers={"Accept": "application/json", **self._authorization()},
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=self._idle_seconds),
                ssl=self._tls,
                server_hostname=self.access.server_name or None,
            ) as response:
                if response.status != 200:
                    raise refusal(response.status, await response.read())
                async for line in lines(response.content, self._idle_seconds):
                    yield line
        except (aiohttp.ClientError, ConnectionError, ssl.SSLError) as error:
            raise self._unavailable(error) from error
        except TimeoutError:
            return  # nothing for too long: the caller resumes where it is

    def _url(self, path: str, query: Mapping[str, str]) -> URL:
        text = "&".join(f"{quote(name)}={quote(value, safe='')}" for name, value in query.items())
        return URL(f"{self.access.server}{quote(path)}{'?' if text else ''}{text}", encoded=True)

    def _authorization(self) -> dict[str, str]:
        if self.access.token_file and (now := asyncio.get_running_loop().time()) >= self._token_until:
            try:
                self._token = Path(self.access.token_file).read_text().strip()
            except OSError as error:
                raise ApiUnavailable(f"{self.access.token_file}: {error.strerror}") from error
            self._token_until = now + TOKEN_SECONDS
        return {"Authorization": f"Bearer {self._token}"} if self._token else {}

    def _renew(self) -> None:
        """New connections are by the certificates that the files hold now; those in use stay as they are."""
        if (now := asyncio.get_running_loop().time()) < self._look_again:
            return
        self._look_again = now + LOOK_AGAIN
        with suppress(KubeconfigError):  # while it is no good, all stays as it was
            if (renewed := self.access.renewed()) is not self.access:
                self._tls, self.access = _tls(renewed), renewed
                self._token, self._token_until = renewed.token, 0.0

    def _unavailable(self, error: BaseException) -> ApiUnavailable:
        self._look_again = 0.0
        return ApiUnavailable(f"{self.access.server}: {str(error) or type(error).__name__}")


def _tls(access: Access) -> ssl.SSLContext | bool:
    return access.tls() if access.server.startswith("https:") else False


async def lines(content: aiohttp.StreamReader, idle_seconds: float) -> AsyncIterator[bytes]:
    """Whole lines of a stream, however its chunks are cut. An unfinished last line is dropped: its event was not sent.

    Raises TimeoutError when nothing comes for too long. aiohttp's own sock_read would not do: a broken chunk header closes the
    connection and stops that timer, but never ends the read.
    """
    rest: list[bytes] = []
    while True:
        async with asyncio.timeout(idle_seconds):
            chunk = await content.readany()
        if not chunk:
            return
        first, *others = chunk.split(b"\n")
        rest.append(first)
        if not others:
            continue
        for line in (b"".join(rest), *others[:-1]):
            if line.strip():
                yield line
        rest = [others[-1]]
