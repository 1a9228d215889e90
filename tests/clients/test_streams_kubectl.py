"""Real kubectl's streams: terminals, attach, forwarded ports, copies, logs and proxies, over SPDY and over WebSockets.

kubectl speaks SPDY up to 1.30 and WebSockets since 1.31, so one of each shows both.
"""

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import threading
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError

import pytest
from kubectl_command import DEADLINE, Kubectl, eventually, minor

from local_cluster import Cluster, kubectls

PODS = """
{apiVersion: v1, kind: Pod, metadata: {name: web, labels: {app: web, group: both}},
 spec: {terminationGracePeriodSeconds: 0, containers: [
  {name: web, image: "mooring.dev/echo:v1", ports: [{name: http, containerPort: 8080}],
   readinessProbe: {tcpSocket: {port: http}, periodSeconds: 1}},
  {name: shell, image: busybox, command: [sh, -c, "echo started; while :; do sleep 600; done"]}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: talk, labels: {group: both}},
 spec: {terminationGracePeriodSeconds: 0, containers: [
  {name: talk, image: busybox, stdin: true, tty: true, command: [sh, -c, "echo hello; exec sh"]}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: again}, spec: {terminationGracePeriodSeconds: 0, containers: [
  {name: again, image: busybox, command: [sh, -c, "echo run; [ -e /keep/been ] && sleep 600; touch /keep/been"],
   volumeMounts: [{name: keep, mountPath: /keep}]}], volumes: [{name: keep, emptyDir: {}}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: web},
 spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: http}]}}
"""
READY = ("pod/web", "pod/talk", "pod/again")
TTY_AND_SIZE = "tty; until stty size | grep '23 71'; do sleep 0.05; done\n"
"""For a shell: kubectl tells the window's size beside the input, not before it."""


def both_protocols() -> list[Path]:
    spdy = [path for path in kubectls() if minor(path) <= 30]
    sockets = [path for path in kubectls() if minor(path) > 30]
    return [*spdy[-1:], *sockets[-1:]]


@pytest.fixture(scope="module")
def pods(stock: Kubectl) -> Kubectl:
    stock("apply", "-f", "-", stdin=PODS)
    stock("wait", "--for=condition=Ready", *READY, "--timeout=30s")
    eventually(lambda: stock("get", "endpointslices"), lambda text: re.search(r"web-\w+ +IPv4 +8080 +10\.", text))
    return stock


@pytest.fixture(scope="module", params=both_protocols(), ids=lambda path: path.name)
def each(request: pytest.FixtureRequest, pods: Kubectl, cluster: Cluster, home: Path) -> Kubectl:
    return Kubectl(request.param, cluster, pods.namespace, home)


class Terminal:
    """kubectl on a terminal of its own."""

    def __init__(self, kubectl: Kubectl, *arguments: str) -> None:
        self.near, far = pty.openpty()
        self.resize(71, 23)
        words = kubectl.words(*arguments)
        self.running = subprocess.Popen(
            words, stdin=far, stdout=far, stderr=far, env=kubectl.environment, start_new_session=True
        )
        os.close(far)
        self.seen = b""
        self._reading = threading.Thread(target=self._read)
        self._reading.start()

    def _read(self) -> None:
        try:
            while piece := os.read(self.near, 4096):
                self.seen += piece
        except OSError:
            pass  # What reading a terminal says when its other end is closed.

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self.near, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text: str) -> None:
        os.write(self.near, text.encode())

    def shows(self, text: bytes) -> None:
        eventually(lambda: self.seen, lambda seen: text in seen)

    def end(self) -> int:
        code = self.running.wait(DEADLINE)
        self._reading.join(DEADLINE)
        os.close(self.near)
        return code


def test_a_terminal_has_a_name_and_follows_the_window(each: Kubectl) -> None:
    terminal = Terminal(each, "exec", "-it", "web", "-c", "shell", "--", "sh")
    eventually(lambda: terminal.seen, bool)
    terminal.type(TTY_AND_SIZE)
    terminal.shows(b"/dev/pts/0\r\n23 71\r\n")
    terminal.resize(133, 42)
    os.kill(terminal.running.pid, signal.SIGWINCH)
    terminal.type("until stty size | grep '42 133'; do sleep 0.05; done; sh -c 'echo asleep; exec sleep 600'\n")
    terminal.shows(b"\r\n42 133\r\n")
    terminal.shows(b"\r\nasleep\r\n")
    terminal.type("\x03")
    terminal.type("exit 7\n")
    assert 7 == terminal.end()


