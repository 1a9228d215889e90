"""networking.k8s.io/v1 Ingress and IngressClass: stored and validated, an Ingress of no class given the default one.

Upstream: pkg/apis/networking/validation, plugin/pkg/admission/network/defaultingressclass.
"""

import re
from collections.abc import Sequence
from typing import Any

from mooring.apiserver.contract import Env
from mooring.apiserver.kinds import formats, printing
from mooring.apiserver.kinds.metadata import path_segment
from mooring.apiserver.kinds.plain import AGE, NAME, NOTHING, Plain
from mooring.apiserver.kinds.problems import IMMUTABLE, each, forbidden, invalid, required, unsupported
from mooring.apiserver.strategy import Claim, Column, Document, FieldError
from mooring.model import codec
from mooring.model.kinds import INGRESS, INGRESS_CLASS
from mooring.store.snapshot import Snapshot

PATH_TYPES = ("Exact", "ImplementationSpecific", "Prefix")
CLASS_ANNOTATION = "kubernetes.io/ingress.class"
DEFAULT_ANNOTATION = "ingressclass.kubernetes.io/is-default-class"
BAD_SEQUENCES = ("//", "/./", "/../", "%2f", "%2F")
BAD_SUFFIXES = ("/..", "/.")
ONE_BACKEND = "cannot set both resource and service backends"


class Ingress(Plain):
    kind = INGRESS
    has_status = True
    generation = True
    columns: tuple[Column, ...] = (NAME, Column("Class"), Column("Hosts"), Column("Address"), Column("Ports"), AGE)

    def default(self, document: Document) -> None:
        document.setdefault("spec", {})

    def prepare_create(self, document: Document, env: Env) -> None:
        document["status"] = {"loadBalancer": {}}

    def check(self, document: Document, old: Document | None, subresource: str) -> list[FieldError]:
        if subresource == "status":
            return _check_status(document, old)
        spec = document["spec"]
        found: list[FieldError] = []
        annotations = document["metadata"].get("annotations") or {}
        class_name = spec.get("ingressClassName")
        if not spec.get("rules") and not spec.get("defaultBackend"):
            found.append(invalid("spec", spec.get("rules") or [], "either `defaultBackend` or `rules` must be specified"))
        if (backend := spec.get("defaultBackend")) is not None:
            found += _check_backend(backend, "spec.defaultBackend")
        for place, rule in enumerate(spec.get("rules") or ()):
            found += _check_rule(rule, f"spec.rules[{place}]")
        for place, tls in enumerate(spec.get("tls") or ()):
            found += _check_tls(tls, f"spec.tls[{place}]")
        if class_name is not None:
            found += each("spec.ingressClassName", class_name, formats.subdomain(class_name))
        if old is None and class_name is not None and annotations.get(CLASS_ANNOTATION, class_name) != class_name:
            detail = "must match `ingressClassName` when both are specified"
            found.append(invalid(f"annotations.{CLASS_ANNOTATION}", annotations[CLASS_ANNOTATION], detail))
        return found

    def claim(self, document: Document | None, old: Document | None, snapshot: Snapshot, env: Env) -> Claim:
        """Nothing is allocated; an Ingress that is created without a class gets the default one."""
        if document is not None and old is None and not _names_class(document) and (name := _default_class(snapshot)):
            document["spec"]["ingressClassName"] = name
        return NOTHING

    def warnings(self, document: Document, old: Document | None) -> Sequence[str]:
        if CLASS_ANNOTATION in (document["metadata"].get("annotations") or {}) and old is None:
            return (f"annotation \"{CLASS_ANNOTATION}\" is deprecated, please use 'spec.ingressClassName' instead",)
        return ()

    def cells(self, document: Document, env: Env) -> Sequence[Any]:
        spec = document.get("spec") or {}
        hosts = [rule["host"] for rule in spec.get("rules") or () if rule.get("host")]
        annotations = document["metadata"].get("annotations") or {}
        ingresses = _balancers(document)
        return [
            document["metadata"].get("name", ""),
            spec.get("ingressClassName") or annotations.get(CLASS_ANNOTATION) or printing.NONE,
            printing.more(hosts, 3) or "*",
            ",".join(dict.fromkeys(i.get("ip") or i.get("hostname") or "" for i in ingresses)),
            "80, 443" if spec.get("tls") else "80",
            printing.age(document, env),
        ]


