"""Which IP families does a Service get? Decided with the cluster's families, before its addresses are chosen."""

from mooring.apiserver.kinds import formats
from mooring.apiserver.kinds.problems import invalid
from mooring.apiserver.kinds.service_defaults import Spec, is_headless, needs_cluster_ip
from mooring.apiserver.kinds.service_ranges import Ranges
from mooring.apiserver.strategy import FieldError

FAMILY_FIELDS = ("clusterIPs", "ipFamilies", "ipFamilyPolicy")


def settle_families(spec: Spec, before: Spec | None, ranges: Ranges) -> list[FieldError]:
    """Fills in ipFamilyPolicy and ipFamilies in place, in the order given or the cluster's; on errors nothing may be stored."""
    if not needs_cluster_ip(spec) or (before is not None and _unchanged(spec, before)):
        return []
    headless_by_hand = is_headless(spec) and not spec.get("selector")
    policy = spec.setdefault("ipFamilyPolicy", "RequireDualStack" if headless_by_hand else "SingleStack")
    if policy == "SingleStack" and not headless_by_hand and not spec.get("clusterIPs") and not spec.get("ipFamilies"):
        spec["ipFamilies"] = [ranges.families[0]]  # as of nearly all
        return []
    families, errors = _inferred(spec, ranges)
    errors = _too_many(spec) + errors
    if headless_by_hand and not errors:
        # Endpoints are the user's own: both families may be served even where the cluster has one.
        families = families or [ranges.families[0]]
        if len(families) == 1 and spec["ipFamilyPolicy"] != "SingleStack":
            families.append("IPv6" if families[0] == "IPv4" else "IPv4")
        spec["ipFamilies"] = families
        return []
    if errors := errors or _not_configured(spec, families, ranges):
        return errors
    families = families or [ranges.families[0]]
    if spec["ipFamilyPolicy"] != "SingleStack" and len(families) == 1:
        families += [family for family in ranges.families if family not in families]
    spec["ipFamilies"] = families
    return []


def _unchanged(spec: Spec, before: Spec) -> bool:
    """Nothing is upgraded or downgraded because the cluster has changed: only when the Service has."""
    return (
        needs_cluster_ip(before)
        and bool(before.get("ipFamilies"))
        and all(spec.get(name) == before.get(name) for name in FAMILY_FIELDS)
    )


def _inferred(spec: Spec, ranges: Ranges) -> tuple[list[str], list[FieldError]]:
    """The families given, and those that follow from the addresses given."""
    families, errors = list(spec.get("ipFamilies") or ()), []
    addresses = spec.get("clusterIPs") or []
    for place, text in enumerate(addresses):
        address = formats.parse_ip(text)
        if address is None or place < len(families):
            continue
        family = f"IPv{address.version}"
        if family in ranges.families:
            families.append(family)
        else:
            errors.append(invalid(f"spec.clusterIPs[{place}]", addresses, f"{family} is not configured on this cluster"))
    return families, errors


def _too_many(spec: Spec) -> list[FieldError]:
    """One family is wished, and two of something were given."""
    words = "must be 'RequireDualStack' or 'PreferDualStack' when multiple {} are specified"
    return [
        invalid("spec.ipFamilyPolicy", spec["ipFamilyPolicy"], words.format(what))
        for name, what in (("clusterIPs", "cluster IPs"), ("ipFamilies", "IP families"))
        if spec["ipFamilyPolicy"] == "SingleStack" and len(spec.get(name) or ()) == 2
    ]


def _not_configured(spec: Spec, families: list[str], ranges: Ranges) -> list[FieldError]:
    policy, errors = spec["ipFamilyPolicy"], []
    if policy == "RequireDualStack" and len(ranges.families) < 2:
        errors.append(invalid("spec.ipFamilyPolicy", policy, "this cluster is not configured for dual-stack services"))
    errors += [
        invalid(f"spec.ipFamilies[{place}]", family, "not configured on this cluster")
        for place, family in enumerate(families)
        if family not in ranges.families
    ]
    return errors
