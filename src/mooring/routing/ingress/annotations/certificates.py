"""Which certificates do clients show to us, and we to backends? What cannot be verified closes."""

import re

from cryptography import x509
from msgspec import structs

from mooring.routing.ingress import certificates
from mooring.routing.ingress.annotations.annotation import Annotation, Family, no_op
from mooring.routing.ingress.annotations.notes import CIPHERS, SERVER_NAMES, Notes
from mooring.routing.ingress.annotations.references import Unusable, name_of, secret
from mooring.routing.ingress.objects import Secret
from mooring.routing.ingress.wishes import Wishes
from mooring.routing.table import Certificate, ClientCertificates, UpstreamTls, Verify

_VERIFY = {"on": Verify.REQUIRED, "optional": Verify.OPTIONAL, "optional_no_ca": Verify.OPTIONAL_UNVERIFIED}
_PAGE = re.compile(r"((https?://)?[A-Za-z0-9\-.]+(:\d+)?)?(/[A-Za-z0-9\-_.]+)*/?", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.\-_]{0,251}[A-Za-z0-9])?", re.ASCII)
_WEAK = re.compile(r"NULL|EXP|RC4|RC2|DES|MD5|ADH|AECDH|LOW|SECLEVEL|^ALL$|^COMPLEMENT", re.IGNORECASE)
_PROTOCOLS = {"SSLv2": "", "SSLv3": "", "TLSv1": "", "TLSv1.1": "", "TLSv1.2": "1.2", "TLSv1.3": "1.3"}
_SECRET = "a Secret of the same namespace, as namespace/name"

_ANNOTATIONS = (
    Annotation(
        "auth-tls-secret",
        _SECRET,
        "Clients must show a certificate of its ca.crt (revoked ones in ca.crl). Missing or bad: 503. At a host of another "
        "namespace too: it is the host's to ask for.",
    ),
    Annotation(
        "auth-tls-verify-client",
        "on, off, optional, optional_no_ca",
        "Default on: without a good certificate 400. optional: none is let in, a bad one is not. optional_no_ca: any is let "
        "in; the backend sees ssl-client-verify.",
    ),
    Annotation("auth-tls-verify-depth", "1 or more", "Default 1."),
    Annotation("auth-tls-error-page", "a URL or path", "Redirected to in place of 400."),
    Annotation("auth-tls-pass-certificate-to-upstream", "true, false", "The backend gets the certificate in ssl-client-cert."),
    Annotation(
        "auth-tls-match-cn",
        "CN=...",
        "Refused: 503, as it would let in whom it should not. Use an authority for these clients alone.",
    ),
    Annotation(
        "proxy-ssl-secret",
        _SECRET,
        "tls.crt and tls.key are shown to backends, ca.crt checks theirs. Without it the other proxy-ssl-* do nothing, as "
        "upstream. Missing or bad: 503. Does nothing without backend-protocol HTTPS or GRPCS.",
    ),
    Annotation(
        "proxy-ssl-verify",
        "on, off",
        "Default off. on without proxy-ssl-name: 503; upstream's check, against a name of its own, would fail as well.",
    ),
    Annotation("proxy-ssl-verify-depth", "1 or more", "Default 1."),
    Annotation(
        "proxy-ssl-name",
        "a host name",
        "The name that is checked, and asked for by SNI (upstream: only with proxy-ssl-server-name).",
    ),
    no_op("proxy-ssl-server-name", "on, off", "SNI is sent whenever proxy-ssl-name is given"),
    Annotation("proxy-ssl-ciphers", "OpenSSL's cipher list", "Of TLS 1.2. Lists that allow broken ones are refused."),
    Annotation("proxy-ssl-protocols", "TLSv1.2, TLSv1.3; space-separated", "Older ones are refused; TLS 1.2 is the least."),
    Annotation(
        "ssl-ciphers", "OpenSSL's cipher list", "Of TLS 1.2, for the Ingress's hosts. Lists that allow broken ones are refused."
    ),
    no_op("ssl-prefer-server-ciphers", "true, false", "all ciphers of the front door are good, so the client's order is taken"),
    Annotation(
        "ssl-passthrough",
        "true, false",
        "TLS goes to the backend as it is, by SNI; all else of the Ingress does nothing for https.",
    ),
)


def _read(notes: Notes, wishes: Wishes) -> Wishes:
    wishes = _backend(notes, wishes)
    return structs.replace(
        wishes,
        clients=_clients(notes),
        ssl_ciphers=_ciphers(notes, "ssl-ciphers"),
        passthrough=notes.boolean("ssl-passthrough"),
    )