def _names_class(document: Document) -> bool:
    annotations = document["metadata"].get("annotations") or {}
    return document["spec"].get("ingressClassName") is not None or CLASS_ANNOTATION in annotations


def _default_class(snapshot: Snapshot) -> str:
    """The name of the class annotated as default, of several the newest, of those as old the first by name; '' without any."""
    classes = (codec.decode(record.value)["metadata"] for record in snapshot.scan(INGRESS_CLASS.prefix))
    marked = [each for each in classes if (each.get("annotations") or {}).get(DEFAULT_ANNOTATION) == "true"]
    newest = max((each.get("creationTimestamp", "") for each in marked), default="")
    return min((each["name"] for each in marked if each.get("creationTimestamp", "") == newest), default="")


def _check_tls(tls: Document, field: str) -> list[FieldError]:
    found: list[FieldError] = []
    for place, host in enumerate(tls.get("hosts") or ()):
        rule = formats.wildcard_subdomain if "*" in host else formats.subdomain
        found += each(f"{field}.hosts[{place}]", host, rule(host))
    if name := tls.get("secretName"):
        found += each(f"{field}.secretName", name, formats.subdomain(name))
    return found


def _check_rule(rule: Document, field: str) -> list[FieldError]:
    found: list[FieldError] = []
    if host := rule.get("host"):
        if formats.parse_ip(host):
            found.append(invalid(f"{field}.host", host, "must be a DNS name, not an IP address"))
        else:
            found += each(f"{field}.host", host, (formats.wildcard_subdomain if "*" in host else formats.subdomain)(host))
    if (http := rule.get("http")) is not None:
        paths = http.get("paths") or ()
        if not paths:
            found.append(required(f"{field}.http.paths"))
        for place, path in enumerate(paths):
            found += _check_path(path, f"{field}.http.paths[{place}]")
    return found


def _check_path(path: Document, field: str) -> list[FieldError]:
    path_type, text = path.get("pathType"), path.get("path", "")
    if path_type is None:
        return [required(f"{field}.pathType", "pathType must be specified")]
    found: list[FieldError] = []
    if path_type in ("Exact", "Prefix"):
        if not text.startswith("/"):
            found.append(invalid(f"{field}.path", text, "must be an absolute path"))
        if text:
            found += [invalid(f"{field}.path", text, f"must not contain '{bad}'") for bad in BAD_SEQUENCES if bad in text]
            found += [invalid(f"{field}.path", text, f"cannot end with '{bad}'") for bad in BAD_SUFFIXES if text.endswith(bad)]
    elif path_type == "ImplementationSpecific":
        if text and not text.startswith("/"):
            found.append(invalid(f"{field}.path", text, "must be an absolute path"))
    else:
        found.append(unsupported(f"{field}.pathType", path_type, PATH_TYPES))
    if re.search(r"[\x00-\x1f\x7f]", text):
        found.append(invalid(f"{field}.path", text, "must not contain control characters"))
    return found + _check_backend(path.get("backend") or {}, f"{field}.backend")


def _check_backend(backend: Document, field: str) -> list[FieldError]:
    service, resource = backend.get("service"), backend.get("resource")
    if service is not None and resource is not None:
        return [invalid(field, "", ONE_BACKEND)]
    if resource is not None:
        return _check_reference(resource, f"{field}.resource")
    if service is None:
        return [invalid(field, "", "resource or service backend is required")]
    found: list[FieldError] = []
    if name := service.get("name"):
        found += each(f"{field}.service.name", name, formats.label(name))
    else:
        found.append(required(f"{field}.service.name"))
    port = service.get("port") or {}
    name, number = port.get("name", ""), port.get("number", 0)
    if name and number:
        found.append(invalid(field, "", "cannot set both port name & port number"))
    elif name:
        found += each(f"{field}.service.port.name", name, formats.port_name(name))
    elif number:
        found += each(f"{field}.service.port.number", number, formats.port_number(number))
    else:
        found.append(required(field, "port name or number is required"))
    return found


