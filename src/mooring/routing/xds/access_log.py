"""What is written of each request? One line of JSON on standard output; the fields are the same for every proxy."""

from envoy.config.accesslog.v3.accesslog_pb2 import AccessLog
from envoy.extensions.access_loggers.stream.v3.stream_pb2 import StdoutAccessLog

from mooring.routing.xds.wire import packed

_FIELDS = {
    "time": "%START_TIME%",
    "method": "%REQ(:METHOD)%",
    "scheme": "%REQ(X-FORWARDED-PROTO)%",
    "authority": "%REQ(X-FORWARDED-HOST?:AUTHORITY)%",
    "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    "protocol": "%PROTOCOL%",
    "status": "%RESPONSE_CODE%",
    "flags": "%RESPONSE_FLAGS%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "bytes_received": "%DOWNSTREAM_WIRE_BYTES_RECEIVED%",
    "bytes_sent": "%DOWNSTREAM_WIRE_BYTES_SENT%",
    "duration": "%DURATION%",
    "client": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
    "forwarded_for": "%REQ(X-FORWARDED-FOR)%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "traceparent": "%REQ(TRACEPARENT)%",
    "route": "%ROUTE_NAME%",
    "cluster": "%UPSTREAM_CLUSTER_RAW%",
    "upstream": "%UPSTREAM_HOST%",
    "user_agent": "%REQ(USER-AGENT)%",
}
"""`duration` in milliseconds, `time` in UTC (RFC 3339). What is not there is null: to write a string costs 3 %."""


def to_stdout() -> AccessLog:
    out = StdoutAccessLog()
    out.log_format.json_format.update(_FIELDS)
    log = AccessLog(name="envoy.access_loggers.stdout", typed_config=packed(out))
    # A route that wants no log has its script say so.
    said = log.filter.metadata_filter.matcher
    said.filter = "mooring"
    said.path.add(key="logged")
    said.value.bool_match = True
    log.filter.metadata_filter.match_if_key_not_found.value = True
    return log


def of_connections() -> AccessLog:
    """For TLS that passes through: there is no request to be seen."""
    out = StdoutAccessLog()
    out.log_format.json_format.update(
        {
            "time": "%START_TIME%",
            "protocol": "TLS",
            "authority": "%REQUESTED_SERVER_NAME%",
            "flags": "%RESPONSE_FLAGS%",
            "bytes_received": "%BYTES_RECEIVED%",
            "bytes_sent": "%BYTES_SENT%",
            "duration": "%DURATION%",
            "client": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
            "cluster": "%UPSTREAM_CLUSTER_RAW%",
            "upstream": "%UPSTREAM_HOST%",
        }
    )
    return AccessLog(name="envoy.access_loggers.stdout", typed_config=packed(out))
