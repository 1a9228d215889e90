"""What is logged and measured? And which names did upstream drop before its end?"""

from msgspec import structs

from mooring.routing.ingress.annotations.annotation import Annotation, Family, no_op, refused
from mooring.routing.ingress.annotations.notes import Notes
from mooring.routing.ingress.wishes import Wishes

_OPENTELEMETRY = "request ids and trace context are handed on as they come; no spans are made"

_ANNOTATIONS = (
    Annotation(
        "enable-access-log", "true, false", "Default true. false: requests that get as far as the backend are not logged."
    ),
    no_op(
        "enable-rewrite-log", "true, false", "there is no log of rewrites; `mooring trace request` tells which rule was taken"
    ),
    no_op("http2-push-preload", "true, false", "browsers no longer take pushes; the Link header reaches them as it is"),
    no_op("enable-opentelemetry", "true, false", _OPENTELEMETRY),
    no_op("opentelemetry-trust-incoming-span", "true, false", _OPENTELEMETRY),
    no_op("opentelemetry-operation-name", "text", _OPENTELEMETRY),
    no_op("enable-opentracing", "true, false", _OPENTELEMETRY),
    no_op("opentracing-trust-incoming-span", "true, false", _OPENTELEMETRY),
    *(
        no_op(name, form, "InfluxDB was dropped upstream; the access log has what it got")
        for name, form in (
            ("enable-influxdb", "true, false"),
            ("influxdb-measurement", "a name"),
            ("influxdb-port", "a port"),
            ("influxdb-host", "a host"),
            ("influxdb-server-name", "a name"),
        )
    ),
    refused("secure-backends", "true, false", "upstream dropped it; use backend-protocol: HTTPS"),
    refused("grpc-backend", "true, false", "upstream dropped it; use backend-protocol: GRPC"),
    refused("add-base-url", "true, false", "upstream dropped it; let the backend use X-Forwarded-Prefix"),
    refused("base-url-scheme", "a scheme", "upstream dropped it; let the backend use X-Forwarded-Proto"),
    no_op("session-cookie-hash", "md5, sha1", "upstream dropped it; a cookie names its endpoint"),
)


def _read(notes: Notes, wishes: Wishes) -> Wishes:
    if not notes.boolean("enable-access-log", default=True):
        return structs.replace(wishes, policy=structs.replace(wishes.policy, access_log=False))
    return wishes


WATCHING = Family(_ANNOTATIONS, _read)
