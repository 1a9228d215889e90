"""How is the local cluster? What the machine shows of it, then what its own API says."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from mooring.app import cluster, readiness
from mooring.app.connection import Connection, Refused, Unreachable
from mooring.app.files import Files, start_time
from mooring.app.settings import Settings
from mooring.edges import cgroups
from mooring.edges.http import kubeconfig
from mooring.edges.netlink import namespaces


class Part(Struct, frozen=True):
    """A process of the cluster. `trouble` is '' when it is well; `pid` 0 when it does not run."""

    name: str
    pid: int
    place: str
    trouble: str = ""


class Status(Struct, frozen=True):
    cluster: str
    data_dir: str
    server: str
    version: str
    pods: int
    parts: tuple[Part, ...]

    @property
    def healthy(self) -> bool:
        return not any(part.trouble for part in self.parts)


def status(settings: Settings, files: Files) -> Status:
    """Asks everything once; needs root, as the cluster's processes have it."""
    group = cgroups.subtree(settings.name)
    connection = Connection(kubeconfig.load(files.kubeconfig), timeout=5.0) if files.kubeconfig.exists() else None
    version, pods = "", 0
    if connection:
        with suppress(Refused, Unreachable):
            version = connection.get("/version").get("gitVersion", "")
            pods = len(connection.get("/api/v1/pods").get("items") or ())
    running = files.running()
    supervisor = running.pid if running and start_time(running.pid) == running.started else 0
    crashed = "not running: the cluster goes on without it; `mooring up` takes over" if running else "not running; `mooring up`"
    parts = [Part("supervisor", supervisor, "", "" if supervisor else crashed)]
    parts.append(_part("apiserver", group / "apiserver", "", readiness.api(connection) if connection else "no kubeconfig"))
    parts.append(
        _part(
            "controllers", group / "controllers", "", readiness.health(running.controllers_port) if running else "not running"
        )
    )
    parts += _nodes(settings, connection)
    return Status(settings.name, str(files.root), connection.access.server if connection else "", version, pods, tuple(parts))


def _nodes(settings: Settings, connection: Connection | None) -> Iterator[Part]:
    for place in cluster.network(settings).nodes:
        namespace = cluster.network(settings).namespace(place.name)
        if not namespaces.exists(namespace):
            trouble = f"network namespace {namespace} does not exist"
        else:
            trouble = readiness.node(connection, place.name, namespace) if connection else "no kubeconfig"
        addresses = " ".join(str(address.ip) for address in place.addresses)
        yield _part(place.name, cgroups.subtree(settings.name) / place.name / "agent", addresses, trouble)


def _part(name: str, group: Path, place: str, trouble: str) -> Part:
    pids = cgroups.processes(group)
    return Part(name, min(pids, default=0), place, trouble if pids else "not running")
