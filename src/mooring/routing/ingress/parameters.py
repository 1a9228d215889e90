"""What do an IngressClass's parameters set? The front door, and what an Ingress gets that has no annotation of its own.

The parameters are a ConfigMap (`apiGroup` '', `kind` ConfigMap, `scope` Namespace). Its keys are those of ingress-nginx's own
ConfigMap where there is one (https://kubernetes.github.io/ingress-nginx/user-guide/nginx-configuration/configmap/), and a few
more. What is not known or cannot be read is told at the IngressClass; the rest holds.
"""

import difflib
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct, structs

from mooring.model.ingress import Ingress, ParametersReference
from mooring.model.meta import Meta
from mooring.routing.finding import Finding, Level, ObjectName
from mooring.routing.ingress import annotations, certificates, values
from mooring.routing.ingress.annotations.notes import PREFIX
from mooring.routing.ingress.objects import Objects
from mooring.routing.ingress.values import BadValue
from mooring.routing.table import Certificate, FrontDoor

YEAR = 31536000
EVERYBODY = ("0.0.0.0/0", "::/0")
AS_ANNOTATIONS = frozenset(
    (
        "denylist-source-range",
        "force-ssl-redirect",
        "limit-rate",
        "limit-rate-after",
        "load-balance",
        "proxy-body-size",
        "proxy-buffering",
        "proxy-connect-timeout",
        "proxy-next-upstream",
        "proxy-next-upstream-timeout",
        "proxy-next-upstream-tries",
        "proxy-read-timeout",
        "proxy-request-buffering",
        "proxy-send-timeout",
        "ssl-redirect",
        "whitelist-source-range",
    )
)
"""Keys that are what the annotation of the same name is to Ingresses that have none."""

_FIELDS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "client-body-timeout": ("body_timeout", values.seconds),
    "client-header-timeout": ("header_timeout", values.seconds),
    "encoded-slashes": ("keeps_encoded_slashes", values.keeps),
    "header-count": ("header_count", values.whole(10, 1000)),
    "http2-max-concurrent-streams": ("streams", values.whole(1, 65536)),
    "http3": ("http3", values.boolean),
    "keep-alive": ("idle_timeout", values.seconds),
    "large-client-header-buffers": ("header_octets", values.buffers),
    "max-worker-connections": ("connections", values.whole(16, 1_000_000)),
    "server-header": ("server_header", values.header_value),
    "ssl-ciphers": ("ciphers", values.ciphers),
    "ssl-protocols": ("tls_minimum", values.oldest_protocol),
    "stream-idle-timeout": ("stream_idle_timeout", values.seconds),
    "trusted-hops": ("trusted_hops", values.whole(0, 32)),
    "use-http2": ("http2", values.boolean),
    "use-proxy-protocol": ("proxy_protocol", values.boolean),
}
"""Key: (field of FrontDoor, how its value is read)."""
_OTHERS = (
    "allow-snippet-annotations",
    "default-ssl-certificate",
    "disable-access-log",
    "drain-seconds",
    "hsts",
    "hsts-include-subdomains",
    "hsts-max-age",
    "hsts-preload",
    "proxy-real-ip-cidr",
    "replicas",
    "server-tokens",
    "use-forwarded-headers",
)
KEYS = tuple(sorted((*AS_ANNOTATIONS, *_FIELDS, *_OTHERS)))
_MUST_BE_FALSE = {
    "allow-snippet-annotations": "snippets are never put into a configuration",
    "server-tokens": "the proxies do not tell their versions",
}


EFFECT_OWN = "the proxies show one of their own"


class Defaults(Struct, frozen=True):
    """Annotations of every Ingress that has not got them itself, by full name."""

    annotations: Mapping[str, str] = {}

    def given_to(self, ingress: Ingress) -> Ingress:
        if not self.annotations:
            return ingress
        merged = {**self.annotations, **(ingress.metadata.annotations or {})}
        return structs.replace(ingress, metadata=structs.replace(ingress.metadata, annotations=merged))


class Parameters(Struct, frozen=True):
    """`hsts`: as VirtualHost.hsts. `certificate`: as Objects.default_certificate, None for that."""

    front_door: FrontDoor = FrontDoor()
    hsts: str = f"max-age={YEAR}; includeSubDomains"
    certificate: Certificate | None = None
    defaults: Defaults = Defaults()
    findings: tuple[Finding, ...] = ()


def read(class_name: str, objects: Objects) -> Parameters:
    """Those of an IngressClass; the defaults if it has none, or is not there."""
    found = objects.classes.get(class_name)
    reference = found.spec.parameters if found is not None else None
    if reference is None:
        return Parameters()
    about = ObjectName("IngressClass", "", class_name)
    problem = _problem(reference)
    data = None if problem else objects.config_maps.get((reference.namespace or "", reference.name))
    if data is None:
        problem = problem or f"there is no ConfigMap {reference.namespace}/{reference.name}"
        reason = "ParametersNotFound" if reference.kind == "ConfigMap" else "ParametersUnsupported"
        return Parameters(findings=(Finding(about, Level.WARNING, reason, "spec.parameters", problem, "the defaults hold"),))
    return _Reader(about, f"configmap {reference.namespace}/{reference.name}", data, objects).read()


