"""Can this certificate be shown? As the Lua module takes it: the chain, a NUL, the key; or else the spare one."""

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from mooring.routing.table import Certificate

MOST_OCTETS = 200_000
"""Of a chain with its key: TLS clients take no more than half of it."""


class Pairs:
    """Remembers what it has tried, by identity: a table of thousands changes one at a time."""

    def __init__(self, spare: Certificate) -> None:
        self._spare = spare
        self._tried: dict[int, tuple[Certificate, str]] = {}

    def octets(self, certificate: Certificate) -> bytes:
        shown = self._spare if self.fault(certificate) else certificate
        return shown.chain + b"\0" + shown.key

    def knows(self, certificate: Certificate) -> bool:
        """Whether it has been tried."""
        tried = self._tried.get(id(certificate))
        return tried is not None and tried[0] is certificate

    def fault(self, certificate: Certificate) -> str:
        """'' if there is none."""
        tried = self._tried.get(id(certificate))
        if tried is None or tried[0] is not certificate:
            if len(self._tried) > 20_000:
                self._tried.clear()
            tried = self._tried[id(certificate)] = (certificate, _fault(certificate))
        return tried[1]


def _fault(certificate: Certificate) -> str:
    if len(certificate.chain) + len(certificate.key) > MOST_OCTETS:
        return f"certificate and key are longer than {MOST_OCTETS} octets, more than any client takes"
    try:
        leaf = x509.load_pem_x509_certificates(certificate.chain)[0]
        key = load_pem_private_key(certificate.key, None)
        written = [
            each.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) for each in (leaf.public_key(), key.public_key())
        ]
    except (ValueError, TypeError, IndexError) as error:
        return f"the certificate or its key cannot be read: {error}"
    return "" if written[0] == written[1] else "the key is not the certificate's"
