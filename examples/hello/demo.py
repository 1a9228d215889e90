"""The story of `make demo`: a Service over real pods, from a manifest to packets in the kernel, and nothing left behind.

Everything goes through the public commands: `kubectl` when one is on the PATH, else `mooring`. Exit code 0 only when every
request was answered and everything was taken down.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

HERE = Path(__file__).resolve().parent
MOORING = str(Path(sys.executable).parent / "mooring")
NAME = "demo"
LOAD = (HERE / "load.py").read_text()
PATIENCE = 90.0
"""Seconds that anything waited for may take."""

console = Console(highlight=False)


class Failed(Exception):
    """The story cannot go on; the message says why."""


class Cluster:
    """The running cluster, driven as a person would from a shell."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.environment = {**os.environ, "MOORING_DATA_DIR": str(data_dir), "KUBECONFIG": str(data_dir / "kubeconfig")}
        self.tool = shutil.which("kubectl") or MOORING
        self.shown = Path(self.tool).name
        self.no_wait = "--wait=false" if self.tool != MOORING else "--no-wait"

    def run(self, *command: str, stdin: str | None = None) -> str:
        done = subprocess.run(command, env=self.environment, input=stdin, capture_output=True, text=True)
        if done.returncode:
            raise Failed(f"{' '.join(command[:6])}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def tell(self, *arguments: str, stdin: str | None = None) -> None:
        """Runs the person's tool and shows command and output."""
        console.print(f"[bold cyan]$ {self.shown} {' '.join(arguments)}[/]")
        console.print(Text(self.run(self.tool, *arguments, stdin=stdin).rstrip()), soft_wrap=True)

    def get(self, *arguments: str) -> Any:
        return json.loads(self.run(self.tool, "get", *arguments, "-o", "json"))

    @contextmanager
    def load(self, *options: str) -> Iterator[subprocess.Popen[str]]:
        """The load generator inside the client pod; its standard output is a JSON line a second."""
        command = (MOORING, "exec", "-i", "client", "--", "python3", "-c", LOAD, "http://hello/json", *options)
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with subprocess.Popen(command, env=self.environment, **pipes, text=True) as process:
            try:
                yield process
            finally:
                if process.poll() is None:
                    process.terminate()


def wait(what: str, ready: Callable[[], bool]) -> None:
    start = time.monotonic()
    with console.status(f"waiting for {what}"):
        while not ready():
            if time.monotonic() - start > PATIENCE:
                raise Failed(f"{what}: not after {PATIENCE:.0f} s")
            time.sleep(0.2)
    console.print(f"[green]✓[/] {what} [dim]({time.monotonic() - start:.1f} s)[/]")


def bars(tally: dict[str, Any], key: str, title: str) -> Table:
    """A bar for each pod or version, and the count of failures."""
    table = Table(title=title, title_justify="left", title_style="bold", box=None, show_header=False, padding=(0, 1))
    most = max(tally[key].values(), default=1)
    for name, count in sorted(tally[key].items()):
        table.add_row(name, Text("█" * max(1, round(40 * count / most)), style="blue"), f"{count}")
    failed = tally["failed"]
    table.add_row("failed", Text(str(failed), style="bold red" if failed else "bold green"), f"of {tally['requests']}")
    return table


def follow(
    process: subprocess.Popen[str], key: str, title: str, each: Callable[[dict[str, Any]], None] = lambda _: None
) -> Any:
    """Shows the load generator's lines as they come; returns the last one."""
    tally: dict[str, Any] = {"requests": 0, "failed": 0, "by_pod": {}, "by_version": {}, "failures": {}}
    assert process.stdout is not None
    with Live(console=console, refresh_per_second=4, transient=not console.is_terminal) as live:
        for line in process.stdout:
            tally = json.loads(line)
            live.update(bars(tally, key, title))
            each(tally)
    if process.wait() != 0:
        raise Failed(f"the load generator ended with exit code {process.returncode}")
    if not console.is_terminal:
        console.print(bars(tally, key, title))
    return tally


def rolled_out(cluster: Cluster, replicas: int) -> bool:
    deployment = cluster.get("deployment", "hello")
    status = deployment.get("status", {})
    return (
        status.get("observedGeneration", 0) >= deployment["metadata"]["generation"]
        and status.get("updatedReplicas", 0) == replicas
        and status.get("readyReplicas", 0) == replicas
        and status.get("replicas", 0) == replicas
    )


def serves(pod: dict[str, Any]) -> bool:
    """Not one that an earlier step is already ending."""
    return "deletionTimestamp" not in pod["metadata"]


def client_ready(cluster: Cluster) -> bool:
    conditions = cluster.get("pod", "client").get("status", {}).get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def answers(cluster: Cluster) -> None:
    console.rule("[bold]1,000 requests to http://hello, each a new connection")
    with cluster.load("--count", "1000") as process:
        tally = follow(process, "by_pod", "answered by")
    if tally["failed"] or len(tally["by_pod"]) != 3:
        raise Failed(f"expected 3 pods and no failures, got {tally}")


def changes(cluster: Cluster) -> None:
    """A rollout and the killing of a pod, while requests go on."""
    console.rule("[bold]A new version, then a pod is killed: under load, nobody notices")
    second = (HERE / "hello.yaml").read_text().replace('value: "1"', 'value: "2"')
    state = {"step": "start", "since": 0}

    def act(tally: dict[str, Any]) -> None:
        if state["step"] == "start" and tally["requests"] >= 100:
            cluster.run(cluster.tool, "apply", "-f", "-", stdin=second)
            console.print(f"[bold cyan]$ {cluster.shown} apply -f hello.yaml[/]  [dim]# now version 2[/]")
            state["step"] = "rolling"
        elif state["step"] == "rolling" and rolled_out(cluster, 3):
            victim = next(each["metadata"]["name"] for each in cluster.get("pods", "-l", "app=hello")["items"] if serves(each))
            cluster.run(cluster.tool, "delete", "pod", victim, cluster.no_wait)
            console.print(f"[green]✓[/] rolled out\n[bold cyan]$ {cluster.shown} delete pod {victim}[/]")
            state.update(step="killed", since=tally["requests"])
        elif state["step"] == "killed" and rolled_out(cluster, 3) and tally["requests"] > state["since"] + 500:
            state["step"] = "done"
            process.stdin.close()

    with cluster.load("--until-eof", "--seconds", f"{PATIENCE:.0f}", "--rate", "100") as process:
        tally = follow(process, "by_version", "answered by version", act)
    if state["step"] != "done":
        raise Failed(f"the rollout did not finish under load: still at '{state['step']}'")
    if tally["failed"]:
        raise Failed(f"{tally['failed']} of {tally['requests']} requests failed: {tally['failures']}")
    console.print(f"[bold green]{tally['requests']:,} requests, {tally['failed']} failed[/]")


REQUESTS = (
    ("http://hello.example/hostname", "hello"),
    ("http://hello.example/shop/hostname", "shop"),
    ("http://shop.example/hostname", "shop"),
    ("http://nobody.example/hostname", ""),
)
"""What is asked from outside, and which application answers; '' for nobody."""


def address(cluster: Cluster) -> str:
    """The Ingress's; '' while it has none."""
    found = cluster.get("ingress", "front").get("status", {}).get("loadBalancer", {}).get("ingress", [])
    return str(found[0].get("ip", "")) if found else ""


def asked(cluster: Cluster, url: str) -> tuple[str, str]:
    """Status and body of a GET by the external client, sent to the Ingress's address. Status 000: nobody answered."""
    host = urlsplit(url).hostname
    options = ("-sS", "-m", "5", "--resolve", f"{host}:80:{address(cluster)}", "-w", "\n%{http_code}")
    command = (MOORING, "exec", "--outside", "--", "curl", *options, url)
    done = subprocess.run(command, env=cluster.environment, capture_output=True, text=True)
    body, _, status = done.stdout.rpartition("\n")
    return status, body


def front(cluster: Cluster) -> None:
    """Two applications behind one address, for a client that is no part of the cluster."""
    console.rule("[bold]Two Services behind one address, by host and path, from outside")
    cluster.tell("apply", "-f", str((HERE / "ingress.yaml").relative_to(Path.cwd())))
    wait("the Ingress has an address", lambda: bool(address(cluster)))
    wait("its proxies serve it", lambda: all(asked(cluster, url)[0] == ("200" if app else "404") for url, app in REQUESTS))
    cluster.tell("get", "ingress", "front")
    for url, app in REQUESTS:
        status, body = asked(cluster, url)
        console.print(f"[bold cyan]outside$ curl {url}[/]")
        console.print(Text(f"{body.strip()}  " if app else "").append(status, "green" if app else "yellow"))
        if app and not body.startswith(app):
            raise Failed(f"{url} was answered by {body}, not by {app}")


def tell(cluster: Cluster) -> None:
    console.rule("[bold]A Service over three pods")
    cluster.tell("apply", "-f", str((HERE / "hello.yaml").relative_to(Path.cwd())))
    cluster.run(cluster.tool, "apply", "-f", str(HERE / "client.yaml"))
    wait("3 pods ready", lambda: rolled_out(cluster, 3))
    wait("client ready", lambda: client_ready(cluster))
    cluster.tell("get", "service", "hello")
    cluster.tell("get", "pods", "-l", "app=hello", "-o", "wide")
    cluster.tell("get", "endpointslices", "-l", "kubernetes.io/service-name=hello")
    answers(cluster)
    changes(cluster)
    front(cluster)


def main() -> int:
    os.chdir(HERE.parent.parent)
    start = time.monotonic()
    data_dir = Path(tempfile.mkdtemp(prefix="mooring-demo-"))
    cluster = Cluster(data_dir)
    code = 0
    try:
        console.rule("[bold]A two-node cluster on this machine")
        up = [MOORING, "up", "--detach", "--name", NAME, "--nodes", "2", "--api-port", "0", "--data-dir", str(data_dir)]
        if subprocess.run(up).returncode:
            raise Failed("mooring up did not finish")
        tell(cluster)
    except (Failed, KeyboardInterrupt) as error:
        console.print(f"[bold red]✗ {error}[/]")
        code = 1
    finally:
        console.rule("[bold]Taking it all down")
        code = subprocess.run([MOORING, "down", "--data-dir", str(data_dir)]).returncode or code
        shutil.rmtree(data_dir, ignore_errors=True)
    console.print(f"{'[bold green]done' if code == 0 else '[bold red]failed'}[/] in {time.monotonic() - start:.0f} s")
    return code


if __name__ == "__main__":
    sys.exit(main())
