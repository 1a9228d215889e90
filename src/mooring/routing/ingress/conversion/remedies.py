"""What can a person do about an annotation that is not done here? The nearest thing that is."""

from mooring.routing.ingress.annotations.notes import PREFIX

SNIPPETS = (
    "say it by annotations: custom-headers for headers of answers, permanent-redirect and rewrite-target for rewriting, "
    "denylist-source-range for addresses"
)
REMEDIES = {
    "configuration-snippet": SNIPPETS,
    "server-snippet": SNIPPETS,
    "stream-snippet": "put the port into a Service of type LoadBalancer",
    "auth-snippet": "have the authentication server do it, or name headers in auth-response-headers",
    "modsecurity-snippet": "put a web application firewall before the Ingress",
    "enable-modsecurity": "put a web application firewall before the Ingress",
    "enable-owasp-core-rules": "put a web application firewall before the Ingress",
    "auth-type": "use basic, or auth-url",
    "upstream-hash-by-subset": "use upstream-hash-by without subsets",
    "custom-http-errors": "name a Service in default-backend",
}


def remedy(field: str) -> str:
    """For the field of a Finding; '' when its own words must do."""
    name = field.removeprefix(f"metadata.annotations[{PREFIX}").removesuffix("]")
    return REMEDIES.get(name, "")
