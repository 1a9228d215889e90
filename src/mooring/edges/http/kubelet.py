"""How does the API server reach a kubelet, a pod or an endpoint? From the cluster's network; a kubelet over TLS, with its own
client certificate, and nobody else with it.
"""

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
        self._anybody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._anybody.check_hostname = False
        self._anybody.verify_mode = ssl.CERT_NONE

    def renew(self, context: ssl.SSLContext) -> None:
        """Kubelets that are dialed from now on are met with this one."""
        self._context = context

    async def __call__(self, proxy: Proxy) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Raises OSError (with ssl.SSLError) or TimeoutError."""
        loop = asyncio.get_running_loop()
        context, name = self._context, proxy.node if self._context else None
        if proxy.onward and proxy.onward.scheme != "kubelet":
            context, name = (self._anybody, proxy.address) if proxy.onward.scheme == "https" else (None, None)
        sock = await asyncio.to_thread(stream_socket, proxy.address, self._namespace)
        try:
            async with asyncio.timeout(DIAL_TIMEOUT):
                await loop.sock_connect(sock, (proxy.address, proxy.port))
                return await asyncio.open_connection(sock=sock, ssl=context, server_hostname=name)
        except BaseException:
            sock.close()
            raise
