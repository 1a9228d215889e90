"""Which keys and certificates does a cluster need, and where are they?

One directory, files 0600. An identity is one PEM file, key and certificate together, so that replacing it is atomic: nobody
ever loads a key with another's certificate. Every file is made once, used again, and renewed before it expires, when its
names change or when its authority does. Names are upstream's (kubernetes.io/docs/setup/best-practices/certificates).

The authority is exchanged in three steps, told by the files alone, so that each can be repeated and a rotation that was broken
off goes on where it was: `introduce` makes `ca.next.pem`, which everybody trusts beside the old one (`ca.crt` holds all that
are to be trusted); `change` puts it in the place of `ca.pem`, and what is signed from now on is by it; `retire` forgets the
old one.
"""

import base64
import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from enum import Enum
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from msgspec import Struct

from mooring.edges.certificates import (
    Subject,
    bundle,
    certificate,
    key_pem,
    lasts,
    new_key,
    private_key,
    public_pem,
    self_signed,
    signed,
    split,
    subject_of,
)

AUTHORITY_LIFE = timedelta(days=3650)
LEAF_LIFE = timedelta(days=365)
RENEW_BEFORE = timedelta(days=30)

ADMIN = Subject("kubernetes-admin", "system:masters")
CONTROLLERS = Subject("system:kube-controller-manager")
KUBELET_CLIENT = Subject("kube-apiserver-kubelet-client", "system:masters")


class Identity(Struct, frozen=True):
    """A file with a private key and its certificate, PEM."""

    path: Path

    @property
    def certificate(self) -> bytes:
        return split(self.path.read_bytes())[1]

    @property
    def key(self) -> bytes:
        return split(self.path.read_bytes())[0]