def _problem(reference: ParametersReference) -> str:
    if reference.kind != "ConfigMap" or reference.api_group:
        kind = reference.kind + (f".{reference.api_group}" if reference.api_group else "")
        return f"parameters of kind {kind} are not supported, only a ConfigMap"
    if reference.scope != "Namespace" or not reference.namespace:
        return "a ConfigMap has a namespace: scope must be Namespace, and namespace given"
    return ""


class _Reader:
    """Collects findings on the way. A value that cannot be read counts as not given."""

    def __init__(self, about: ObjectName, where: str, data: Mapping[str, str], objects: Objects) -> None:
        self.about, self.where, self.data, self.objects = about, where, data, objects
        self.findings: list[Finding] = []

    def tell(self, key: str, reason: str, message: str, effect: str = "it is left out") -> None:
        field = f"{self.where} data[{key}]"
        self.findings.append(Finding(self.about, Level.WARNING, reason, field, message, effect))

    def value(self, key: str, reader: Callable[[str], Any], default: Any) -> Any:
        text = self.data.get(key, "").strip()
        if not text:
            return default
        try:
            return reader(text)
        except BadValue as error:
            self.tell(key, "ParameterInvalid", str(error), "the default holds")
            return default

    def read(self) -> Parameters:
        for key in sorted(set(self.data) - set(KEYS)):
            near = difflib.get_close_matches(key, KEYS, 1)
            guess = f"; did you mean {near[0]}?" if near else ""
            self.tell(key, "ParameterUnknown", f"there is no such parameter{guess}")
        for key, why in _MUST_BE_FALSE.items():
            if self.value(key, values.boolean, False):
                self.tell(key, "ParameterRefused", why)
        # Whoever runs the proxies reads these; here only what is wrong with them is told.
        self.value("replicas", values.whole(1, 100), None)
        self.value("drain-seconds", values.seconds, None)
        door, defaults = self.front_door(), self.defaults()
        return Parameters(door, self.hsts(), self.certificate(), defaults, tuple(self.findings))

    def certificate(self) -> Certificate | None:
        """Of any namespace: whoever writes parameters decides for the whole class."""
        key = "default-ssl-certificate"
        named = self.data.get(key, "").strip()
        if not named:
            return None
        namespace, _, name = named.partition("/")
        secret = self.objects.secrets.get((namespace, name))
        if secret is None:
            self.tell(key, "SecretNotFound", f"there is no Secret {named[:317]}", EFFECT_OWN)
            return None
        pair = certificates.read(secret, f"secret {named}")
        if isinstance(pair, str):
            self.tell(key, "BadCertificate", f"Secret {named} cannot be used: {pair}", EFFECT_OWN)
            return None
        return pair.certificate

    def hsts(self) -> str:
        """On unless it is said otherwise, as upstream. An age of 0 makes browsers forget it."""
        age = self.value("hsts-max-age", values.whole(0, 10 * YEAR), YEAR)
        below = self.value("hsts-include-subdomains", values.boolean, True)
        preload = self.value("hsts-preload", values.boolean, False)
        said = f"max-age={age}" + ("; includeSubDomains" if below else "") + ("; preload" if preload else "")
        return said if self.value("hsts", values.boolean, True) else ""

    def front_door(self) -> FrontDoor:
        plain = FrontDoor()
        changed = {field: self.value(key, reader, getattr(plain, field)) for key, (field, reader) in _FIELDS.items()}
        proxies = self.value("proxy-real-ip-cidr", values.cidrs, EVERYBODY)
        forwarded = self.value("use-forwarded-headers", values.boolean, False)
        return structs.replace(
            plain,
            **changed,
            trusted_proxies=proxies if forwarded else (),
            access_log=not self.value("disable-access-log", values.boolean, False),
        )

    def defaults(self) -> Defaults:
        """Read once as if an Ingress had them: what is told of that is told of the class. A rule of access that cannot be done
        stays, so that it closes every Ingress without one of its own."""
        wanted = {PREFIX + key: text for key, text in sorted(self.data.items()) if key in AS_ANNOTATIONS and text.strip()}
        bad = {}
        for name, text in wanted.items():
            wishes, told = annotations.read(Ingress(Meta(annotations={name: text})), self.objects)
            warnings = [each for each in told if each.level is Level.WARNING]
            for each in warnings:
                self.tell(name.removeprefix(PREFIX), "ParameterInvalid", each.message, each.effect)
            if warnings and not wishes.refused:
                bad[name] = text
        return Defaults({name: text for name, text in wanted.items() if name not in bad})
