"""Which server, and who are we? From a kubeconfig file or from inside a pod.

Format: https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/. Exec plugins and auth providers are refused by name.
"""

import base64
import os
import ssl
import tempfile
from pathlib import Path
from typing import Any

import yaml
from msgspec import Struct

from mooring.edges.http.stamp import Stamp, stamp

IN_CLUSTER = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class KubeconfigError(Exception):
    """The file cannot be used; the message says why, for a person to read."""


class Access(Struct, frozen=True):
    """All that a client needs to know. PEM texts are bytes, empty when absent; `token_file` is read anew when it changes."""

    server: str
    authority: bytes = b""
    certificate: bytes = b""
    key: bytes = b""
    token: str = ""
    token_file: str = ""
    server_name: str = ""
    insecure: bool = False
    namespace: str = "default"
    origin: tuple[Path, str] | None = None
    """Where this was read: a kubeconfig and its context, or a service account's directory."""
    stamps: tuple[Stamp, ...] = ()

    def renewed(self) -> "Access":
        """This one, or another one when the files have changed. Raises KubeconfigError when they are no good any more."""
        if self.origin is None or all(stamp(each.path) == each for each in self.stamps):
            return self
        place, context = self.origin
        return in_cluster(place) if place.is_dir() else load(place, context)

    def tls(self) -> ssl.SSLContext:
        """Raises KubeconfigError when a certificate or key is no good."""
        try:
            context = ssl.create_default_context(cadata=self.authority.decode() or None)
            if self.certificate:
                load_pair(context, self.certificate, self.key)
        except (ssl.SSLError, ValueError) as error:
            raise KubeconfigError(f"the certificates for {self.server} cannot be used: {error}") from error
        if self.insecure:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context


def load(path: str | Path, context: str = "") -> Access:
    """The access that a kubeconfig's context describes, its current one by default. Raises KubeconfigError."""
    file = Path(path)
    whole = stamp(file)
    try:
        config = yaml.load(file.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except OSError as error:
        raise KubeconfigError(f"{file}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise KubeconfigError(f"{file} is not YAML: {error}") from error
    if not isinstance(config, dict):
        raise KubeconfigError(f"{file} is not a kubeconfig")
    name = context or config.get("current-context") or ""
    chosen = named(file, config, "contexts", "context", name)
    cluster = named(file, config, "clusters", "cluster", chosen.get("cluster", ""))
    user = named(file, config, "users", "user", chosen["user"]) if chosen.get("user") else {}
    for foreign in ("exec", "auth-provider"):
        if user.get(foreign):
            raise KubeconfigError(f"{file}: user {chosen['user']!r} needs {foreign!r}, which is not supported")
    stamps = [
        whole,
        *named_files(file, cluster, "certificate-authority"),
        *named_files(file, user, "client-certificate", "client-key"),
    ]
    if not cluster.get("server"):
        raise KubeconfigError(f"{file}: cluster {chosen.get('cluster')!r} has no server")
    return Access(
        server=cluster["server"].rstrip("/"),
        authority=material(file, cluster, "certificate-authority"),
        certificate=material(file, user, "client-certificate"),
        key=material(file, user, "client-key"),
        token=user.get("token") or "",
        token_file=str(file.parent / user["tokenFile"]) if user.get("tokenFile") else "",
        server_name=cluster.get("tls-server-name") or "",
        insecure=bool(cluster.get("insecure-skip-tls-verify")),
        namespace=chosen.get("namespace") or "default",
        origin=(file, context),
        stamps=tuple(stamps),
    )


def in_cluster(root: Path = IN_CLUSTER) -> Access:
    """The access that every pod has by its service account. Raises KubeconfigError outside of one."""
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT")
    if not host or not port or not (root / "token").exists():
        raise KubeconfigError("not inside a pod, and no kubeconfig was given")
    namespace = root / "namespace"
    known = stamp(root / "ca.crt")
    try:
        authority = (root / "ca.crt").read_bytes()
    except OSError as error:
        raise KubeconfigError(f"{root / 'ca.crt'}: {error.strerror}") from error
    return Access(
        server=f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}",
        authority=authority,
        token_file=str(root / "token"),
        namespace=namespace.read_text().strip() if namespace.exists() else "default",
        origin=(root, ""),
        stamps=(known,),
    )


def named(file: Path, config: dict[str, Any], section: str, item: str, name: str) -> dict[str, Any]:
    """The entry of that name in one of the file's three lists."""
    for entry in config.get(section) or ():
        if entry.get("name") == name:
            return entry.get(item) or {}
    raise KubeconfigError(f"{file} has no {item} named {name!r}")


def named_files(file: Path, entry: dict[str, Any], *fields: str) -> list[Stamp]:
    """Those that `material` reads besides the kubeconfig."""
    return [stamp(file.parent / entry[field]) for field in fields if entry.get(field) and not entry.get(f"{field}-data")]


def material(file: Path, entry: dict[str, Any], field: str) -> bytes:
    """A PEM text: `<field>-data` inline as base64 wins over `<field>`, a path relative to the kubeconfig."""
    try:
        if entry.get(f"{field}-data"):
            return base64.b64decode(entry[f"{field}-data"], validate=True)
        return (file.parent / entry[field]).read_bytes() if entry.get(field) else b""
    except (OSError, ValueError) as error:
        raise KubeconfigError(f"{file}: {field}: {error}") from error


def load_pair(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    """Python's ssl reads pairs from files only: a private one that is gone again at once."""
    with tempfile.NamedTemporaryFile(prefix="mooring-", suffix=".pem") as file:  # 0600 by mkstemp
        file.write(certificate.rstrip() + b"\n" + key)
        file.flush()
        context.load_cert_chain(file.name)
