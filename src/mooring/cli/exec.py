"""mooring exec: run a command in a pod, on a node, or outside."""

import os
from typing import Annotated

import typer

from mooring.cli.main import CommandError
from mooring.cli.target import DataDir, Kubeconfig, Namespace, access, local
from mooring.edges.netlink import namespaces
from mooring.edges.netlink.topology import namespace_name


def command(
    words: Annotated[list[str] | None, typer.Argument(help="POD -- COMMAND...; without POD for --node and --outside")] = None,
    node: Annotated[str, typer.Option("--node", help="In this node's network.")] = "",
    outside: Annotated[bool, typer.Option("--outside", help="In the external client's network.")] = False,
    container: Annotated[str, typer.Option("--container", "-c", help="Which, when the pod has several.")] = "",
    stdin: Annotated[bool, typer.Option("--stdin", "-i", help="Pass standard input on.")] = False,
    tty: Annotated[bool, typer.Option("--tty", "-t", help="With a terminal.")] = False,
    namespace: Namespace = "",
    data_dir: DataDir = None,
    config: Kubeconfig = None,
) -> int:
    """Run a command in a pod, in a node's network, or in the external client's. Its exit code is ours."""
    words = words or []
    if node or outside:
        if node and outside:
            raise CommandError("--node or --outside, not both", 2)
        settings, _ = local(data_dir, config)
        if node and node not in settings.node_names:
            raise CommandError(f"no node {node!r}; there are {', '.join(settings.node_names)}")
        return _in_network(namespace_name(settings.name, node or "outside"), words)
    pod, *argv = words or [""]
    if not pod or not argv:
        raise CommandError("say what to run: mooring exec POD -- COMMAND", 2)
    # What it takes to speak to a pod is loaded for pods alone.
    import asyncio

    from mooring.cli.remote_command import Wanted, run

    where = access(data_dir, config)
    name = pod.removeprefix("pod/").removeprefix("pods/")
    wanted = Wanted(namespace or where.namespace, name, container, tuple(argv), stdin, tty)
    return asyncio.run(run(where, wanted))


def _in_network(name: str, argv: list[str]) -> int:
    """Becomes the command, inside the namespace."""
    if not argv:
        raise CommandError("say what to run after --", 2)
    if not namespaces.exists(name):
        raise CommandError(f"network namespace {name} does not exist; `mooring status` says what runs")
    try:
        namespaces.enter(name)
        os.execvp(argv[0], argv)
    except OSError as error:
        raise CommandError(
            f"{argv[0]}: {error.strerror or error}", 127 if isinstance(error, FileNotFoundError) else 1
        ) from error
