"""Does `mooring gateway` serve Ingresses, with little permission, through its control process's death and to a clean end?"""

import asyncio
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from mooring.edges.netlink.namespaces import open_socket
from mooring.model.kinds import ENDPOINT_SLICE, INGRESS, INGRESS_CLASS, SERVICE
from mooring.ports.api import Document
from mooring.testing.api_server import real_server
from mooring.testing.netlab import bare_namespace

UNPRIVILEGED = 65532
CLASS = "mooring-gateway"
BACKENDS = {"a": "10.99.0.1", "b": "10.99.0.2"}
PORT, PLAIN, SECURE, READY, HEALTH = 8000, 8080, 8443, 8081, 8082
DEADLINE = 60.0


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that another user may enter."""
    made = Path(tempfile.mkdtemp(prefix="mooring-gateway-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def network() -> Iterator[str]:
    with bare_namespace("gateway") as name:
        for address in BACKENDS.values():
            subprocess.run(["ip", "-n", name, "address", "add", address, "dev", "lo"], check=True)
        yield name


@pytest.fixture
async def session(network: str) -> AsyncIterator[aiohttp.ClientSession]:
    def inside(info: tuple[socket.AddressFamily, socket.SocketKind, int, str, object]) -> socket.socket:
        opened = open_socket(network, info[0], info[1])
        opened.setblocking(False)
        return opened

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(socket_factory=inside)) as opened:
        yield opened


@pytest.fixture
async def backends(network: str) -> AsyncIterator[None]:
    """Each answers with its name."""
    runners = []
    for name, address in BACKENDS.items():

        async def answer(request: web.BaseRequest, name: str = name) -> web.Response:
            return web.Response(text=name)

        opened = open_socket(network, socket.AF_INET, socket.SOCK_STREAM)
        opened.bind((address, PORT))
        runner = web.ServerRunner(web.Server(answer, access_log=None))
        await runner.setup()
        await web.SockSite(runner, opened).start()
        runners.append(runner)
    yield
    for runner in runners:
        await runner.cleanup()


@asynccontextmanager
async def gateway(folder: Path, network: str) -> AsyncIterator["asyncio.subprocess.Process"]:
    """As an image runs it: no root, and one folder to write in."""
    run_dir, kubeconfig = folder / "run", folder / "kubeconfig"
    run_dir.mkdir()
    os.chown(run_dir, UNPRIVILEGED, UNPRIVILEGED)
    shutil.copy(folder / "data" / "kubeconfig.inside", kubeconfig)
    kubeconfig.chmod(0o644)
    options = {
        "--class": CLASS,
        "--kubeconfig": kubeconfig,
        "--run-dir": run_dir,
        "--address": "127.0.0.1",
        "--concurrency": 1,
        "--drain-seconds": 100,
    }
    words = [str(word) for pair in options.items() for word in pair]
    user = ["setpriv", f"--reuid={UNPRIVILEGED}", f"--regid={UNPRIVILEGED}", "--clear-groups", "--no-new-privs"]
    command = ["ip", "netns", "exec", network, *user, "--bounding-set=-all", "--inh-caps=-all"]
    command += [sys.executable, "-m", "mooring.cli.main", "gateway", *words]
    with (folder / "log").open("wb") as log:
        os.chown(log.fileno(), UNPRIVILEGED, UNPRIVILEGED)  # NGINX opens it once more, by its name
        process = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def get(session: aiohttp.ClientSession, port: int, path: str = "/", host: str = "a.example") -> tuple[int, str, str]:
    """Status, body, and what the answer says of the connection."""
    try:
        async with session.get(f"http://127.0.0.1:{port}{path}", headers={"Host": host}) as answer:
            return answer.status, await answer.text(), answer.headers.get("Connection", "")
    except (aiohttp.ClientError, OSError) as error:
        return 0, repr(error), ""


async def until(
    session: aiohttp.ClientSession, port: int, expected: tuple[int, str], path: str = "/", host: str = "a.example"
) -> None:
    end = asyncio.get_running_loop().time() + DEADLINE
    while (got := await get(session, port, path, host))[:2] != expected:
        assert asyncio.get_running_loop().time() < end, f"{port} {path} {host}: {got}, never {expected}"
        await asyncio.sleep(0.01)


async def until_status(session: aiohttp.ClientSession, port: int, expected: int) -> None:
    """What /readyz says."""
    end = asyncio.get_running_loop().time() + DEADLINE
    while (got := await get(session, port, "/readyz"))[0] != expected:
        assert asyncio.get_running_loop().time() < end, f"{port} /readyz: {got}, never {expected}"
        await asyncio.sleep(0.01)


def slice_of(name: str) -> Document:
    return {
        "metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [BACKENDS[name]]}],
        "ports": [{"name": "http", "port": PORT, "protocol": "TCP"}],
    }


def ingress(host: str) -> Document:
    backend = {"service": {"name": "web", "port": {"number": 80}}}
    rule = {"host": host, "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}
    return {"metadata": {"name": host}, "spec": {"ingressClassName": CLASS, "rules": [rule]}}


def children(supervisor: int) -> dict[str, int]:
    """By what they are."""
    found = {}
    for pid in map(int, Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        found["control" if b"mooring.cli.main" in words else "proxy"] = pid
    return found


async def shown(network: str) -> bytes | None:
    """The certificate that is shown for a name nobody has."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    opened = open_socket(network, socket.AF_INET, socket.SOCK_STREAM)
    opened.setblocking(False)
    await asyncio.get_running_loop().sock_connect(opened, ("127.0.0.1", SECURE))
    _, writer = await asyncio.open_connection(sock=opened, ssl=context, server_hostname="nobody.example")
    found: ssl.SSLObject = writer.get_extra_info("ssl_object")
    writer.close()
    return found.getpeercert(binary_form=True)


