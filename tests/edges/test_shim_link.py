"""Does one request to a shim that is given up ever harm the next one?"""

import asyncio
import contextlib
import json
import socket
from pathlib import Path

from mooring.edges.pods.shim_link import ShimLink


async def test_a_cancelled_request_leaves_the_next_one_its_answer(tmp_path: Path) -> None:
    """The next connection gets the descriptor number that the cancelled one has just given back."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
        server.bind(str(tmp_path / "shim.sock"))
        server.listen()
        server.setblocking(False)
        loop = asyncio.get_running_loop()
        link = ShimLink(tmp_path)
        silent = asyncio.create_task(link.ask({"op": "never answered"}))
        first, _ = await loop.sock_accept(server)
        assert await loop.sock_recv(first, 1000)
        silent.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await silent
        next_one = asyncio.create_task(link.ask({"op": "answered"}))
        second, _ = await loop.sock_accept(server)
        await loop.sock_recv(second, 1000)
        second.send(json.dumps({"ok": True}).encode())
        assert await asyncio.wait_for(next_one, 5) == {"ok": True}
        first.close()
        second.close()
