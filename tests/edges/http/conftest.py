"""The server, its keys and its directory, for every test of this folder."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop
from http_lab import MAX_BODY, Place, Start, small_core

from mooring.apiserver.contract import Settings
from mooring.edges.http.authn import ServiceAccountTokens
from mooring.edges.http.server import ApiServer
from mooring.edges.http.server_connection import Patience
from mooring.edges.http.sockets import listener
from mooring.edges.http.tls import server_context
from mooring.edges.memory.store import MemoryStore
from mooring.edges.pki import Pki


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The role runs on uvloop; whoever embeds the server may not."""
    return {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def tokens(keys: Pki) -> ServiceAccountTokens:
    return ServiceAccountTokens(keys.service_account_key().read_bytes(), Settings().issuer)


@pytest.fixture
async def start(keys: Pki, tokens: ServiceAccountTokens) -> AsyncIterator[Start]:
    places: list[Place] = []

    async def begin(patience: Patience | None = None, dial: Any = None, handle: Any = small_core, **more: Any) -> Place:
        tls = server_context(keys.server(()).path, keys.authority)
        store = MemoryStore()
        settings = Settings(max_body=MAX_BODY, token_signer=tokens.sign)
        server = ApiServer(handle, store, settings, tls=tls, verify=tokens.verify, dial=dial, patience=patience, **more)
        sock: socket.socket = listener("127.0.0.1", 0)
        await server.start([sock])
        places.append(Place(server, store, keys, keys.admin(), sock.getsockname()))
        return places[-1]

    yield begin
    for place in places:
        await place.server.stop(grace=0)


@pytest.fixture
async def place(start: Start) -> Place:
    return await start()


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path