@pytest.mark.root
@pytest.mark.parametrize("proxy", ["envoy", "nginx"])
async def test_a_gateway_from_its_start_to_its_end(
    folder: Path, network: str, backends: None, session: aiohttp.ClientSession, proxy: str
) -> None:
    async with real_server(folder / "data", network) as api, gateway(folder, network) as process:
        of_class = {"metadata": {"name": CLASS}, "spec": {"controller": f"mooring.dev/{proxy}"}}
        await api.write("create", INGRESS_CLASS, "", CLASS, of_class)
        ports = [{"name": "http", "port": 80, "targetPort": PORT}]
        await api.write("create", SERVICE, "default", "web", {"metadata": {"name": "web"}, "spec": {"ports": ports}})
        await api.write("create", ENDPOINT_SLICE, "default", "web-1", slice_of("a"))
        await api.write("create", INGRESS, "default", "a.example", ingress("a.example"))
        await until(session, PLAIN, (200, "a"))
        await until_status(session, READY, 200)
        await until_status(session, HEALTH, 200)
        assert "mooring_gateway_routes" in (await get(session, HEALTH, "/metrics"))[1]
        certificate = await shown(network)
        await api.write("patch", ENDPOINT_SLICE, "default", "web-1", {"endpoints": slice_of("b")["endpoints"]})
        await until(session, PLAIN, (200, "b"))

        # Control is killed: what is there goes on, and it comes back with what has changed meanwhile.
        family = children(process.pid)
        os.kill(family["control"], signal.SIGKILL)
        await api.write("create", INGRESS, "default", "b.example", ingress("b.example"))
        for _ in range(20):
            assert (200, "b") == (await get(session, PLAIN))[:2]
        await until(session, PLAIN, (200, "b"), host="b.example")
        assert family["proxy"] == children(process.pid)["proxy"]
        assert certificate == await shown(network)

        # SIGTERM: not ready, clients are asked to leave, still served; it ends when they have left.
        process.terminate()
        await until_status(session, READY, 503)
        assert (200, "b", "close") == await get(session, PLAIN)
        await session.close()
        async with asyncio.timeout(DEADLINE):
            assert 0 == await process.wait()