def _clients(notes: Notes) -> ClientCertificates | None:
    if notes.values.get("auth-tls-match-cn", "").strip():
        notes.close("auth-tls-match-cn", "subjects of client certificates are not compared")
    if not notes.values.get("auth-tls-secret", "").strip():
        for known in _ANNOTATIONS:
            if known.name.startswith("auth-tls-") and notes.has(known.name) and known.name != "auth-tls-match-cn":
                notes.bad(known.name, "needs auth-tls-secret", "clients show no certificates, as upstream")
        return None
    try:
        kept = secret(notes, "auth-tls-secret", bare=False)
        authorities = _authorities(kept)
    except Unusable as why:
        notes.close("auth-tls-secret", str(why.args[0]))
        return None
    wanted = notes.choice("auth-tls-verify-client", ("on", "off", "optional", "optional_no_ca"), "on")
    depth = notes.integer("auth-tls-verify-depth", 1, 0, 100) or 1
    page = notes.values.get("auth-tls-error-page", "").strip(" \t\r\n")
    if _PAGE.fullmatch(page) is None:
        notes.bad("auth-tls-error-page", "is neither a URL nor a path", "clients get 400")
        page = ""
    hand_on = notes.boolean("auth-tls-pass-certificate-to-upstream")
    if wanted == "off":
        return None
    return ClientCertificates(
        authorities,
        _VERIFY[wanted],
        depth,
        kept.data.get("ca.crl", b""),
        hand_on,
        page,
        source="secret " + "/".join(name_of(notes, "auth-tls-secret", bare=False)),
    )


def _backend(notes: Notes, wishes: Wishes) -> Wishes:
    details = [f"proxy-ssl-{detail}" for detail in ("verify", "verify-depth", "name", "ciphers", "protocols")]
    if not notes.values.get("proxy-ssl-secret", "").strip():
        for name in details:
            if notes.has(name):
                notes.bad(name, "needs proxy-ssl-secret", "it is left out, as upstream")
        return wishes
    try:
        kept = secret(notes, "proxy-ssl-secret", bare=False)
        source = "/".join(name_of(notes, "proxy-ssl-secret", bare=False))
        certificate = _pair(kept, source)
        authorities = _authorities(kept) if certificate is None or "ca.crt" in kept.data else b""
    except Unusable as why:
        notes.close("proxy-ssl-secret", str(why.args[0]))
        return wishes
    name = notes.text("proxy-ssl-name", SERVER_NAMES)
    if name and _NAME.fullmatch(name) is None:
        notes.bad("proxy-ssl-name", "is no host name", "it is left out")
        name = ""
    verified = notes.choice("proxy-ssl-verify", ("on", "off"), "off") == "on"
    if verified and not (name and authorities):
        notes.close(
            "proxy-ssl-verify", "needs proxy-ssl-name" if authorities else "needs ca.crt in the Secret of proxy-ssl-secret"
        )
    if wishes.tls is None:
        notes.ignore("proxy-ssl-secret", "does nothing without backend-protocol HTTPS or GRPCS")
        return wishes
    tls = UpstreamTls(
        name=name,
        authorities=authorities if verified else b"",
        certificate=source if certificate else "",
        depth=notes.integer("proxy-ssl-verify-depth", 1, 0, 100) or 1,
        minimum=_minimum(notes),
        ciphers=_ciphers(notes, "proxy-ssl-ciphers"),
    )
    return structs.replace(wishes, tls=tls, certificates={source: certificate} if certificate else {})


def _minimum(notes: Notes) -> str:
    words = notes.values.get("proxy-ssl-protocols", "").split()
    if any(word not in _PROTOCOLS for word in words):
        notes.bad("proxy-ssl-protocols", f"has a word that is none of {', '.join(_PROTOCOLS)}", "TLS 1.2 is the least")
        return "1.2"
    found = sorted({_PROTOCOLS[word] for word in words})
    if "" in found:
        notes.refuse("proxy-ssl-protocols", "has protocols older than TLS 1.2", "they are left out")
    return next((version for version in found if version), "1.2")


def _ciphers(notes: Notes, name: str) -> str:
    value = notes.text(name, CIPHERS, "the usual ciphers are used")
    if any(_WEAK.search(word) for word in value.split(":") if not word.startswith(("!", "-"))):
        notes.refuse(name, "allows a broken cipher, or changes OpenSSL's level", "the usual ciphers are used")
        return ""
    return value


def _authorities(kept: Secret) -> bytes:
    """ca.crt of the Secret. Raises Unusable."""
    text = kept.data.get("ca.crt", b"")
    if not text:
        raise Unusable("the Secret has no ca.crt")
    try:
        if not x509.load_pem_x509_certificates(text):
            raise Unusable("ca.crt has no certificate")
    except ValueError:
        raise Unusable("ca.crt is not PEM with certificates") from None
    return text


def _pair(kept: Secret, source: str) -> Certificate | None:
    """tls.crt and tls.key; None if there are none. Raises Unusable."""
    if not kept.data.get("tls.crt") and not kept.data.get("tls.key"):
        return None
    pair = certificates.read(kept, f"secret {source}")
    if isinstance(pair, str):
        raise Unusable(pair)
    return pair.certificate


CERTIFICATES = Family(_ANNOTATIONS, _read)