class DamagedKey(Exception):
    """A file that cannot be made anew without forgetting what it signed is not what it should be: which, and what to do."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path} is damaged\n  what to do: restore it from a copy, or forget the cluster that it belongs to: "
            "`mooring down --purge`"
        )


class Stage(Enum):
    """How far a rotation of the authority has come."""

    SETTLED = "one authority"
    INTRODUCED = "a new authority is trusted and signs nothing yet"
    CHANGED = "the new authority signs, the old one is still trusted"


class Found(Struct, frozen=True):
    """One certificate of the directory. `subject` is None when the file is damaged."""

    name: str
    subject: Subject | None
    expires: datetime | None = None
    current: bool = False
    """Whether it is by the authority that signs now."""


class Pki:
    """The keys under one directory. Safe to use from several processes at once: who makes a file holds the directory's lock."""

    def __init__(self, directory: Path) -> None:
        """Makes the directory (0700) and the authority when they are not there. Raises DamagedKey."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory = directory
        self._next, self._previous = directory / "ca.next.pem", directory / "ca.previous.crt"
        with self._lock():
            self._authority()

    @property
    def authority(self) -> Path:
        """What clients and servers trust: the CA's certificate, and another one's beside it while they are exchanged."""
        return self._directory / "ca.crt"

    def server(self, names: Sequence[str]) -> Identity:
        """The API server's own, for these DNS names and addresses and those every cluster has."""
        always = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "127.0.0.1", "::1")
        return self._identity("apiserver", Subject("kube-apiserver", names=tuple(sorted({*always, *names}))))

    def admin(self) -> Identity:
        return self._identity("admin", ADMIN)

    def controllers(self) -> Identity:
        return self._identity("controllers", CONTROLLERS)

    def kubelet_client(self) -> Identity:
        """What the API server shows to kubelets."""
        return self._identity("apiserver-kubelet-client", KUBELET_CLIENT)

    def node(self, name: str, addresses: Sequence[str] = ()) -> Identity:
        """A node's: client of the API server, and server of the kubelet API under its name and addresses."""
        names = tuple(sorted({name, *addresses}))
        return self._identity(f"node-{name}", Subject(f"system:node:{name}", "system:nodes", names))

    def found(self) -> list[Found]:
        """Every certificate there is, the authority's first."""
        with self._lock():
            authority = self._authority()
            names = sorted(path.stem for path in self._directory.glob("*.pem") if path.name != self._next.name)
            return sorted((self._read(name, authority) for name in names), key=lambda each: each.name != "ca")

    def renew(self, name: str) -> None:
        """A new key and certificate for the same subject and names. Raises KeyError when there is none, DamagedKey."""
        path = self._directory / f"{name}.pem"
        with self._lock():
            authority = self._authority()
            if name == "ca" or not path.exists():
                raise KeyError(name)
            known = self._read(name, authority)
            if known.subject is None:
                raise DamagedKey(path)
            self._make(path, authority, known.subject)

    # The service accounts' keys

    def service_account_key(self) -> Path:
        """The key that signs service accounts' tokens (ES256), PEM. Raises DamagedKey."""
        path = self._directory / "sa.key"
        with self._lock():
            if not path.exists():
                _write(path, key_pem(new_key()))
        try:
            load_pem_private_key(path.read_bytes(), None)
        except ValueError as error:
            raise DamagedKey(path) from error
        return path

    @property
    def retired_keys(self) -> Path:
        """The public halves of the keys that signed before, PEM; perhaps no file. Read it after the key that signs."""
        return self._directory / "sa.retired.pub"

    def renew_service_account_key(self) -> None:
        """Another key signs from now on. Tokens of the one before stay good: its public half is kept. Raises DamagedKey."""
        path = self.service_account_key()
        with self._lock():
            retired = self.retired_keys.read_bytes() if self.retired_keys.exists() else b""
            if (public := public_pem(path.read_bytes())) not in retired:
                _write(self.retired_keys, public + retired)
            _write(path, key_pem(new_key()))

    def forget_retired_keys(self) -> None:
        """All tokens that earlier keys have signed are void."""
        self.retired_keys.unlink(missing_ok=True)

    # The authority's exchange

    @property
    def stage(self) -> Stage:
        if self._next.exists():
            return Stage.INTRODUCED
        return Stage.CHANGED if self._previous.exists() else Stage.SETTLED

    def introduce(self) -> None:
        """From SETTLED to INTRODUCED."""
        with self._lock():
            self._authority()
            if self.stage is Stage.SETTLED:
                key = new_key()
                _write(self._next, key_pem(key) + self_signed(key, AUTHORITY_LIFE))
            self._authority()

    def change(self) -> None:
        """From INTRODUCED to CHANGED. Certificates of the old authority stay as they are until they are renewed."""
        with self._lock():
            if self.stage is Stage.INTRODUCED:
                _write(self._previous, split(self._authority())[1])
                os.replace(self._next, self._directory / "ca.pem")
            self._authority()

    def retire(self) -> None:
        """From CHANGED to SETTLED."""
        with self._lock():
            if self.stage is Stage.CHANGED:
                self._previous.unlink()
            self._authority()

    # Everything below is called with the lock held

    def _identity(self, stem: str, subject: Subject) -> Identity:
        path = self._directory / f"{stem}.pem"
        with self._lock():
            authority = self._authority()
            if not self._serves(path, authority, subject):
                self._make(path, authority, subject)
        return Identity(path)

    def _make(self, path: Path, authority: bytes, subject: Subject) -> None:
        key = new_key()
        _write(path, key_pem(key) + signed(authority, key, subject, LEAF_LIFE))

    def _serves(self, path: Path, authority: bytes, subject: Subject) -> bool:
        """Whether the file holds a certificate for the subject, by our authority, that lives long enough."""
        try:
            found = certificate(path.read_bytes())
        except (FileNotFoundError, ValueError, TypeError):
            return False
        same = subject_of(found) == Subject(subject.common_name, subject.organization, tuple(sorted(set(subject.names))))
        return same and _by(found, authority) and lasts(found, RENEW_BEFORE)

    def _read(self, name: str, authority: bytes) -> Found:
        try:
            found = certificate((self._directory / f"{name}.pem").read_bytes())
        except (ValueError, TypeError):
            return Found(name, None)
        return Found(name, subject_of(found), found.not_valid_after_utc, _by(found, authority))

    def _authority(self) -> bytes:
        """The CA's key and certificate, the latter made anew near its end for the same key: what it signed stays good.

        `ca.crt` is made to hold it, and whom else to trust.
        """
        path = self._directory / "ca.pem"
        try:
            found = path.read_bytes()
            key = private_key(found)
            usable = lasts(certificate(found), RENEW_BEFORE)
        except FileNotFoundError:
            key, usable = new_key(), False
        except ValueError as error:
            raise DamagedKey(path) from error
        if not usable:
            found = key_pem(key) + self_signed(key, AUTHORITY_LIFE)
            _write(path, found)
        trusted = bundle([found, *self._others()])
        if not self.authority.exists() or self.authority.read_bytes() != trusted:
            _write(self.authority, trusted)
        return found

    def _others(self) -> Iterator[bytes]:
        """The authorities that come and go. A damaged one is forgotten, if it has signed nothing yet: the next one is new."""
        try:
            pem = self._next.read_bytes()
            certificate(pem), private_key(pem)
            yield pem
        except FileNotFoundError:
            pass
        except ValueError:
            self._next.unlink()
        with suppress(FileNotFoundError):
            try:
                pem = self._previous.read_bytes()
                certificate(pem)
            except ValueError as error:
                raise DamagedKey(self._previous) from error
            yield pem

    @contextmanager
    def _lock(self) -> Iterator[None]:
        descriptor = os.open(self._directory / ".lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _by(found: x509.Certificate, authority: bytes) -> bool:
    try:
        found.verify_directly_issued_by(certificate(authority))
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def kubeconfig(server: str, authority: Path, identity: Identity, cluster: str = "mooring", user: str = "admin") -> str:
    """A kubeconfig with everything in it, for one cluster and user. `server` is the URL. Keep it 0600 (`write_private`)."""

    def data(value: bytes) -> str:
        return base64.b64encode(value).decode()

    credentials = {"client-certificate-data": data(identity.certificate), "client-key-data": data(identity.key)}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": cluster,
        "clusters": [
            {"name": cluster, "cluster": {"server": server, "certificate-authority-data": data(authority.read_bytes())}}
        ],
        "users": [{"name": user, "user": credentials}],
        "contexts": [{"name": cluster, "context": {"cluster": cluster, "user": user}}],
        "preferences": {},
    }
    return yaml.safe_dump(document, sort_keys=False)


def write_private(path: Path, text: str) -> None:
    """Puts a secret in its place, whole and 0600. One that is there already is left: who follows the file is not woken."""
    if not path.exists() or path.read_text() != text:
        _write(path, text.encode())


def _write(path: Path, content: bytes) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)
