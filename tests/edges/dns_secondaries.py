"""How is somebody else's DNS server run as a secondary of ours? Configurations are those of docs/guides/dns-secondaries.md."""

import asyncio
import contextlib
import os
import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path

from msgspec import Struct

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guides" / "dns-secondaries.md"
ZONES = ("cluster.local", "96.10.in-addr.arpa")
PATIENCE = 60.0


class Kind(Struct, frozen=True):
    """`before` stands before the guide's part, with {port} and {folder} filled in; `edits` let the test take zones, too."""

    name: str
    command: tuple[str, ...]
    before: str
    edits: tuple[tuple[str, str], ...] = ()


KNOT = Kind(
    "knot",
    ("knotd", "-c", "{config}"),
    """
server:
    rundir: {folder}
    listen: 127.0.0.1@{port}
    background-workers: 1
    udp-workers: 1
    tcp-workers: 1
control:
    listen: {folder}/control
database:
    storage: {folder}
log:
  - target: stderr
    any: info
template:
  - id: default
    storage: {folder}
""",
    edits=(("action: notify", "action: [notify, transfer]"),),
)
NSD = Kind(
    "nsd",
    ("nsd", "-d", "-c", "{config}"),
    """
server:
    ip-address: 127.0.0.1@{port}
    username: ""
    chroot: ""
    database: ""
    zonesdir: {folder}
    xfrdir: {folder}
    xfrdfile: {folder}/xfrd.state
    zonelistfile: {folder}/zones
    pidfile: {folder}/pid
    server-count: 1
    xfrd-reload-timeout: 0
remote-control:
    control-enable: no
""",
    edits=((" NOKEY\n    allow-notify", " NOKEY\n    provide-xfr: 127.0.0.1 NOKEY\n    allow-notify"),),
)
BIND = Kind(
    "bind",
    ("named", "-g", "-n", "1", "-c", "{config}"),
    """
options {{
    directory "{folder}";
    pid-file "{folder}/pid";
    session-keyfile "{folder}/session.key";
    managed-keys-directory "{folder}";
    listen-on port {port} {{ 127.0.0.1; }};
    listen-on-v6 {{ none; }};
    recursion no;
    dnssec-validation no;
    notify no;
    allow-transfer {{ 127.0.0.1; }};
}};
controls {{ }};
""",
)
KINDS = {kind.name: kind for kind in (KNOT, NSD, BIND)}


def guide(name: str) -> str:
    """The guide's configuration for one server."""
    found = re.search(rf"```{name}\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    assert found, f"{GUIDE.name} has no configuration for {name}"
    return found[1]


def configuration(kind: Kind, folder: Path, port: int, primary: int) -> str:
    """The guide's, with the addresses of the test in it, and what a server needs that stands beside others."""
    own = guide(kind.name).replace("192.0.2.10@53", f"127.0.0.1@{primary}")
    own = own.replace("192.0.2.10 port 53", f"127.0.0.1 port {primary}").replace("192.0.2.10", "127.0.0.1")
    for old, new in kind.edits:
        assert old in own
        own = own.replace(old, new)
    return kind.before.format(folder=folder, port=port) + own


@contextlib.asynccontextmanager
async def running(kind: Kind, folder: Path, port: int, primary: int) -> AsyncIterator[Path]:
    """From its start to its end; yields where its log is."""
    config, told = folder / "config", folder / "log"
    config.write_text(configuration(kind, folder, port, primary))
    command = [word.format(config=config) for word in kind.command]
    with told.open("wb") as output:
        process = await asyncio.create_subprocess_exec(*command, stdout=output, stderr=output, start_new_session=True)
    try:
        yield told
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(PATIENCE):
                await process.wait()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
