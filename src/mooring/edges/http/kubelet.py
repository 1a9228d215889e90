"""How does the API server reach a node's kubelet? Over TLS, from the cluster's network, with its own client certificate."""

import asyncio
import ssl

from mooring.apiserver.contract import Proxy
from mooring.edges.http.sockets import stream_socket

DIAL_TIMEOUT = 10.0


class KubeletDialer:
    """server_proxy.Dial with sockets made in the named network namespace; in this one when ''."""

    def __init__(self, context: ssl.SSLContext | None, namespace: str = "") -> None:
        """`context` as tls.client_context makes it: the kubelet's certificate must name its node. None: plain TCP."""
        self._context, self._namespace = context, namespace

    async def __call__(self, proxy: Proxy) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Raises OSError (with ssl.SSLError) or TimeoutError."""
        loop = asyncio.get_running_loop()
        sock = await asyncio.to_thread(stream_socket, proxy.address, self._namespace)
        try:
            async with asyncio.timeout(DIAL_TIMEOUT):
                await loop.sock_connect(sock, (proxy.address, proxy.port))
                name = proxy.node if self._context else None
                return await asyncio.open_connection(sock=sock, ssl=self._context, server_hostname=name)
        except BaseException:
            sock.close()
            raise
