"""Which certificate does a proxy show to who asks for no known name? One signed by itself, made once and kept in its folder."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from mooring.routing.table import Certificate

FILE = "spare.pem"
LIFE = timedelta(days=3650)
NAME = "Mooring Ingress Default Certificate"


def spare_certificate(folder: Path, now: datetime | None = None) -> Certificate:
    """That of the folder, else a new one, which is kept there: a control process that starts again shows the same."""
    file = folder / FILE
    if not file.exists():
        fresh = folder / f"{FILE}.new"
        fresh.touch(mode=0o600)
        fresh.write_bytes(b"".join(_made(now or datetime.now(UTC))))
        fresh.rename(file)
    end = b"-----END CERTIFICATE-----\n"
    chain, _, key = file.read_bytes().partition(end)
    return Certificate(chain + end, key, "the default certificate")


def _made(now: datetime) -> tuple[bytes, bytes]:
    """Certificate and key, PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    builder = x509.CertificateBuilder(
        issuer_name=name,
        subject_name=name,
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=now - timedelta(hours=1),
        not_valid_after=now + LIFE,
    ).add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return builder.sign(key, SHA256()).public_bytes(Encoding.PEM), pem
