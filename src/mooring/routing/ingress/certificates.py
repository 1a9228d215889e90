"""Is what a TLS Secret holds fit to be shown for a host? Everything a person must be told about it."""

from collections.abc import Iterable
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from msgspec import Struct

from mooring.routing.ingress.objects import Secret
from mooring.routing.table import Certificate

TLS_TYPE = "kubernetes.io/tls"
MOST_OCTETS = 64 * 1024
"""Of a chain: some fifty certificates, ten times what clients take."""
_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)


class Pair(Struct, frozen=True, gc=False):
    """A chain with its key, read. `names` in lower case: those that it is valid for (RFC 6125: the common name only without any
    alternative name); `odd`: a sentence, if something about it is worth telling."""

    certificate: Certificate
    names: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    odd: str = ""

    def covers(self, host: str) -> bool:
        """Whether a client that asked for `host` (in lower case) takes it. A wildcard stands for one label."""
        return host in self.names or "*." + host.partition(".")[2] in self.names


def read(secret: Secret, source: str) -> Pair | str:
    """The pair of a TLS Secret, or a sentence why there is none. `source` is for people."""
    chain, key = secret.data.get("tls.crt", b""), secret.data.get("tls.key", b"")
    if not chain or not key:
        missing = " and ".join(name for name in ("tls.crt", "tls.key") if not secret.data.get(name))
        return f"it is of type {secret.type} and has no {missing}"
    if len(chain) > MOST_OCTETS or len(key) > MOST_OCTETS:
        return f"tls.crt or tls.key is longer than {MOST_OCTETS} octets"
    try:
        leaf = x509.load_pem_x509_certificates(chain)[0]
        names = _names(leaf)
        public = leaf.public_key()
    except (ValueError, UnsupportedAlgorithm, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        return "tls.crt does not begin with a certificate in PEM"
    try:
        private = load_pem_private_key(key, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return "tls.key is no private key in PEM, or one with a password"
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if private.public_key().public_bytes(*form) != public.public_bytes(*form):
        return "tls.key is not the key of the first certificate of tls.crt"
    if not _is_accepted(public):
        return "its key is none that the proxies take: RSA of 2048 bits or more, or ECDSA on P-256, P-384 or P-521"
    odd = "" if secret.type == TLS_TYPE else f"it is of type {secret.type}, not {TLS_TYPE}"
    return Pair(Certificate(chain, key, source), names, leaf.not_valid_before_utc, leaf.not_valid_after_utc, odd)


def _is_accepted(key: object) -> bool:
    if isinstance(key, rsa.RSAPublicKey):
        return key.key_size >= 2048
    return isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, _CURVES)


def _names(leaf: x509.Certificate) -> tuple[str, ...]:
    try:
        found: Iterable[str] = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(
            x509.DNSName
        )
    except x509.ExtensionNotFound:
        found = [str(each.value) for each in leaf.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)]
    return tuple(sorted({name.lower() for name in found}))
