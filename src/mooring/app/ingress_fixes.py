"""What can be done about a finding of an Ingress? One sentence for each reason."""

from collections.abc import Mapping

from mooring.routing.finding import Finding

FIXES: Mapping[str, str] = {
    "AnnotationIgnored": "nothing needs to be done; take the annotation away if you like",
    "AnnotationInvalid": "correct the value, or take the annotation away",
    "AnnotationRefused": "take the annotation away, or do it another way: docs/reference/ingress-annotations.md says which",
    "AnnotationUnknown": "correct the annotation's name, or take it away",
    "BadCertificate": "put a certificate in PEM into tls.crt and its key into tls.key of the Secret",
    "BadHost": "write a DNS name, or one with `*.` before it",
    "BadPath": "begin the path with `/`, and percent-encode blanks and control characters",
    "BadPattern": "write a regular expression that RE2 takes",
    "CertificateExpired": "renew the certificate in the Secret: it is taken up without a restart",
    "CertificateMismatch": "list the hosts that the certificate is for, or put one into the Secret that is for this host",
    "CertificateNotYetValid": "wait until it is valid, or use another certificate until then",
    "Conflict": "take the host and path away from one of the two Ingresses",
    "ExternalNameRefused": "let the Service lead to a name outside of the proxies' own machine",
    "NoPassthrough": "add a rule for `/` of this host: its Service gets the connections",
    "NoPrimary": "make an Ingress with the same host and path that is no canary, or correct them in this one",
    "NoRule": "add a rule for this host, or take it away from spec.tls",
    "ParameterInvalid": "correct the key's value in the class's ConfigMap",
    "ParameterRefused": "take the key away from the class's ConfigMap",
    "ParameterUnknown": "correct the key's name in the class's ConfigMap, or take it away",
    "ParametersNotFound": "make the ConfigMap that the IngressClass names, or correct spec.parameters",
    "ParametersUnsupported": "let spec.parameters of the IngressClass name a ConfigMap",
    "PortNotFound": "name a TCP port that the Service has, or add it to the Service",
    "SecretNotFound": "make the Secret in the Ingress's namespace, or correct its name in spec.tls",
    "ServiceNotFound": "make the Service in the Ingress's namespace, or correct its name in the backend",
    "TooLarge": "split the Ingress into several",
    "UnsupportedBackend": "name a Service in the backend",
    "UnusualCertificate": "make the Secret of type kubernetes.io/tls",
}


def fix(finding: Finding) -> str:
    """'' for a reason that nobody has thought of."""
    return FIXES.get(finding.reason, "")
