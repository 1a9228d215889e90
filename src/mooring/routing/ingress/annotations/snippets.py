"""What of NGINX's own configuration is asked for? Refused, all of it; and where it guards something, the rules are closed.

A snippet can read every certificate's key and every other tenant's traffic (CVE-2021-25742). It is never looked into for what
it does, only for whether leaving it out would let in whom it keeps out.
"""

import re

from mooring.routing.ingress.annotations.annotation import Annotation, Family, refused
from mooring.routing.ingress.annotations.notes import Notes
from mooring.routing.ingress.wishes import Wishes

_GUARDS = re.compile(
    r"\b((?:deny|allow)\s+(?:all|unix:|[0-9a-fA-F]+[.:])|auth_basic|auth_request|auth_jwt|satisfy|limit_except|limit_req|limit_conn"
    r"|internal\s*;|valid_referers|secure_link|ssl_verify_client|ssl_client_certificate|modsecurity|access_by_lua|rewrite_by_lua"
    r"|return\s+4\d\d)"
)
_ENFORCED = re.compile(r"\bSecRuleEngine\s+On\b", re.IGNORECASE)
_SNIPPET = "configuration of NGINX's own is never taken over"

_ANNOTATIONS = (
    Annotation(
        "configuration-snippet",
        "NGINX's configuration",
        "Refused. The rules go on, or answer 503 if it names what guards them (deny, auth_basic, return 403, ...). Headers: "
        "use custom-headers; redirects: permanent-redirect; access: allowlist-source-range.",
    ),
    Annotation("server-snippet", "NGINX's configuration", "As configuration-snippet."),
    Annotation("stream-snippet", "NGINX's configuration", "Refused; a port of TCP is a Service of type LoadBalancer."),
    Annotation("auth-snippet", "NGINX's configuration", "Refused. With auth-url 503, as it may decide who gets in."),
    Annotation(
        "enable-modsecurity",
        "true, false",
        "Refused: there is no such filter. 503 if modsecurity-snippet enforces rules.",
    ),
    Annotation("modsecurity-snippet", "ModSecurity's configuration", "Refused. 503 if it says SecRuleEngine On."),
    refused("enable-owasp-core-rules", "true, false", "there is no ModSecurity"),
    refused("modsecurity-transaction-id", "variables", "there is no ModSecurity"),
)


def _read(notes: Notes, wishes: Wishes) -> Wishes:
    for name in ("configuration-snippet", "server-snippet", "stream-snippet"):
        guard = _GUARDS.search(notes.values.get(name, ""))
        if guard is not None and name != "stream-snippet":
            notes.close(name, f"{_SNIPPET}, and this one guards the rules ({guard[1].split()[0].rstrip(';')})")
        elif notes.values.get(name, "").strip():
            notes.refuse(name, _SNIPPET)
    if notes.values.get("auth-snippet", "").strip():
        if notes.values.get("auth-url", "").strip():
            notes.close("auth-snippet", f"{_SNIPPET}, and this one may decide who gets in")
        else:
            notes.refuse("auth-snippet", _SNIPPET)
    if notes.values.get("modsecurity-snippet", "").strip():
        if _ENFORCED.search(notes.values["modsecurity-snippet"]):
            notes.close("modsecurity-snippet", "there is no ModSecurity, and this enforces its rules")
        else:
            notes.refuse("modsecurity-snippet", "there is no ModSecurity")
    if notes.boolean("enable-modsecurity"):
        notes.refuse("enable-modsecurity", "there is no ModSecurity", "requests are neither inspected nor logged by it")
    return wishes


SNIPPETS = Family(_ANNOTATIONS, _read)
