"""Who may do what, as people set it up and ask it: kubectl auth, roles, users by certificates and by tokens."""

import base64
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from kubectl_command import Kubectl, eventually

pytestmark = [pytest.mark.root, pytest.mark.cluster]

SECRET = "s3cr3t"


@pytest.fixture(scope="module")
def admin(stock: Kubectl) -> Iterator[Kubectl]:
    stock("create", "secret", "generic", "credentials", f"--from-literal=password={SECRET}")
    stock("create", "serviceaccount", "robot")
    for role in ("view", "edit", "admin"):
        stock("create", "rolebinding", role, f"--clusterrole={role}", f"--user={role}er")
    # Their rules are gathered by the controllers, those of `admin` last.
    eventually(lambda: may(stock, "list", "services", "--as=adminer"), bool)
    yield stock
    stock("delete", "clusterrole,clusterrolebinding", "-l", "test=access")


def may(kubectl: Kubectl, *words: str) -> bool:
    """What `kubectl auth can-i` answers: by its word, and by its exit code."""
    done = kubectl.run("auth", "can-i", *words, check=False)
    answer = done.stdout.strip().splitlines()[-1]
    assert (answer, done.returncode) in (("yes", 0), ("no", 1)), done
    return answer == "yes"


@pytest.mark.parametrize(
    ("user", "can", "cannot"),
    [
        ("viewer", "list services", "get secrets|create pods"),
        ("editer", "create pods/exec", "create rolebindings"),
        ("adminer", "create rolebindings", "get nodes"),
        ("nobody", "create selfsubjectaccessreviews.authorization.k8s.io", "list namespaces"),
    ],
)
def test_the_roles_for_people_are_as_everywhere(admin: Kubectl, user: str, can: str, cannot: str) -> None:
    assert [words for words in can.split("|") if not may(admin, *words.split(), f"--as={user}")] == []
    assert [words for words in cannot.split("|") if may(admin, *words.split(), f"--as={user}")] == []


def test_what_one_may_do_is_listed(admin: Kubectl) -> None:
    listed = admin("auth", "can-i", "--list", "--as=viewer")
    assert "services" in listed
    assert "selfsubjectreviews.authentication.k8s.io" in listed
    assert "secrets" not in listed


def test_other_namespaces_are_others(admin: Kubectl) -> None:
    assert admin.refused("get", "secrets", "--all-namespaces", "--as=adminer") == (
        'Error from server (Forbidden): secrets is forbidden: User "adminer" cannot list resource "secrets" in API group "" '
        "at the cluster scope\n"
    )


def test_who_am_i(admin: Kubectl) -> None:
    assert admin.json("auth", "whoami")["status"]["userInfo"]["username"] == "kubernetes-admin"
    other = admin.json("auth", "whoami", "--as=ada", "--as-group=devs", "--as-uid=7")
    info = other["status"]["userInfo"]
    assert info == {"username": "ada", "uid": "7", "groups": ["devs", "system:authenticated"]}


def test_groups_have_rights_and_only_who_may_impersonates(admin: Kubectl) -> None:
    admin("create", "role", "reader", "--verb=get,list", "--resource=configmaps", "--resource-name=settings")
    admin("create", "rolebinding", "readers", "--role=reader", "--group=readers")
    assert may(admin, "get", "configmaps/settings", "--as=ada", "--as-group=readers")
    assert not may(admin, "get", "configmaps/other", "--as=ada", "--as-group=readers")
    assert not may(admin, "get", "configmaps/settings", "--as=ada")


def test_an_aggregated_role_is_filled_by_the_controller(admin: Kubectl) -> None:
    label = f"aggregate-to-{admin.namespace}=true"
    names = [f"{admin.namespace}-{each}" for each in ("whole", "part")]
    admin("create", "clusterrole", names[0], f"--aggregation-rule={label}")
    admin("create", "clusterrole", names[1], "--verb=get", "--resource=nodes")
    admin("label", "clusterrole", names[1], label)
    admin("label", "clusterrole", *names, "test=access")
    admin("create", "clusterrolebinding", names[0], f"--clusterrole={names[0]}", "--user=operator")
    admin("label", "clusterrolebinding", names[0], "test=access")
    eventually(lambda: may(admin, "get", "nodes", "--as=operator"), bool)
    admin("label", "clusterrole", names[1], f"{label.removesuffix('=true')}-")
    eventually(lambda: may(admin, "get", "nodes", "--as=operator"), lambda allowed: not allowed)


def test_no_one_gives_more_than_they_have(admin: Kubectl) -> None:
    words = ("create", "clusterrolebinding", f"{admin.namespace}-own", "--clusterrole=cluster-admin", "--user=adminer")
    assert "clusterrolebindings.rbac.authorization.k8s.io is forbidden" in admin.refused(*words, "--as=adminer")
    words = ("create", "rolebinding", "more", "--clusterrole=cluster-admin", "--user=adminer")
    assert "is attempting to grant RBAC permissions not currently held" in admin.refused(*words, "--as=adminer")
    admin("create", "rolebinding", "less", "--clusterrole=view", "--user=guest", "--as=adminer")
    assert may(admin, "get", "pods", "--as=guest")


# Users by certificates and by tokens ---------------------------------------------------------------------------------


