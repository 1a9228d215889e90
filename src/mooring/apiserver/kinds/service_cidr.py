"""networking.k8s.io/v1 ServiceCIDR and IPAddress: the ranges of cluster IPs, and who holds each one (KEP-1880)."""

from collections.abc import Sequence
from typing import Any

from mooring.apiserver.contract import Env
from mooring.apiserver.kinds import formats, printing
from mooring.apiserver.kinds.plain import AGE, NAME, Plain
from mooring.apiserver.kinds.problems import IMMUTABLE, each, invalid, required
from mooring.apiserver.strategy import Column, Document, FieldError
from mooring.model.kinds import IP_ADDRESS, SERVICE_CIDR

LARGEST_V6 = 64


class ServiceCIDR(Plain):
    kind = SERVICE_CIDR
    has_status = True
    generation = True
    columns: tuple[Column, ...] = (NAME, Column("CIDRs"), AGE)

    def check(self, document: Document, old: Document | None, subresource: str) -> list[FieldError]:
        cidrs: list[str] = (document.get("spec") or {}).get("cidrs") or []
        field = "spec.cidrs"
        if old is not None:
            return [] if cidrs == (old.get("spec") or {}).get("cidrs") else [invalid(field, cidrs, IMMUTABLE)]
        if not cidrs:
            return [required(field, "at least one CIDR required")]
        if len(cidrs) > 2:
            return [invalid(field, cidrs, "may only hold up to 2 values")]
        found: list[FieldError] = []
        versions = []
        for place, text in enumerate(cidrs):
            found += each(f"{field}[{place}]", text, formats.canonical_cidr(text))
            network = formats.parse_cidr(text)
            if network is not None:
                versions.append(network.version)
                if network.version == 6 and network.prefixlen < LARGEST_V6:
                    words = f"prefix length must be at least {LARGEST_V6} for IPv6"
                    found.append(invalid(f"{field}[{place}]", text, words))
        if len(versions) != len(set(versions)):
            found.append(
                invalid(
                    field, cidrs, "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64"
                )
            )
        return found

    def cells(self, document: Document, env: Env) -> Sequence[Any]:
        cidrs = (document.get("spec") or {}).get("cidrs") or ()
        return [document["metadata"].get("name", ""), ",".join(cidrs), printing.age(document, env)]


class IPAddress(Plain):
    kind = IP_ADDRESS
    generation = True
    columns: tuple[Column, ...] = (NAME, Column("ParentRef"), AGE)

    def name_rule(self, name: str) -> list[str]:
        return formats.canonical_ip(name)

    def check(self, document: Document, old: Document | None, subresource: str) -> list[FieldError]:
        spec = document.get("spec") or {}
        parent = spec.get("parentRef")
        if old is not None and spec != (old.get("spec") or {}):
            return [invalid("spec.parentRef", parent, IMMUTABLE)]
        if not parent:
            return [required("spec.parentRef")]
        found: list[FieldError] = []
        if parent.get("group"):
            found += each("spec.parentRef.group", parent["group"], formats.subdomain(parent["group"]))
        for name in ("resource", "name"):
            value = parent.get(name, "")
            found += _segment(f"spec.parentRef.{name}", value) if value else [required(f"spec.parentRef.{name}")]
        if parent.get("namespace"):
            found += _segment("spec.parentRef.namespace", parent["namespace"])
        return found

    def fields(self, document: Document) -> dict[str, str]:
        parent = (document.get("spec") or {}).get("parentRef") or {}
        return {f"spec.parentRef.{name}": parent.get(name, "") for name in ("group", "resource", "namespace", "name")}

    def cells(self, document: Document, env: Env) -> Sequence[Any]:
        parent = (document.get("spec") or {}).get("parentRef") or {}
        resource = ".".join(filter(None, (parent.get("resource", ""), parent.get("group", ""))))
        shown = "/".join(filter(None, (resource, parent.get("namespace", ""), parent.get("name", ""))))
        return [document["metadata"].get("name", ""), shown or printing.NONE, printing.age(document, env)]


def _segment(field: str, value: str) -> list[FieldError]:
    return [invalid(field, value, f"may not contain '{letter}'") for letter in "/%" if letter in value]