def test_attaching_gives_a_new_container_its_input_and_ends_with_it(each: Kubectl) -> None:
    name = f"once-{each.minor}"
    done = each.run(
        *("run", name, "--image=busybox", "-i", "--restart=Never", "--quiet", "--", "sh", "-c", "wc -c; echo err >&2; exit 3"),
        stdin="x" * 200_000,
        check=False,
    )
    assert ("200000", "err") == (done.stdout.split()[0], done.stderr.splitlines()[0]), done
    eventually(lambda: each("get", "pod", name, "-o", "jsonpath={.status.phase}"), lambda phase: phase == "Failed")
    assert "200000\nerr\n" == each("logs", name)


def test_attaching_to_a_terminal_and_leaving_it_alone(pods: Kubectl) -> None:
    terminal = Terminal(pods, "attach", "-it", "talk")
    terminal.shows(b"If you don't see a command prompt")
    terminal.type(f"kept=here; {TTY_AND_SIZE}")
    terminal.shows(b"/dev/pts/0\r\n23 71\r\n")
    terminal.running.kill()
    terminal.end()
    terminal = Terminal(pods, "attach", "-it", "talk")
    terminal.shows(b"If you don't see a command prompt")
    terminal.type("echo still $kept\n")
    terminal.shows(b"still here\r\n")
    terminal.running.kill()
    terminal.end()
    assert "0" == pods("get", "pod", "talk", "-o", "jsonpath={.status.containerStatuses[0].restartCount}")


@contextmanager
def started(kubectl: Kubectl, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], Callable[[str], re.Match[str]]]]:
    """A kubectl that goes on, and what finds a line of its output."""
    running = kubectl.start(*arguments)
    lines: list[str] = []

    def find(pattern: str) -> re.Match[str]:
        while line := running.stdout.readline():
            lines.append(line)
            if found := re.search(pattern, line):
                return found
        pytest.fail(f"no {pattern} in {lines}")

    try:
        yield running, find
    finally:
        running.kill()
        running.wait(DEADLINE)
        running.stdout.close()


def fetch(url: str, method: str = "GET", body: bytes | None = None) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, method=method), timeout=DEADLINE) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()


def test_ports_are_forwarded_many_at_once(each: Kubectl) -> None:
    with started(each, "port-forward", "pod/web", ":8080", ":81") as (running, find):
        good = find(r"Forwarding from 127\.0\.0\.1:(\d+) -> 8080")[1]
        bad = find(r"Forwarding from 127\.0\.0\.1:(\d+) -> 81")[1]
        with ThreadPoolExecutor(20) as many:
            answers = list(many.map(lambda number: fetch(f"http://127.0.0.1:{good}/?n={number}"), range(60)))
        assert {True} == {status == 200 and text.startswith("web v1 ") for status, text in answers}
        body = os.urandom(2_000_000).hex().encode()
        assert (200, body.decode()) == fetch(f"http://127.0.0.1:{good}/echo", "POST", body)
        with pytest.raises(OSError):
            fetch(f"http://127.0.0.1:{bad}/")
        told = find(r"an error occurred forwarding")[0] and find("lost connection to pod")
        assert told and 1 == running.wait(DEADLINE)


def test_a_services_port_is_forwarded_to_a_pod(pods: Kubectl) -> None:
    with started(pods, "port-forward", "service/web", ":80") as (_, find):
        port = find(r"127\.0\.0\.1:(\d+) -> 8080")[1]
        assert (200, "web") == fetch(f"http://127.0.0.1:{port}/hostname")


def test_copying_both_ways(pods: Kubectl, tmp_path: Path) -> None:
    (tmp_path / "tree" / "deep").mkdir(parents=True)
    (tmp_path / "tree" / "deep" / "file").write_bytes(octets := os.urandom(3_000_000))
    pods("cp", str(tmp_path / "tree"), "web:/tmp/tree", "-c", "shell")
    pods("cp", "web:/tmp/tree", str(tmp_path / "back"), "-c", "shell")
    assert octets == (tmp_path / "back" / "deep" / "file").read_bytes()


def test_logs_by_container_selector_run_and_time(pods: Kubectl) -> None:
    eventually(lambda: pods("logs", "web", "-c", "shell"), lambda text: text == "started\n")
    stamped = pods("logs", "web", "-c", "shell", "--timestamps")
    stamp = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z) started\n", stamped)[1]
    assert "started\n" == pods("logs", "web", "-c", "shell", f"--since-time={stamp[:19]}Z")
    assert "start" == pods("logs", "web", "-c", "shell", "--limit-bytes=5")
    words = ("logs", "-l", "group=both", "--all-containers", "--prefix", "--tail=1")
    eventually(
        lambda: set(re.findall(r"^\[.*?\]", pods(*words), re.MULTILINE)),
        lambda seen: seen >= {"[pod/web/shell]", "[pod/web/web]", "[pod/talk/talk]"},
    )
    assert "container nobody is not valid for pod web" in pods.refused("logs", "web", "-c", "nobody")
    raw = f"/api/v1/namespaces/{pods.namespace}/pods/web/log"
    assert "a container name must be specified for pod web, choose one of: [web shell" in pods.refused("get", "--raw", raw)
    assert "" == pods("get", "--raw", raw + "?container=shell&stream=Stderr")


