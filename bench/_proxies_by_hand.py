"""What would somebody write by hand for the duty that an Ingress gives our proxies? Envoy, NGINX and HAProxy, configured.

Equal duty: the same three routes of one host, and no other host, to the same backend over kept connections; safe paths (dot
segments, double slashes), of which the backend is told what the rules see: in NGINX that is a `proxy_pass` with a path; the
client's address, the scheme, host and port it asked for, and a request id for the backend; what only a proxy may say is taken
from clients; HSTS where it is HTTPS; requests that may be sent twice are, to another endpoint, when a backend breaks off or is
silent for a minute (HAProxy: when it cannot be connected to); limits of sizes and times; a line of JSON with the same 20 fields
for each request, written many at a time; TLS with the same certificate and suites. The silence is what NGINX's
proxy_read_timeout with proxy_next_upstream is, upstream's defaults for every Ingress; in Envoy it is a timer of each try.

Long because it is three configurations.
"""

import json
from pathlib import Path
from typing import Any

from mooring.edges.envoy import launch as envoy_launch

ADDRESS = "127.0.0.1"
BACKEND = 18080
PREFIXES = ("/", "/api", "/static")
BODY_OCTETS = 1024 * 1024
CIPHERS = (
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
)
TYPE = "type.googleapis.com/envoy.extensions"
CLAIMS = [
    "ssl-client-verify", "ssl-client-subject-dn", "ssl-client-issuer-dn", "ssl-client-cert", "forwarded", "proxy",
    "x-envoy-attempt-count", "x-envoy-is-timeout-retry", "x-envoy-external-address",
]  # fmt: skip
HSTS = "max-age=31536000; includeSubDomains"
FIELDS = {
    "time": "%START_TIME%", "method": "%REQ(:METHOD)%", "scheme": "%REQ(X-FORWARDED-PROTO)%", "authority": "%REQ(:AUTHORITY)%",
    "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%", "protocol": "%PROTOCOL%", "status": "%RESPONSE_CODE%",
    "flags": "%RESPONSE_FLAGS%", "details": "%RESPONSE_CODE_DETAILS%", "bytes_received": "%DOWNSTREAM_WIRE_BYTES_RECEIVED%",
    "bytes_sent": "%DOWNSTREAM_WIRE_BYTES_SENT%", "duration": "%DURATION%",
    "client": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", "forwarded_for": "%REQ(X-FORWARDED-FOR)%",
    "request_id": "%REQ(X-REQUEST-ID)%", "traceparent": "%REQ(TRACEPARENT)%", "route": "%ROUTE_NAME%",
    "cluster": "%UPSTREAM_CLUSTER_RAW%", "upstream": "%UPSTREAM_HOST%", "user_agent": "%REQ(USER-AGENT)%",
}  # fmt: skip


