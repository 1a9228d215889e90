"""mooring verify: is every node's kernel as the API wishes, and what is not?"""

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from mooring.app import objects
from mooring.app.connection import Connection
from mooring.app.verify import Node, Report, verify
from mooring.cli import output
from mooring.cli.main import CommandError
from mooring.cli.target import DataDir, Kubeconfig, access, files, local
from mooring.edges.netlink.topology import namespace_name
from mooring.ports.conntrack import ConntrackError
from mooring.ports.firewall import FirewallError


def command(
    node: Annotated[str, typer.Option("--node", help="This one only; with --here, which one this machine is.")] = "",
    here: Annotated[bool, typer.Option("--here", help="This very machine is the node: read its own kernel.")] = False,
    repair: Annotated[bool, typer.Option("--repair", help="Put right what is wrong.")] = False,
    form: Annotated[str, typer.Option("--output", "-o", help="json or yaml")] = "",
    data_dir: DataDir = None,
    config: Kubeconfig = None,
) -> int:
    """Compare the packet tables in each node's kernel with what the API wishes, and name each difference.

    Exit code 1 when something is not as it should be.
    """
    connection = Connection(access(data_dir, config))
    nodes = _here(node, connection) if here else _local(node, data_dir, config)
    try:
        reports = asyncio.run(verify(lambda: objects.read(connection, pods=False), nodes, repair=repair))
    except (FirewallError, ConntrackError, objects.BadOptions) as error:
        raise CommandError(f"the kernel cannot be verified: {error}") from error
    if form:
        told = [msgspec.to_builtins(each) | {"words": [drift.words for drift in each.drift]} for each in reports]
        output.document({"nodes": told}, form)
    else:
        print("\n".join(line for each in reports for line in _lines(each)))
    return 1 if any(each.drift and not each.repaired for each in reports) else 0


def _local(name: str, data_dir: Path | None, config: Path | None) -> list[Node]:
    """The nodes of the local cluster, each in its network namespace."""
    if not files(data_dir, config).settings.exists():
        raise CommandError("only a local cluster's nodes can be reached from here; on a node itself say --here", 2)
    settings, _ = local(data_dir, config)
    if name and name not in settings.node_names:
        raise CommandError(f"no node {name!r}; there are {', '.join(settings.node_names)}")
    return [Node(each, namespace_name(settings.name, each)) for each in settings.node_names if name in ("", each)]


def _here(name: str, connection: Connection) -> list[Node]:
    """This machine, known by its host name unless told otherwise."""
    known = [each.metadata.name for each in objects.read(connection, pods=False).nodes]
    wanted = name or socket.gethostname().lower()
    if wanted not in known:
        raise CommandError(f"no node {wanted!r}; there are {', '.join(sorted(known))}: say --node NODE")
    return [Node(wanted, "")]


def _lines(report: Report) -> Iterator[str]:
    size = f"{report.services} Services, {report.elements} elements"
    if not report.drift:
        yield f"{report.node}: as wished ({size})"
    else:
        count = len(report.drift)
        done = "; now as wished" if report.repaired else ""
        yield f"{report.node}: {count} difference{'' if count == 1 else 's'}{done} ({size})"
    yield from (f"  {'repaired: ' if report.repaired else ''}{each.words}" for each in report.drift)
    yield from (f"  warning: {each}" for each in report.warnings)
