"""How is each DNS server given the same zone? Our worker, Knot, Unbound and CoreDNS as they run for a benchmark: in the
foreground, with one thread, without a log.
"""

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from shutil import which

from msgspec import Struct

from mooring.dns.names import to_text
from mooring.dns.owners import everything
from mooring.dns.records import Type
from mooring.dns.zone import Zone
from mooring.edges.dns.publisher import Publisher
from mooring.edges.dns.server import bind

ADDRESS = "127.0.0.1"
OURS, KNOT, UNBOUND, COREDNS = "mooring", "knot", "unbound", "coredns"
PORTS = {KNOT: 5301, UNBOUND: 5302, COREDNS: 5303}
PROGRAMS = {KNOT: "knotd", UNBOUND: "unbound"}
_NAMES = {int(each): each.name for each in Type}


class Server(Struct):
    """One that runs. `udp` is the socket of ours, which is held here as the supervisor holds it."""

    name: str
    process: "subprocess.Popen[bytes]"
    port: int
    udp: "socket.socket | None" = None

    @property
    def cpu_seconds(self) -> float:
        """Of all its threads, by the scheduler's clock."""
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/schedstat")
        return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9

    @property
    def memory(self) -> dict[str, float]:
        """MB: resident, and its share of what is mapped by several."""
        lines = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text().splitlines()[1:]
        sizes = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines}
        return {"rss_mb": sizes["Rss"], "pss_mb": sizes["Pss"], "private_mb": sizes["Private_Dirty"] + sizes["Private_Clean"]}

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        if self.udp:
            self.udp.close()


def master_file(zone: Zone) -> Iterator[str]:
    """The cluster's zone as RFC 1035 section 5 writes it."""
    domain = zone.options.domain
    soa = f"ns.dns.{domain}. hostmaster.{domain}. {zone.serial} 7200 1800 86400 5"
    yield f"{domain}. 5 IN SOA {soa}"
    for name, given in everything(zone):
        text = to_text(name)
        if not text.endswith(domain):
            continue
        for rrset in given.rrsets:
            if rrset.type != Type.SOA:
                for data in rrset.data:
                    yield f"{text}. {rrset.ttl} IN {_NAMES[rrset.type]} {_text(rrset.type, data)}"


def _text(kind: int, data: bytes) -> str:
    match kind:
        case Type.A:
            return ".".join(map(str, data))
        case Type.SRV:
            numbers = (int.from_bytes(data[at : at + 2], "big") for at in (0, 2, 4))
            return " ".join([*map(str, numbers), f"{to_text(data[6:])}."])
        case Type.TXT:
            return f'"{data[1:].decode()}"'
    return f"{to_text(data)}."


def start(name: str, folder: Path, zone: Zone, cpu: int, coredns: str = "") -> Server:
    """On ADDRESS, in this network namespace, on one processor. Raises OSError."""
    folder.mkdir()
    if name == OURS:
        return _ours(folder, zone, cpu)
    domain, port = zone.options.domain, PORTS[name]
    (folder / "zone").write_text("\n".join(master_file(zone)) + "\n")
    if name == KNOT:
        (folder / "knot.conf").write_text(
            f'server:\n  rundir: "{folder}"\n  listen: {ADDRESS}@{port}\n  udp-workers: 1\n  tcp-workers: 1\n'
            "  background-workers: 1\n  user: root:root\n"
            f'database:\n  storage: "{folder}/db"\nlog:\n  - target: stderr\n    any: error\n'
            f'zone:\n  - domain: {domain}\n    file: "{folder}/zone"\n    semantic-checks: off\n'
        )
        command = ["knotd", "-c", f"{folder}/knot.conf"]
    elif name == UNBOUND:
        local = "".join(f"  local-data: '{line}'\n" for line in (folder / "zone").read_text().splitlines())
        (folder / "unbound.conf").write_text(
            f"server:\n  interface: {ADDRESS}@{port}\n  num-threads: 1\n  do-daemonize: no\n  use-syslog: no\n"
            f'  username: ""\n  chroot: ""\n  directory: "{folder}"\n  pidfile: ""\n  verbosity: 0\n  so-reuseport: no\n'
            f"  access-control: 127.0.0.0/8 allow\n  local-zone: '{domain}.' static\n{local}"
            "remote-control:\n  control-enable: no\n"
        )
        command = ["unbound", "-d", "-c", f"{folder}/unbound.conf"]
    else:
        (folder / "Corefile").write_text(f"{domain}:{port} {{\n  bind {ADDRESS}\n  file {folder}/zone\n}}\n")
        command = ["env", "GOMAXPROCS=1", coredns, "-conf", f"{folder}/Corefile", "-quiet"]
    return Server(name, _run(command, cpu), port)


def available(coredns: str) -> list[str]:
    """The peers that can be run here."""
    return [*(name for name, program in PROGRAMS.items() if which(program)), *((COREDNS,) if coredns else ())]


def _ours(folder: Path, zone: Zone, cpu: int) -> Server:
    Publisher(folder).replace(zone)
    return worker(folder, cpu)


def worker(folder: Path, cpu: int, held: socket.socket | None = None) -> Server:
    """One of our workers for the table of a folder, at a new socket or at one that another worker has left."""
    if held is None:
        held, tcp = bind(ADDRESS, 0)
        tcp.close()
    command = [sys.executable, "-m", "mooring.edges.dns.worker", str(folder), "0", "", str(held.fileno())]
    return Server(OURS, _run(command, cpu, held.fileno()), held.getsockname()[1], held)


def _run(command: list[str], cpu: int, *descriptors: int) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        ["taskset", "-c", str(cpu), *command],
        pass_fds=descriptors,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