def envoy(folder: Path, host: str, pem: Path, http: int, https: int) -> list[str]:
    """Envoy's own guide for edge proxies (best practices), with one route configuration. Routes are told twice, first for the
    methods that may not be sent twice."""
    unsent = "connect-failure,refused-stream,reset-before-request"
    previous = "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
    retry = {
        "num_retries": 2,
        "per_try_idle_timeout": "60s",
        "retry_host_predicate": [{"name": "previous", "typed_config": {"@type": previous}}],
        "host_selection_retry_max_attempts": 5,
    }
    careful = [{"name": ":method", "string_match": {"safe_regex": {"regex": "POST|PATCH|LOCK"}}}]
    routes = [
        {
            "name": f"route-{prefix}",
            "match": {**({"prefix": "/"} if prefix == "/" else {"path_separated_prefix": prefix}), "headers": headers},
            "route": {
                "cluster": "backend",
                "timeout": "0s",
                "idle_timeout": "180s",
                "retry_policy": {"retry_on": words, **retry},
            },
        }
        for prefix in sorted(PREFIXES, key=len, reverse=True)
        for headers, words in ((careful, unsent), ([], f"{unsent},reset"))
    ]

    def manager(name: str, port: int) -> dict[str, Any]:
        added = [{"header": {"key": "strict-transport-security", "value": HSTS}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}]
        told = {
            "x-real-ip": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
            "x-forwarded-host": "%REQ(:AUTHORITY)%",
            "x-forwarded-port": str(port),
            "x-forwarded-scheme": name,
            "x-scheme": name,
        }
        return {
            "@type": f"{TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": name,
            "codec_type": "AUTO",
            "use_remote_address": True,
            "normalize_path": True,
            "merge_slashes": True,
            "path_with_escaped_slashes_action": "REJECT_REQUEST",
            "server_header_transformation": "PASS_THROUGH",
            "preserve_external_request_id": True,
            "max_request_headers_kb": 60,
            "request_headers_timeout": "10s",
            "stream_idle_timeout": "3600s",
            "common_http_protocol_options": {
                "idle_timeout": "75s",
                "max_headers_count": 100,
                "headers_with_underscores_action": "DROP_HEADER",
            },
            "http2_protocol_options": {
                "max_concurrent_streams": 100,
                "initial_stream_window_size": 65536,
                "initial_connection_window_size": 1048576,
            },
            "upgrade_configs": [{"upgrade_type": "websocket"}],
            "access_log": [
                {
                    "name": "stdout",
                    "typed_config": {
                        "@type": f"{TYPE}.access_loggers.stream.v3.StdoutAccessLog",
                        "log_format": {"json_format": FIELDS},
                    },
                }
            ],
            "route_config": {
                "name": "routes",
                "virtual_hosts": [
                    {
                        "name": host,
                        "domains": [host],
                        "routes": routes,
                        "request_headers_to_remove": CLAIMS,
                        "response_headers_to_add": added if name == "https" else [],
                        "request_headers_to_add": [
                            {"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
                            for key, value in told.items()
                        ],
                    }
                ],
            },
            "http_filters": [
                {
                    "name": "envoy.filters.http.buffer",
                    "typed_config": {
                        "@type": f"{TYPE}.filters.http.buffer.v3.Buffer",
                        "max_request_bytes": BODY_OCTETS,
                    },
                },
                {
                    "name": "envoy.filters.http.router",
                    "typed_config": {
                        "@type": f"{TYPE}.filters.http.router.v3.Router",
                        "suppress_envoy_headers": True,
                        "dynamic_stats": False,
                    },
                },
            ],
        }

    def listener(name: str, port: int, socket: dict[str, Any]) -> dict[str, Any]:
        filters = [{"name": "http", "typed_config": manager(name, port)}]
        return {
            "name": name,
            "address": {"socket_address": {"address": ADDRESS, "port_value": port}},
            "per_connection_buffer_limit_bytes": 131072,
            "filter_chains": [{"filters": filters, **socket}],
        }

    common = {
        "alpn_protocols": ["h2", "http/1.1"],
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2", "cipher_suites": CIPHERS.split(":")},
        "tls_certificates": [{"certificate_chain": {"filename": str(pem)}, "private_key": {"filename": str(pem)}}],
    }
    tls = {"@type": f"{TYPE}.transport_sockets.tls.v3.DownstreamTlsContext", "common_tls_context": common}
    endpoint = {"endpoint": {"address": {"socket_address": {"address": ADDRESS, "port_value": BACKEND}}}}
    plenty = dict.fromkeys(("max_connections", "max_pending_requests", "max_requests", "max_retries"), 1000000)
    cluster = {
        "name": "backend",
        "type": "STATIC",
        "connect_timeout": "5s",
        "circuit_breakers": {"thresholds": [plenty]},
        "load_assignment": {"cluster_name": "backend", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
    secure = {"transport_socket": {"name": "tls", "typed_config": tls}}
    listeners = [listener("http", http, {}), listener("https", https, secure)]
    (folder / "envoy.json").write_text(
        json.dumps(
            {
                "admin": {"address": {"pipe": {"path": f"{folder}/admin.sock"}}},
                "static_resources": {"listeners": listeners, "clusters": [cluster]},
            }
        )
    )
    words = ("--concurrency", "1", "--disable-hot-restart", "--log-level", "warning", "--file-flush-interval-msec", "200")
    return [str(envoy_launch.binary()), "--config-path", f"{folder}/envoy.json", *words]


def nginx(folder: Path, host: str, pem: Path, http: int, https: int) -> list[str]:
    fields = {
        "time": "time_iso8601", "method": "request_method", "scheme": "scheme", "authority": "http_host",
        "path": "request_uri", "protocol": "server_protocol", "status": "status", "flags": "connection",
        "bytes_received": "request_length", "bytes_sent": "bytes_sent", "duration": "request_time",
        "client": "remote_addr", "forwarded_for": "http_x_forwarded_for",
        "request_id": "identity", "traceparent": "http_traceparent", "route": "route", "cluster": "proxy_host",
        "upstream": "upstream_addr", "user_agent": "http_user_agent",
    }  # fmt: skip
    log = ",".join(f'"{name}":"${variable}"' for name, variable in fields.items())
    # A prefix is of whole elements.
    paths = {each: prefix for prefix in PREFIXES for each in {f"= {prefix}", f"{prefix.rstrip('/')}/"}}
    locations = "".join(
        f"location {path} {{ set $route 'route-{prefix}'; proxy_pass http://backend{path.removeprefix('= ')}; }}"
        for path, prefix in paths.items()
    )
    claims = "".join(f"proxy_set_header {each} ''; " for each in CLAIMS if not each.startswith("x-envoy"))
    (folder / "nginx.conf").write_text(f"""
daemon off; worker_processes 1; pid {folder}/pid; error_log stderr warn; worker_rlimit_nofile 33792;
events {{ worker_connections 32768; }}
http {{
  log_format json escape=json '{{{log}}}';
  access_log /dev/stdout json buffer=64k flush=1s;
  server_tokens off; tcp_nodelay on;
  map $http_x_request_id $identity {{ default $http_x_request_id; '' $request_id; }}
  map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
  client_header_timeout 10s; client_body_timeout 60s; send_timeout 60s; keepalive_timeout 75s; keepalive_requests 1000000;
  client_max_body_size {BODY_OCTETS}; large_client_header_buffers 4 15k; http2_max_concurrent_streams 100;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  proxy_http_version 1.1; proxy_buffering off; proxy_buffer_size 16k; proxy_buffers 8 16k; proxy_busy_buffers_size 32k;
  proxy_connect_timeout 5s; proxy_read_timeout 60s; proxy_send_timeout 60s;
  proxy_next_upstream error timeout; proxy_next_upstream_tries 3; proxy_pass_header Server;
  proxy_set_header Host $http_host; proxy_set_header X-Request-ID $identity; proxy_set_header X-Real-IP $remote_addr;
  proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Host $http_host;
  proxy_set_header X-Forwarded-Port $server_port; proxy_set_header X-Forwarded-Proto $scheme;
  proxy_set_header X-Forwarded-Scheme $scheme; proxy_set_header X-Scheme $scheme;
  proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade;
  {claims}
  ssl_certificate {pem}; ssl_certificate_key {pem}; ssl_protocols TLSv1.2 TLSv1.3; ssl_ciphers {CIPHERS};
  ssl_session_cache shared:sessions:10m; ssl_session_tickets off;
  upstream backend {{ server {ADDRESS}:{BACKEND}; keepalive 320; keepalive_requests 1000000; }}
  server {{ listen {ADDRESS}:{http} default_server; listen {ADDRESS}:{https} default_server ssl http2; return 404; }}
  server {{ listen {ADDRESS}:{http}; server_name {host}; {locations} }}
  server {{
    listen {ADDRESS}:{https} ssl http2; server_name {host};
    add_header Strict-Transport-Security "{HSTS}" always;
    {locations}
  }}
}}
""")
    return ["nginx", "-e", "stderr", "-c", f"{folder}/nginx.conf"]


def haproxy(folder: Path, host: str, pem: Path, http: int, https: int) -> list[str]:
    log = {
        "time": "%[date,utime(%Y-%m-%dT%H:%M:%S)]", "method": "%HM", "scheme": "%[ssl_fc,iif(https,http)]",
        "authority": "%[capture.req.hdr(0)]", "path": "%HU", "protocol": "%HV", "status": "%ST", "flags": "%tsc",
        "bytes_received": "%U", "bytes_sent": "%B", "duration": "%Ta", "client": "%ci",
        "forwarded_for": "%[capture.req.hdr(1)]", "request_id": "%ID", "traceparent": "%[capture.req.hdr(2)]",
        "route": "%[var(txn.route)]", "cluster": "%b", "upstream": "%si:%sp", "user_agent": "%[capture.req.hdr(3)]",
    }  # fmt: skip
    claims = "".join(f"  http-request del-header {each}\n" for each in CLAIMS if not each.startswith("x-envoy"))
    text = json.dumps(log).replace('"', r"\"").replace(" ", r"\ ")
    routes = "".join(
        f"  http-request set-var(txn.route) str(route-{prefix})"
        f" if {{ path {prefix} }} or {{ path_beg {prefix.rstrip('/')}/ }}\n"
        for prefix in sorted(PREFIXES, key=len)
    )
    (folder / "haproxy.cfg").write_text(f"""
global
  log stdout format raw local0
  expose-experimental-directives
  nbthread 1
  maxconn 8192
  ssl-default-bind-ciphers {CIPHERS}
  ssl-default-bind-options ssl-min-ver TLSv1.2 no-tls-tickets
defaults
  mode http
  log global
  timeout http-request 10s
  timeout client 75s
  timeout http-keep-alive 75s
  timeout connect 5s
  timeout server 60s
  timeout tunnel 3600s
  retries 2
  option redispatch
  option http-keep-alive
  http-reuse safe
frontend door
  bind {ADDRESS}:{http}
  bind {ADDRESS}:{https} ssl crt {pem} alpn h2,http/1.1
  unique-id-format %[uuid()]
  unique-id-header X-Request-ID
  declare capture request len 128
  http-request capture req.hdr(Host) id 0
  declare capture request len 128
  http-request capture req.hdr(X-Forwarded-For) id 1
  declare capture request len 128
  http-request capture req.hdr(traceparent) id 2
  declare capture request len 128
  http-request capture req.hdr(User-Agent) id 3
  log-format {text}
  http-request normalize-uri path-merge-slashes
  http-request normalize-uri path-strip-dotdot
  http-request deny deny_status 413 if {{ req.body_size gt {BODY_OCTETS} }}
{routes}{claims}  http-request set-header X-Real-IP %[src]
  http-request set-header X-Forwarded-For %[src]
  http-request set-header X-Forwarded-Host %[req.hdr(Host)]
  http-request set-header X-Forwarded-Port %[dst_port]
  http-request set-header X-Forwarded-Proto %[ssl_fc,iif(https,http)]
  http-response set-header Strict-Transport-Security "{HSTS}" if {{ ssl_fc }}
  use_backend backend if {{ hdr(host),field(1,:) -i {host} }}
backend backend
  server only {ADDRESS}:{BACKEND}
""")
    return ["haproxy", "-db", "-f", f"{folder}/haproxy.cfg"]