class User(Kubectl):
    """The same kubectl with a kubeconfig of a user's own."""

    def __init__(self, admin: Kubectl, kubeconfig: Path) -> None:
        self.binary, self.namespace, self.minor = admin.binary, admin.namespace, admin.minor
        self.environment = {**admin.environment, "KUBECONFIG": str(kubeconfig)}


def user(admin: Kubectl, folder: Path, **credentials: str | Path) -> User:
    config = yaml.safe_load(Path(admin.environment["KUBECONFIG"]).read_text())
    config["users"][0]["user"] = {name.replace("_", "-"): str(value) for name, value in credentials.items()}
    file = folder / "user.kubeconfig"
    file.write_text(yaml.safe_dump(config))
    return User(admin, file)


def openssl(*words: str | Path) -> None:
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)


def test_a_user_by_a_certificate_that_the_authority_signed(admin: Kubectl, tmp_path: Path) -> None:
    authority = Path(admin.environment["KUBECONFIG"]).with_name("pki") / "ca.pem"
    key, request, certificate = (tmp_path / name for name in ("me.key", "me.csr", "me.crt"))
    openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key)
    openssl("req", "-new", "-key", key, "-subj", "/O=guests/O=readers/CN=viewer", "-out", request)
    openssl(
        "x509",
        "-req",
        "-in",
        request,
        "-CA",
        authority,
        "-CAkey",
        authority,
        "-set_serial",
        "77",
        "-days",
        "1",
        "-out",
        certificate,
    )
    viewer = user(admin, tmp_path, client_certificate=certificate, client_key=key)
    info = viewer.json("auth", "whoami")["status"]["userInfo"]
    assert (info["username"], info["groups"]) == ("viewer", ["guests", "readers", "system:authenticated"])
    accounts = ["serviceaccount/default", "serviceaccount/robot"]  # the first is the controllers'
    eventually(lambda: viewer("get", "serviceaccounts", "-o", "name").split(), lambda names: names == accounts)
    refused = viewer.refused("describe", "secret", "credentials")
    assert 'User "viewer" cannot get resource "secrets"' in refused
    assert SECRET not in refused
    assert 'cannot create resource "configmaps"' in viewer.refused("create", "configmap", "mine")
    assert "cannot impersonate" in viewer.refused("get", "secrets", "--as=editer")


def test_a_certificate_that_the_authority_did_not_sign_is_nobodys(admin: Kubectl, tmp_path: Path) -> None:
    key, certificate = tmp_path / "me.key", tmp_path / "me.crt"
    openssl(
        "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, "-subj", "/O=system:masters/CN=me"
    )
    me = user(admin, tmp_path, client_certificate=certificate, client_key=key)
    assert "Unable to connect to the server: " in me.refused("get", "--raw", "/version")


def test_a_token_of_a_service_account(admin: Kubectl, tmp_path: Path) -> None:
    robot = user(admin, tmp_path, token=admin("create", "token", "robot", "--duration=15m").strip())
    name = f"system:serviceaccount:{admin.namespace}:robot"
    assert robot.json("auth", "whoami")["status"]["userInfo"]["username"] == name
    assert f'User "{name}" cannot list resource "pods"' in robot.refused("get", "pods")
    admin("create", "rolebinding", "robot", "--clusterrole=view", f"--serviceaccount={admin.namespace}:robot")
    assert robot("get", "pods") == ""


@pytest.mark.parametrize(
    ("options", "claim"),
    [
        (("--bound-object-kind=Secret", "--bound-object-name=credentials"), "secret"),
        (("--bound-object-kind=Node", "--bound-object-name=node-1"), "node"),
    ],
)
def test_a_token_that_is_bound(admin: Kubectl, tmp_path: Path, options: tuple[str, ...], claim: str) -> None:
    token = admin("create", "token", "robot", *options).strip()
    payload = token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    assert claims["kubernetes.io"][claim]["name"] == options[1].removeprefix("--bound-object-name=")
    robot = user(admin, tmp_path, token=token)
    assert robot.json("auth", "whoami")["status"]["userInfo"]["username"].endswith(":robot")


def test_a_token_goes_with_its_secret(admin: Kubectl, tmp_path: Path) -> None:
    admin("create", "secret", "generic", "short")
    words = ("--bound-object-kind=Secret", "--bound-object-name=short")
    robot = user(admin, tmp_path, token=admin("create", "token", "robot", *words).strip())
    robot("auth", "whoami")
    admin("delete", "secret", "short")
    assert "You must be logged in to the server" in robot.refused("auth", "whoami")
    assert 'secrets "short" not found' in admin.refused("create", "token", "robot", *words)


def test_a_token_for_others_is_none_for_the_server(admin: Kubectl, tmp_path: Path) -> None:
    token = admin("create", "token", "robot", "--audience=vault").strip()
    robot = user(admin, tmp_path, token=token)
    assert "You must be logged in to the server" in robot.refused("get", "pods")
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token, "audiences": ["vault"]}}
    status = json.loads(admin("create", "-o", "json", "-f", "-", stdin=json.dumps(review)))["status"]
    assert (status["authenticated"], status["audiences"]) == (True, ["vault"])


def test_the_issuer_is_found(admin: Kubectl) -> None:
    about = json.loads(admin("get", "--raw", "/.well-known/openid-configuration"))
    keys = json.loads(admin("get", "--raw", "/openid/v1/jwks"))["keys"]
    assert about["jwks_uri"] == about["issuer"] + "/openid/v1/jwks"
    assert [key["alg"] for key in keys] == about["id_token_signing_alg_values_supported"]
