"""Is everything exchanged on a real API server, under clients that go on asking and watching, without one refusal?"""

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest

from mooring.apiserver.contract import Settings
from mooring.app import key_rotation
from mooring.app.connection import Connection
from mooring.app.files import Files
from mooring.app.roles.controllers import follow_authority
from mooring.cli.main import run
from mooring.control.reconcilers.root_ca import RootCa
from mooring.edges import certificates
from mooring.edges.http import kubeconfig, renewal
from mooring.edges.http.client import ApiClient
from mooring.edges.pki import ADMIN, Identity, Pki, Stage, write_private
from mooring.edges.pki import kubeconfig as kubeconfig_text
from mooring.model.kinds import CONFIG_MAP, NAMESPACE, SERVICE_ACCOUNT, TOKEN_REVIEW
from mooring.testing.api_server import real_server

DEADLINE = 60.0
ISSUER = Settings().issuer


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are looked at often; how often makes no other difference."""
    monkeypatch.setattr("mooring.edges.http.client.LOOK_AGAIN", 0.02)
    monkeypatch.setattr(renewal, "LOOK_AGAIN", 0.02)


class Cluster:
    """A server, its directory, and the kubeconfigs that `mooring up` would write."""

    def __init__(self, root: Path, server: str, api: ApiClient) -> None:
        self.files, self.server, self.api = Files(root), server, api
        self.pki = Pki(self.files.pki)
        self.write_kubeconfigs()

    def write_kubeconfigs(self) -> None:
        for identity, path in ((self.pki.admin(), self.files.kubeconfig), (self.pki.controllers(), self.controllers)):
            write_private(path, kubeconfig_text(self.server, self.pki.authority, identity))

    @property
    def controllers(self) -> Path:
        return self.files.role_kubeconfig("controllers")

    def shown(self) -> bytes:
        """The certificate that the server shows to who connects now."""
        host, port = self.server.removeprefix("https://").rsplit(":", 1)
        return ssl.get_server_certificate((host, int(port)), timeout=DEADLINE).encode()

    async def shows(self, wanted: Callable[[bytes], bool]) -> None:
        async with asyncio.timeout(DEADLINE):
            while not wanted(await asyncio.to_thread(self.shown)):
                await asyncio.sleep(0.02)


@pytest.fixture
async def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Cluster]:
    async with real_server(tmp_path) as api:
        made = Cluster(tmp_path, api.access.server, api)
        monkeypatch.setattr(key_rotation, "_write_kubeconfigs", lambda files: made.write_kubeconfigs())
        yield made


class Busy:
    """A client that asks and watches all the time. `failures` stays empty or the test fails."""

    def __init__(self, api: ApiClient, name: str) -> None:
        self.api, self.name = api, name
        self.failures: list[str] = []
        self.written, self.seen = 0, 0

    async def run(self) -> None:
        watching = asyncio.create_task(self.watch())
        try:
            while True:
                try:
                    await self.api.write(
                        "patch", CONFIG_MAP, "default", self.name, {"data": {"n": str(self.written + 1)}},
                        patch_type="application/merge-patch+json",
                    )  # fmt: skip
                    self.written += 1
                except Exception as error:
                    self.failures.append(repr(error))
                await asyncio.sleep(0.005)
        finally:
            watching.cancel()

    async def watch(self) -> None:
        listed = await self.api.list(CONFIG_MAP, "default")
        revision = listed.resource_version
        async for event in self.api.watch(CONFIG_MAP, revision, "default"):
            if event.object["metadata"]["name"] == self.name:
                self.seen = int(event.object["data"]["n"])
        self.failures.append("the watch ended")

    async def goes_on(self, more: int = 5) -> None:
        """Waits until it has written some more, and seen that."""
        goal = self.written + more
        async with asyncio.timeout(DEADLINE):
            while self.seen < goal and not self.failures:
                await asyncio.sleep(0.01)
        assert self.failures == []


@asynccontextmanager
async def busy(cluster: Cluster) -> AsyncIterator[list[Busy]]:
    """An administrator and the controllers, each by its kubeconfig."""
    async with (
        ApiClient(kubeconfig.load(cluster.files.kubeconfig)) as admin,
        ApiClient(kubeconfig.load(cluster.controllers)) as controllers,
    ):
        clients = [Busy(admin, "admin"), Busy(controllers, "controllers")]
        for each in clients:
            document = {"metadata": {"name": each.name, "namespace": "default"}, "data": {"n": "0"}}
            await cluster.api.write("create", CONFIG_MAP, "default", each.name, document)
        running = [asyncio.create_task(each.run()) for each in clients]
        try:
            for each in clients:
                await each.goes_on()
            yield clients
        finally:
            for task in running:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task


async def all_go_on(clients: list[Busy]) -> None:
    await asyncio.gather(*(each.goes_on() for each in clients))


async def all_follow(clients: list[Busy], cluster: Cluster) -> None:
    """Waits until everybody goes by the files that are there now: the pause of `mooring certs rotate-authority`."""
    served = Identity(cluster.files.pki / "apiserver.pem").certificate
    await cluster.shows(lambda now: now.strip() == served.strip())
    if cluster.pki.stage is Stage.INTRODUCED:
        await answers(cluster, signed_by_the_next(cluster))
    async with asyncio.timeout(DEADLINE):
        for client in clients:
            while client.api.access.renewed() is not client.api.access:
                await asyncio.sleep(0.01)


def signed_by_the_next(cluster: Cluster) -> kubeconfig.Access:
    """An administrator by the authority that is trusted, but signs nothing yet."""
    key = certificates.new_key()
    pem = certificates.signed((cluster.files.pki / "ca.next.pem").read_bytes(), key, ADMIN, timedelta(days=1))
    return kubeconfig.Access(cluster.server, b"", pem, certificates.key_pem(key))


async def answers(cluster: Cluster, access: kubeconfig.Access, good: bool = True) -> None:
    """Waits until the server lets the holder of a certificate in; or no more."""
    context = ssl.create_default_context(cafile=cluster.pki.authority)
    kubeconfig.load_pair(context, access.certificate, access.key)

    def let_in() -> bool:
        with suppress(OSError):
            return knock(cluster.server, context).startswith(b"HTTP/1.1 200")
        return False

    async with asyncio.timeout(DEADLINE):
        while await asyncio.to_thread(let_in) is not good:
            await asyncio.sleep(0.02)


async def test_everything_is_exchanged_while_clients_ask_and_watch(cluster: Cluster) -> None:
    first, old = cluster.pki.authority.read_bytes(), kubeconfig.load(cluster.files.kubeconfig)
    admin, server = cluster.pki.admin().certificate, await asyncio.to_thread(cluster.shown)
    host, port = cluster.server.removeprefix("https://").rsplit(":", 1)
    standing, writer = await asyncio.open_connection(host, int(port), ssl=old.tls(), server_hostname=host)
    async with busy(cluster) as clients:
        # leaves
        assert await asyncio.to_thread(key_rotation.renew, cluster.files, ()) == [
            "admin", "apiserver", "apiserver-kubelet-client", "controllers"
        ]  # fmt: skip
        await cluster.shows(lambda now: now != server)
        await all_go_on(clients)
        assert cluster.pki.admin().certificate != admin
        # the authority, step by step
        for stage in (Stage.INTRODUCED, Stage.CHANGED, Stage.SETTLED):
            await asyncio.to_thread(key_rotation.rotate_authority, cluster.files, 0.0, True, lambda text: None)
            assert cluster.pki.stage is stage
            await all_follow(clients, cluster)
            await all_go_on(clients)
        # the key of tokens
        await asyncio.to_thread(key_rotation.renew_service_account_key, cluster.files, False)
        await all_go_on(clients)
    # The old authority is nobody's any more. A connection that it vouched for ends.
    # Who trusts it alone does not believe the server, whom it signed is not let in.
    assert first not in cluster.pki.authority.read_bytes()
    async with asyncio.timeout(DEADLINE):
        assert b"" == await standing.read()
    writer.close()
    with pytest.raises(ssl.SSLCertVerificationError):
        await asyncio.to_thread(knock, cluster.server, old.tls())
    await answers(cluster, old, good=False)
    await answers(cluster, kubeconfig.load(cluster.files.kubeconfig))


def knock(server: str, context: ssl.SSLContext) -> bytes:
    """One request over a connection of its own."""
    host, port = server.removeprefix("https://").rsplit(":", 1)
    with (
        socket.create_connection((host, int(port)), timeout=DEADLINE) as plain,
        context.wrap_socket(plain, server_hostname=host) as connection,
    ):
        connection.sendall(b"GET /api/v1/namespaces HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        return connection.recv(65536)


async def test_tokens_of_the_key_before_stay_good_until_they_are_to_end(cluster: Cluster) -> None:
    await cluster.api.write("create", SERVICE_ACCOUNT, "default", "web", {"metadata": {"name": "web"}})
    old = await token(cluster)
    await asyncio.to_thread(key_rotation.renew_service_account_key, cluster.files, False)
    async with asyncio.timeout(DEADLINE):
        while kid(new := await token(cluster)) == kid(old):
            await asyncio.sleep(0.02)
    assert await who(cluster, old) == await who(cluster, new) == "system:serviceaccount:default:web"
    keys = await key_set(cluster)
    assert [key["kid"] for key in keys["keys"]] == [kid(new), kid(old)]
    for each in (old, new):
        verified(each, keys)
    await asyncio.to_thread(key_rotation.renew_service_account_key, cluster.files, True)
    async with asyncio.timeout(DEADLINE):
        while await who(cluster, old):
            await asyncio.sleep(0.02)
    assert await who(cluster, new) == "system:serviceaccount:default:web"
    assert [key["kid"] for key in (await key_set(cluster))["keys"]] == [kid(new)]


def kid(token: str) -> str:
    found: str = jwt.get_unverified_header(token)["kid"]
    return found


def verified(token: str, keys: dict[str, Any]) -> dict[str, Any]:
    """By the key set alone, as somebody outside of the cluster does it. Raises jwt.InvalidTokenError."""
    key = jwt.PyJWKSet.from_dict(keys)[kid(token)]
    claims: dict[str, Any] = jwt.decode(token, key, [key.algorithm_name], audience=ISSUER, issuer=ISSUER)
    return claims


async def token(cluster: Cluster, account: str = "web", **spec: Any) -> str:
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "metadata": {}, "spec": spec}
    made = await cluster.api.write("create", SERVICE_ACCOUNT, "default", account, body, subresource="token")
    text: str = made["status"]["token"]
    return text


async def review(cluster: Cluster, token: str, *audiences: str) -> dict[str, Any]:
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token, "audiences": audiences}}
    status: dict[str, Any] = (await cluster.api.write("create", TOKEN_REVIEW, "", "", body))["status"]
    return status


async def who(cluster: Cluster, token: str) -> str:
    status = await review(cluster, token)
    return status["user"]["username"] if status.get("authenticated") else ""


async def get(cluster: Cluster, path: str) -> dict[str, Any]:
    connection = Connection(kubeconfig.load(cluster.files.kubeconfig))
    try:
        return await asyncio.to_thread(connection.get, path)
    finally:
        connection.close()


async def key_set(cluster: Cluster) -> dict[str, Any]:
    return await get(cluster, "/openid/v1/jwks")


# Whom pods are told to trust, and the command


async def test_the_config_maps_follow_the_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mooring.app.roles.controllers.LOOK_AGAIN", 0.01)
    pki, file, told = Pki(tmp_path / "pki"), tmp_path / "kubeconfig", asyncio.Event()

    def write() -> None:
        write_private(file, kubeconfig_text("https://127.0.0.1", pki.authority, pki.controllers()))

    write()
    publisher, names = RootCa(pki.authority.read_text()), []

    def look_again(name: str) -> None:
        names.append(name)
        told.set()

    following = asyncio.create_task(follow_authority(kubeconfig.load(file), publisher, look_again))
    pki.renew("controllers")
    write()  # another certificate, the same bundle: nothing to tell
    pki.introduce()
    write()
    async with asyncio.timeout(DEADLINE):
        await told.wait()
    following.cancel()
    assert (publisher.ca, names) == (pki.authority.read_text(), [publisher.name])


async def test_who_is_not_told_yet_is_named_unless_it_is_going(cluster: Cluster) -> None:
    bundle = {"metadata": {"name": "kube-root-ca.crt"}, "data": {"ca.crt": "old"}}
    going = {"metadata": {"name": "going"}}
    await cluster.api.write("create", NAMESPACE, "", "going", going)
    for namespace in ("default", "going"):
        await cluster.api.write("create", CONFIG_MAP, namespace, "kube-root-ca.crt", bundle)
    await cluster.api.write("delete", NAMESPACE, "", "going")

    def missing(wanted: str) -> list[str]:
        return list(key_rotation.lacking(Connection(kubeconfig.load(cluster.files.kubeconfig)), wanted))

    said = "ConfigMap kube-root-ca.crt of namespace default is an older one"
    assert await asyncio.to_thread(missing, "new") == [said]
    assert await asyncio.to_thread(missing, "old") == []


def certs(capsys: pytest.CaptureFixture[str], root: Path, *words: str) -> tuple[int, str]:
    """`mooring certs ...`: its exit code, and what it wrote."""
    code = run(["certs", *words, "--data-dir", str(root)])
    written = capsys.readouterr()
    return code, written.out + written.err


def test_certificates_are_shown_and_renewed_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pki = Pki(tmp_path / "pki")
    pki.server(["10.96.0.1"])
    node = pki.node("node-1", ["172.30.0.11"])
    before = node.certificate
    code, shown = certs(capsys, tmp_path, "check")
    rows = [line.split() for line in shown.splitlines()]
    assert (code, [row[0] for row in rows[:4]]) == (0, ["NAME", "ca", "apiserver", "node-node-1"])
    assert rows[3][1:2] + rows[3][3:5] == ["CN=system:node:node-1,O=system:nodes", "364", "current"]
    assert certs(capsys, tmp_path, "renew", "node-node-1") == (0, "node-node-1 renewed\n")
    assert node.certificate != before
    code, said = certs(capsys, tmp_path, "renew", "nobody", "node-node-1")
    assert (code, said) == (1, "mooring: there is no certificate 'nobody'; there are apiserver, node-node-1\n")
    node.path.write_bytes(b"half a file")
    code, shown = certs(capsys, tmp_path)
    assert (code, "damaged" in shown) == (1, True)


def test_a_certificate_near_its_end_is_told_by_the_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as soon:
        soon.setattr("mooring.edges.pki.LEAF_LIFE", timedelta(days=29, minutes=5))
        Pki(tmp_path / "pki").admin()
    code, shown = certs(capsys, tmp_path, "check", "-o", "json")
    assert (code, [each["name"] for each in json.loads(shown)]) == (1, ["ca", "admin"])


def test_an_authority_is_rotated_at_once_where_nothing_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pki, admin = Pki(tmp_path / "pki"), Pki(tmp_path / "pki").admin()
    (tmp_path / "settings.yaml").write_text("{}")
    old = pki.authority.read_bytes()
    code, said = certs(capsys, tmp_path, "rotate-authority")  # a pause of 30 s would be noticed
    assert (code, [line[:3] for line in said.splitlines()]) == (0, ["1/3", "2/3", "3/3"])
    assert pki.authority.read_bytes() != old
    assert [each.current for each in pki.found()] == [True, True]
    assert pki.admin().certificate == admin.certificate


def test_a_rotation_goes_on_where_it_was(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Pki(tmp_path / "pki").admin()
    for step in ("1/3", "2/3", "3/3", "1/3"):
        code, said = certs(capsys, tmp_path, "rotate-authority", "--next-step")
        assert (code, said[:3], len(said.splitlines())) == (0, step, 1)
    code, said = certs(capsys, tmp_path, "rotate-authority", "--pause", "0")
    assert (code, [line[:3] for line in said.splitlines()]) == (0, ["2/3", "3/3"])


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("check", "admin"), 2, "`certs check` takes no names"),
        (("polish",), 2, "'polish' is not one of"),
        (("rotate-authority", "--pause", "-1"), 2, "--pause"),
    ],
)
def test_what_makes_no_sense_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], code: int, said: str
) -> None:
    Pki(tmp_path / "pki")
    answered = certs(capsys, tmp_path, *words)
    assert answered[0] == code
    assert said in answered[1]


def test_a_directory_without_keys_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = certs(capsys, tmp_path, "check")
    assert (code, said) == (1, f"mooring: no keys in {tmp_path / 'pki'}; `mooring up` makes them\n")
    assert list(tmp_path.iterdir()) == []
