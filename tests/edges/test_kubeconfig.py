"""Which server and who we are, from a file or from inside a pod."""

import base64
from pathlib import Path
from typing import Any

import pytest
import yaml

from mooring.edges.http.kubeconfig import KubeconfigError, in_cluster, load
from mooring.edges.pki import Pki


def config(**changes: Any) -> dict[str, Any]:
    return {
        "current-context": "main",
        "contexts": [
            {"name": "main", "context": {"cluster": "c", "user": "u", "namespace": "shop"}},
            {"name": "other", "context": {"cluster": "c2", "user": "u2"}},
        ],
        "clusters": [
            {"name": "c", "cluster": {"server": "https://127.0.0.1:6443/", "tls-server-name": "kubernetes"}},
            {"name": "c2", "cluster": {"server": "https://[::1]:6443", "insecure-skip-tls-verify": True}},
        ],
        "users": [{"name": "u", "user": {"token": "t"}}, {"name": "u2", "user": {"tokenFile": "token"}}],
        **changes,
    }


def written(tmp_path: Path, document: Any) -> Path:
    file = tmp_path / "config"
    file.write_text(document if isinstance(document, str) else yaml.safe_dump(document))
    return file


def test_the_current_context_is_taken(tmp_path: Path) -> None:
    access = load(written(tmp_path, config()))
    assert (access.server, access.server_name, access.token, access.namespace) == (
        "https://127.0.0.1:6443",
        "kubernetes",
        "t",
        "shop",
    )


def test_another_context_can_be_asked_for_and_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    access = load(written(tmp_path, config()), "other")
    assert (access.server, access.insecure, access.token_file) == ("https://[::1]:6443", True, str(tmp_path / "token"))


def test_inline_data_and_files_both_carry_certificates(tmp_path: Path) -> None:
    pki = Pki(tmp_path / "pki")
    identity = pki.admin()
    authority = pki.authority.read_bytes()
    inline = {
        "client-certificate-data": base64.b64encode(identity.certificate).decode(),
        "client-key-data": base64.b64encode(identity.key).decode(),
    }
    (tmp_path / "ca.pem").write_bytes(authority)
    document = config(
        clusters=[{"name": "c", "cluster": {"server": "https://127.0.0.1", "certificate-authority": "ca.pem"}}],
        users=[{"name": "u", "user": inline}],
    )
    access = load(written(tmp_path, document))
    assert (access.authority, access.certificate, access.key) == (authority, identity.certificate, identity.key)
    assert access.tls().get_ca_certs()


@pytest.mark.parametrize(
    ("document", "message"),
    [
        pytest.param("a: [", "is not YAML", id="broken YAML"),
        pytest.param("just text", "is not a kubeconfig", id="something else"),
        pytest.param(config(**{"current-context": "none"}), "has no context named 'none'", id="no such context"),
        pytest.param(config(clusters=[]), "has no cluster named 'c'", id="no such cluster"),
        pytest.param(config(users=[]), "has no user named 'u'", id="no such user"),
        pytest.param(config(users=[{"name": "u", "user": {"exec": {"command": "x"}}}]), "needs 'exec'", id="an exec plugin"),
        pytest.param(
            config(users=[{"name": "u", "user": {"client-key-data": "!"}}]), "client-key", id="data that is not base64"
        ),
        pytest.param(
            config(users=[{"name": "u", "user": {"client-key": "gone"}}]), "client-key", id="a file that is not there"
        ),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, document: Any, message: str) -> None:
    with pytest.raises(KubeconfigError, match=message):
        load(written(tmp_path, document))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(KubeconfigError, match="No such file"):
        load(tmp_path / "gone")


def test_a_certificate_that_is_none_is_named(tmp_path: Path) -> None:
    data = base64.b64encode(b"nonsense").decode()
    user = {"client-certificate-data": data, "client-key-data": data}
    with pytest.raises(KubeconfigError, match="cannot be used"):
        load(written(tmp_path, config(users=[{"name": "u", "user": user}]))).tls()


def test_in_a_pod_the_service_account_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00:96::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    (tmp_path / "token").write_text("t")
    (tmp_path / "ca.crt").write_text("ca")
    (tmp_path / "namespace").write_text("shop\n")
    access = in_cluster(tmp_path)
    assert (access.server, access.authority, access.token_file, access.namespace) == (
        "https://[fd00:96::1]:443",
        b"ca",
        str(tmp_path / "token"),
        "shop",
    )


def test_a_pod_whose_authority_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    (tmp_path / "token").write_text("t")
    with pytest.raises(KubeconfigError, match=r"ca.crt"):
        in_cluster(tmp_path)


def test_outside_of_a_pod_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(KubeconfigError, match="not inside a pod"):
        in_cluster(tmp_path)
