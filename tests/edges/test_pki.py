"""Are the cluster's keys made once, kept private, and renewed when they must be?"""

import base64
import ssl
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from cryptography import x509

from mooring.edges import pki as module
from mooring.edges.http.tls import client_context, server_context
from mooring.edges.pki import DamagedKey, Identity, Pki, kubeconfig, write_private


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    return Pki(tmp_path / "pki")


def certificate(identity: Identity) -> x509.Certificate:
    return x509.load_pem_x509_certificate(identity.certificate)


MAKERS: dict[str, Callable[[Pki], Identity]] = {
    "admin": lambda pki: pki.admin(),
    "controllers": lambda pki: pki.controllers(),
    "kubelet client": lambda pki: pki.kubelet_client(),
    "node": lambda pki: pki.node("a", ["172.30.0.11"]),
    "server": lambda pki: pki.server(["10.96.0.1", "fd00:96::1", "api.example"]),
}


@pytest.mark.parametrize(
    ("who", "subject"),
    [
        ("admin", "CN=kubernetes-admin,O=system:masters"),
        ("controllers", "CN=system:kube-controller-manager"),
        ("kubelet client", "CN=kube-apiserver-kubelet-client,O=system:masters"),
        ("node", "CN=system:node:a,O=system:nodes"),
        ("server", "CN=kube-apiserver"),
    ],
)
def test_subjects_are_upstreams(pki: Pki, who: str, subject: str) -> None:
    assert certificate(MAKERS[who](pki)).subject.rfc4514_string() == subject


@pytest.mark.parametrize("who", MAKERS)
def test_an_identity_is_made_once_and_used_again(pki: Pki, tmp_path: Path, who: str) -> None:
    first = MAKERS[who](pki).path.read_bytes()
    assert MAKERS[who](Pki(tmp_path / "pki")).path.read_bytes() == first


@pytest.mark.parametrize("who", MAKERS)
def test_an_identity_is_renewed_near_its_end(pki: Pki, monkeypatch: pytest.MonkeyPatch, who: str) -> None:
    with monkeypatch.context() as soon:
        soon.setattr(module, "LEAF_LIFE", timedelta(days=29))
        old = MAKERS[who](pki).certificate
    new = MAKERS[who](pki)
    assert new.certificate != old
    assert certificate(new).not_valid_after_utc > datetime.now(UTC) + timedelta(days=300)


def test_a_servers_certificate_is_renewed_when_its_names_change(pki: Pki) -> None:
    old = pki.server(["10.96.0.1"]).certificate
    assert pki.server(["10.96.0.1"]).certificate == old
    assert pki.server(["10.96.0.1", "172.30.0.1"]).certificate != old


def test_identities_follow_their_authority(pki: Pki, tmp_path: Path) -> None:
    old = pki.admin().certificate
    (tmp_path / "pki" / "ca.pem").unlink()
    assert Pki(tmp_path / "pki").admin().certificate != old


def test_an_authority_near_its_end_is_renewed_and_what_it_signed_stays_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as soon:
        soon.setattr(module, "AUTHORITY_LIFE", timedelta(days=20))
        old = Pki(tmp_path)
        before, admin = old.authority.read_bytes(), old.admin().certificate
    new = Pki(tmp_path)
    assert new.authority.read_bytes() != before
    assert new.admin().certificate == admin


def test_a_damaged_identity_is_made_anew(pki: Pki) -> None:
    path = pki.admin().path
    path.write_bytes(path.read_bytes()[:300])
    assert certificate(pki.admin()).subject.rfc4514_string() == "CN=kubernetes-admin,O=system:masters"


def test_every_file_is_for_its_owner_only(pki: Pki, tmp_path: Path) -> None:
    for make in MAKERS.values():
        make(pki)
    pki.service_account_key()
    write_private(tmp_path / "pki" / "kubeconfig", "x")
    assert {oct(file.stat().st_mode & 0o777) for file in (tmp_path / "pki").iterdir()} == {"0o600"}
    assert oct((tmp_path / "pki").stat().st_mode & 0o777) == "0o700"


def test_the_service_account_key_stays(pki: Pki, tmp_path: Path) -> None:
    assert pki.service_account_key().read_bytes() == Pki(tmp_path / "pki").service_account_key().read_bytes()


def test_processes_that_start_together_agree(tmp_path: Path) -> None:
    make = (
        "import sys, pathlib\n"
        "from mooring.edges.pki import Pki\n"
        "pki = Pki(pathlib.Path(sys.argv[1]))\n"
        "pki.admin(), pki.service_account_key()"
    )
    processes = [subprocess.Popen([sys.executable, "-c", make, str(tmp_path / "pki")]) for _ in range(4)]
    assert [process.wait(100) for process in processes] == [0] * 4
    pki = Pki(tmp_path / "pki")
    certificate(pki.admin()).verify_directly_issued_by(x509.load_pem_x509_certificate(pki.authority.read_bytes()))


@pytest.mark.parametrize(
    ("names", "asked", "good"),
    [
        (["10.96.0.1"], "10.96.0.1", True),
        (["10.96.0.1"], "kubernetes.default.svc", True),
        (["10.96.0.1"], "10.96.0.2", False),
        (["fd00:96::1"], "fd00:96::1", True),
        ([], "localhost", True),
        ([], "elsewhere.example", False),
    ],
)
def test_clients_believe_the_servers_names_and_no_others(pki: Pki, names: list[str], asked: str, good: bool) -> None:
    server = server_context(pki.server(names).path, pki.authority)
    client = client_context(pki.authority, pki.admin().path)
    assert shake_hands(server, client, asked) == ("kubernetes-admin" if good else None)


def test_a_clients_certificate_cannot_serve(pki: Pki) -> None:
    server = server_context(pki.admin().path, pki.authority)
    assert shake_hands(server, client_context(pki.authority), "localhost") is None


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> str | None:
    """A handshake in memory. Whom the server sees; None when the client does not believe it."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    near = client.wrap_bio(to_client, to_server, server_hostname=name)
    far = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for side in (near, far):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLCertVerificationError:
                return None
    seen = far.getpeercert() or {}
    return next((value for group in seen.get("subject", ()) for key, value in group if key == "commonName"), None)


def test_a_kubeconfig_holds_all_that_a_client_needs(pki: Pki) -> None:
    text = kubeconfig("https://127.0.0.1:6443", pki.authority, pki.admin(), cluster="c", user="u")
    document = yaml.safe_load(text)
    assert document["current-context"] == "c"
    assert document["clusters"][0]["cluster"]["server"] == "https://127.0.0.1:6443"
    user = document["users"][0]["user"]
    assert base64.b64decode(user["client-certificate-data"]) == pki.admin().certificate
    assert base64.b64decode(user["client-key-data"]) == pki.admin().key


@pytest.mark.parametrize("name", ["ca.pem", "sa.key"])
def test_a_damaged_key_that_others_depend_on_is_named_and_kept(tmp_path: Path, name: str) -> None:
    Pki(tmp_path).service_account_key()
    (tmp_path / name).write_bytes(b"half a file")
    with pytest.raises(DamagedKey, match=f"{name} is damaged"):
        Pki(tmp_path).service_account_key()
    assert (tmp_path / name).read_bytes() == b"half a file"
