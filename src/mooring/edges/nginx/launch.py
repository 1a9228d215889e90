"""What must be there before NGINX starts? Lua files, a certificate to begin with, a configuration that serves nothing."""

import os
import shutil
import signal
import socket
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mooring.edges.nginx.process import CONFIG, command, open_files
from mooring.ports.proxy import Launch
from mooring.routing.nginx.emit import emit
from mooring.routing.nginx.front import CONTROL, DUMMY
from mooring.routing.placement import Placement
from mooring.routing.table import RouteTable

_LUA = Path(__file__).with_name("lua")


def prepared(placement: Placement, concurrency: int) -> Launch:
    """How NGINX is started in this folder, with `concurrency` workers. One that runs there already is left alone."""
    if not _runs(placement.folder):
        _prepare(placement)
    control = f"{placement.folder}/{CONTROL}"
    argv = command(placement.folder, workers=concurrency)
    return Launch(argv, ((control, "POST", "/drain"),), (control, "GET", "/active"), signal.SIGQUIT)


def _runs(folder: str) -> bool:
    with socket.socket(socket.AF_UNIX) as control:
        try:
            control.connect(f"{folder}/{CONTROL}")
        except OSError:
            return False
    return True


def _prepare(placement: Placement) -> None:
    folder = Path(placement.folder)
    for name in ("files", "data", "tmp"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / CONTROL).parent.mkdir(mode=0o700, exist_ok=True)
    # A socket that a killed NGINX left behind would keep the next one from binding it.
    (folder / CONTROL).unlink(missing_ok=True)
    shutil.copytree(_LUA, folder / "lua", dirs_exist_ok=True)
    if not (folder / DUMMY).exists():
        write(folder / DUMMY, _dummy(datetime.now(UTC)))
    config = emit(RouteTable(), placement, {}, open_files())
    write_files(folder, config.files)
    write(folder / CONFIG, config.text.encode())


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Names begin with a digest of what is in them, so a file that is there is right."""
    for name, content in files.items():
        if not (folder / name).exists():
            write(folder / name, content)


def write(path: Path, content: bytes) -> None:
    """Whole or not at all, and for nobody else to read."""
    new = path.with_name(path.name + ".new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    new.rename(path)


def _dummy(now: datetime) -> bytes:
    """NGINX wants a certificate in its file; no connection is ever shown this one."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mooring")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=3650))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return private + certificate.public_bytes(serialization.Encoding.PEM)