def test_logs_of_the_run_before(pods: Kubectl) -> None:
    eventually(lambda: pods.run("logs", "again", "--previous", check=False).stdout, lambda text: text == "run\n")
    told = pods.refused("logs", "talk", "--previous")
    assert 'previous terminated container "talk" in pod "talk" not found' in told


def test_proxying_to_a_pod_a_service_and_a_node(pods: Kubectl) -> None:
    with started(pods, "proxy", "--port=0") as (_, find):
        base = f"http://127.0.0.1:{find(r'127[.]0[.]0[.]1:([0-9]+)')[1]}/api/v1"
        here = f"{base}/namespaces/{pods.namespace}"
        for name in ("pods/web", "pods/http:web:http", "services/web:http", "services/web:80"):
            assert (200, "web") == fetch(f"{here}/{name}/proxy/hostname"), name
        status, text = fetch(f"{here}/pods/web/proxy/json")
        assert (200, True) == (status, "x-forwarded-uri" in text and "Bearer" not in text), text
        assert (200, "a" * 100_000) == fetch(f"{here}/pods/web/proxy/echo", "POST", b"a" * 100_000)
        assert fetch(f"{here}/pods/web/proxy")[0] in (200, 404), "redirected to the path with a slash"
        assert 404 == fetch(f"{here}/pods/web/proxy/none", "DELETE")[0]
        status, text = fetch(f"{here}/pods/web:81/proxy/")
        assert (503, True) == (status, "error trying to reach service: dial tcp" in text)
        assert (200, "ok") == fetch(f"{base}/nodes/node-1/proxy/healthz")
        assert 400 == fetch(f"{base}/nodes/node-1:10256/proxy/healthz")[0]
        assert 404 == fetch(f"{base}/nodes/node-1/proxy/..%2f..%2fnode-2%2fproxy/healthz")[0]


def test_what_cannot_be_looked_into(pods: Kubectl) -> None:
    raw = f"/api/v1/namespaces/{pods.namespace}/pods/web/exec?command=ls&stdout=1&container=web"
    assert "Upgrade request required" in pods.refused("get", "--raw", raw)
    told = pods.run("exec", "web", "-c", "shell", "--", "nothing", check=False).stderr
    assert 'exec: "nothing": executable file not found in $PATH' in told


def test_pods_may_not_ask_a_kubelet(pods: Kubectl) -> None:
    script = (
        "cd /var/run/secrets/kubernetes.io/serviceaccount; for path in pods exec/default/x/y; do "
        'curl -skw " %{http_code}\n" -H "Authorization: Bearer $(cat token)" "https://$NODE:10250/$path"; done'
    )
    node = pods("get", "pod", "web", "-o", "jsonpath={.status.hostIP}")
    assert "Unauthorized 401\n" * 2 == pods("exec", "web", "-c", "shell", "--", "env", f"NODE={node}", "sh", "-c", script)


def test_debugging_a_pod_among_its_containers_processes(each: Kubectl, pods: Kubectl) -> None:
    added, before = f"debug-{each.minor}", pods.json("get", "pod", "web")
    script = "tr '\\0' ' ' </proc/1/cmdline; echo; tty; curl -s localhost:8080/hostname; echo; read code; echo bye; exit $code"
    options = ("--image=busybox", "--target=shell", f"--container={added}")
    terminal = Terminal(each, "debug", "-it", "web", *options, "--", "sh", "-c", script)
    terminal.shows(b"If you don't see a command prompt")
    assert "beside\n" == each("exec", "web", "-c", added, "--", "echo", "beside")
    terminal.type("7\n")
    terminal.shows(b"bye\r\n")
    terminal.end()
    state = f"jsonpath={{.status.ephemeralContainerStatuses[?(@.name=='{added}')].state.terminated.exitCode}}"
    eventually(lambda: each("get", "pod", "web", "-o", state), lambda code: code == "7")
    said = each("logs", "web", "-c", added)
    assert "while :; do sleep 600; done" in said.splitlines()[0] and "/dev/pts/0\nweb\n" in said, said
    assert before["status"]["containerStatuses"] == pods.json("get", "pod", "web")["status"]["containerStatuses"]