def _check_reference(reference: Document, field: str) -> list[FieldError]:
    found: list[FieldError] = []
    if group := reference.get("apiGroup"):
        found += each(f"{field}.apiGroup", group, formats.subdomain(group))
    for name in ("kind", "name"):
        if value := reference.get(name):
            found += each(f"{field}.{name}", value, path_segment(value))
        else:
            found.append(required(f"{field}.{name}"))
    return found


def _balancers(document: Document | None) -> Sequence[Document]:
    return (((document or {}).get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()


def _check_status(document: Document, old: Document | None) -> list[FieldError]:
    found: list[FieldError] = []
    known = {balancer.get("ip") for balancer in _balancers(old)}
    for place, ingress in enumerate(_balancers(document)):
        field = f"status.loadBalancer.ingress[{place}]"
        if address := ingress.get("ip"):
            found += each(f"{field}.ip", address, (formats.loose_ip if address in known else formats.ip)(address))
        if hostname := ingress.get("hostname"):
            found += each(f"{field}.hostname", hostname, formats.subdomain(hostname))
            if formats.parse_ip(hostname):
                found.append(invalid(f"{field}.hostname", hostname, "must be a DNS name, not an IP address"))
    return found


class IngressClass(Plain):
    kind = INGRESS_CLASS
    generation = True
    columns: tuple[Column, ...] = (NAME, Column("Controller"), Column("Parameters"), AGE)

    def default(self, document: Document) -> None:
        parameters = document.setdefault("spec", {}).get("parameters")
        if parameters and not parameters.get("scope"):
            parameters["scope"] = "Cluster"

    def check(self, document: Document, old: Document | None, subresource: str) -> list[FieldError]:
        spec = document["spec"]
        controller = spec.get("controller", "")
        found: list[FieldError] = []
        if old is not None and controller != (old.get("spec") or {}).get("controller", ""):
            found.append(invalid("spec.controller", controller, IMMUTABLE))
        if not controller:
            found.append(required("spec.controller"))
        elif len(controller) > 250:
            found.append(FieldError("FieldValueTooLong", "spec.controller", "Too long: may not be more than 250 bytes"))
        else:
            found += _check_domain_path(controller)
        if parameters := spec.get("parameters"):
            found += _check_parameters(parameters)
        return found

    def cells(self, document: Document, env: Env) -> Sequence[Any]:
        spec = document.get("spec") or {}
        parameters = spec.get("parameters") or {}
        kind = ".".join(filter(None, (parameters.get("kind", ""), parameters.get("apiGroup", ""))))
        shown = f"{kind}/{parameters['name']}" if parameters.get("name") else printing.NONE
        return [document["metadata"].get("name", ""), spec.get("controller", ""), shown, printing.age(document, env)]


def _check_domain_path(text: str) -> list[FieldError]:
    domain, slash, path = text.partition("/")
    if not slash or not domain or not path:
        return [invalid("spec.controller", text, 'must be a domain-prefixed path (such as "acme.io/foo")')]
    found = each("spec.controller", domain, formats.subdomain(domain))
    if not re.fullmatch(r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+", path):
        detail = "Invalid path (regex used for validation is '[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+')"
        found.append(invalid("spec.controller", path, detail))
    return found


def _check_parameters(parameters: Document) -> list[FieldError]:
    field = "spec.parameters"
    found = _check_reference(parameters, field)
    scope, namespace = parameters.get("scope"), parameters.get("namespace")
    if scope == "Namespace":
        if not namespace:
            found.append(required(f"{field}.namespace", "`parameters.scope` is set to 'Namespace'"))
        else:
            found += each(f"{field}.namespace", namespace, formats.label(namespace))
    elif scope == "Cluster":
        if namespace is not None:
            found.append(forbidden(f"{field}.namespace", "`parameters.scope` is set to 'Cluster'"))
    else:
        found.append(unsupported(f"{field}.scope", scope or "", ("Cluster", "Namespace")))
    return found
