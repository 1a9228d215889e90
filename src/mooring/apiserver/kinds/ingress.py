"""networking.k8s.io/v1 Ingress and IngressClass: stored and validated."""

import re
from collections.abc import Sequence
from typing import Any

from mooring.apiserver.contract import Env
from mooring.apiserver.kinds import formats, printing
from mooring.apiserver.kinds.plain import AGE, NAME, Plain
from mooring.apiserver.kinds.problems import IMMUTABLE, each, forbidden, invalid, required, unsupported
from mooring.apiserver.strategy import Column, Document, FieldError
from mooring.model.kinds import INGRESS, INGRESS_CLASS

PATH_TYPES = ("Exact", "ImplementationSpecific", "Prefix")
CLASS_ANNOTATION = "kubernetes.io/ingress.class"
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
            return _check_status(document)
        spec = document["spec"]
        found: list[FieldError] = []
        annotations = document["metadata"].get("annotations") or {}
        class_name = spec.get("ingressClassName")
        if old is None and class_name is not None and CLASS_ANNOTATION in annotations:
            detail = "can not be set when the class field is also set"
            found.append(invalid(f"metadata.annotations.{CLASS_ANNOTATION}", annotations[CLASS_ANNOTATION], detail))
        if not spec.get("rules") and not spec.get("defaultBackend"):
            found.append(invalid("spec", spec.get("rules") or [], "either `defaultBackend` or `rules` must be specified"))
        for place, tls in enumerate(spec.get("tls") or ()):
            for at, host in enumerate(tls.get("hosts") or ()):
                rule = formats.wildcard_subdomain if "*" in host else formats.subdomain
                found += each(f"spec.tls[{place}].hosts[{at}]", host, rule(host))
            if name := tls.get("secretName"):
                found += each(f"spec.tls[{place}].secretName", name, formats.subdomain(name))
        for place, rule_document in enumerate(spec.get("rules") or ()):
            found += _check_rule(rule_document, f"spec.rules[{place}]")
        if backend := spec.get("defaultBackend"):
            found += _check_backend(backend, "spec.defaultBackend")
        if class_name is not None:
            found += each("spec.ingressClassName", class_name, formats.subdomain(class_name))
        return found

    def warnings(self, document: Document, old: Document | None) -> Sequence[str]:
        if CLASS_ANNOTATION in (document["metadata"].get("annotations") or {}) and old is None:
            return (f"annotation \"{CLASS_ANNOTATION}\" is deprecated, please use 'spec.ingressClassName' instead",)
        return ()

    def cells(self, document: Document, env: Env) -> Sequence[Any]:
        spec = document.get("spec") or {}
        hosts = [rule["host"] for rule in spec.get("rules") or () if rule.get("host")]
        annotations = document["metadata"].get("annotations") or {}
        ingresses = ((document.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
        return [
            document["metadata"].get("name", ""),
            spec.get("ingressClassName") or annotations.get(CLASS_ANNOTATION) or printing.NONE,
            printing.more(hosts, 3) or "*",
            ",".join(dict.fromkeys(i.get("ip") or i.get("hostname") or "" for i in ingresses)),
            "80, 443" if spec.get("tls") else "80",
            printing.age(document, env),
        ]


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
        return [required(field, "port name or number is required for service backends")] if backend else [required(field)]
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
    return found + [required(f"{field}.{name}", f"{name} is required") for name in ("kind", "name") if not reference.get(name)]


def _check_status(document: Document) -> list[FieldError]:
    found: list[FieldError] = []
    ingresses = ((document.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    for place, ingress in enumerate(ingresses):
        field = f"status.loadBalancer.ingress[{place}]"
        if address := ingress.get("ip"):
            found += each(f"{field}.ip", address, formats.ip(address))
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
