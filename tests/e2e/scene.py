"""A namespace of a running cluster, the clients in it, and what each of them is answered."""

import json
import secrets
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import dns.message
import dns.name
import dns.rdatatype

from local_cluster import Cluster, kubectl
from mooring.app.connection import Connection, Refused
from mooring.edges.http import kubeconfig

Document = dict[str, Any]
Value = TypeVar("Value")

DEADLINE = 60.0
ANSWER = 10.0
"""Seconds a client waits for an answer it should get."""
SILENCE = 0.6
"""Seconds without an answer that count as a drop, where a drop is expected."""

API = {
    "ConfigMap": "/api/v1/namespaces/{}/configmaps",
    "Endpoints": "/api/v1/namespaces/{}/endpoints",
    "DaemonSet": "/apis/apps/v1/namespaces/{}/daemonsets",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "EndpointSlice": "/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices",
    "Event": "/api/v1/namespaces/{}/events",
    "IPAddress": "/apis/networking.k8s.io/v1/ipaddresses",
    "Ingress": "/apis/networking.k8s.io/v1/namespaces/{}/ingresses",
    "IngressClass": "/apis/networking.k8s.io/v1/ingressclasses",
    "Job": "/apis/batch/v1/namespaces/{}/jobs",
    "Node": "/api/v1/nodes",
    "Pod": "/api/v1/namespaces/{}/pods",
    "Secret": "/api/v1/namespaces/{}/secrets",
    "Service": "/api/v1/namespaces/{}/services",
    "StatefulSet": "/apis/apps/v1/namespaces/{}/statefulsets",
    "ServiceCIDR": "/apis/networking.k8s.io/v1/servicecidrs",
}
"""Where the objects of the scene's namespace are, and those of no namespace."""


def until(what: Callable[[], Value], wanted: Callable[[Value], object] = bool) -> Value:
    """What `what` gives once `wanted` holds of it."""
    end = time.monotonic() + DEADLINE
    while not wanted(got := what()):
        assert time.monotonic() < end, f"waited in vain; last seen: {got}"
        time.sleep(0.03)
    return got


def until_equal(expected: Value, what: Callable[[], Value]) -> None:
    """As `assert expected == what()`, as soon as it holds; at the deadline, as it is."""
    end = time.monotonic() + DEADLINE
    while (got := what()) != expected and time.monotonic() < end:
        time.sleep(0.03)
    assert expected == got


def until_followed(cluster: Cluster) -> None:
    """Returns once every node's kernel is as the API wishes."""
    until(lambda: cluster.mooring("verify", check=False).returncode == 0)


class Web(NamedTuple):
    """`certificate` is the SHA-256 of the server's."""

    status: int
    body: str
    head: str = ""
    certificate: str = ""


class Place:
    """A network namespace with an asker in it: a pod's or a node's. An asker that was cut off is started again."""

    def __init__(self, words: Sequence[str]) -> None:
        source = Path(__file__).with_name("asker.py").read_text()
        self._words = [*words, "python3", "-u", "-c", source]
        self._process = self._start()

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self._words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def _ask(self, **asked: object) -> Document:
        return until(lambda: self._answer(json.dumps(asked) + "\n"))

    def _answer(self, line: str) -> Document:
        """{} when the asker was cut off."""
        assert self._process.stdin and self._process.stdout
        try:
            self._process.stdin.write(line)
            self._process.stdin.flush()
            if told := self._process.stdout.readline():
                answer: Document = json.loads(told)
                return answer
        except BrokenPipeError:
            pass
        self._process.kill()
        self._process.wait()
        self._process = self._start()
        return {}

    def _exchange(
        self, transport: str, reads: str, host: str, port: int, payload: bytes, timeout: float, source: int = 0
    ) -> bytes | str:
        """The answer, or in a word why there is none."""
        told = self._ask(
            transport=transport,
            host=host,
            port=port,
            payload=payload.hex(),
            source=source,
            timeout=timeout,
            reads=reads,
        )
        return told["failed"] if "failed" in told else bytes.fromhex(told["payload"])

    def http(self, host: str, port: int = 80, path: str = "/hostname", *, timeout: float = ANSWER) -> str:
        """The body of a GET, or refused, silence, unreachable. `/hostname` answers with the pod's name."""
        answer = self._exchange("tcp", "stream", host, port, f"GET {path} HTTP/1.0\r\n\r\n".encode(), timeout)
        return answer if isinstance(answer, str) else answer.decode().partition("\r\n\r\n")[2].strip()

    def web(self, address: str, name: str, path: str = "/hostname", *, tls: bool = False, **headers: str) -> Web:
        """A GET of a host by HTTP/1.1 at an address, 443 with `tls`, else 80. Status 0: no answer, its reason is the body."""
        lines = [f"GET {path} HTTP/1.1", f"Host: {name}", "Connection: close", *(f"{key}: {headers[key]}" for key in headers)]
        payload = "".join(f"{line}\r\n" for line in lines) + "\r\n"
        told = self._ask(
            transport="tcp",
            host=address,
            port=443 if tls else 80,
            payload=payload.encode().hex(),
            source=0,
            timeout=ANSWER,
            reads="stream",
            tls=name if tls else "",
        )
        if "failed" in told:
            return Web(0, told["failed"])
        head, _, body = bytes.fromhex(told["payload"]).decode().partition("\r\n\r\n")
        return Web(int((head.split() or ("", "0"))[1]), body.strip(), head, told["certificate"])

    def code(self, host: str, port: int, path: str) -> str:
        """The status code of a GET, or refused, silence, unreachable."""
        answer = self._exchange("tcp", "stream", host, port, f"GET {path} HTTP/1.0\r\n\r\n".encode(), ANSWER)
        return answer if isinstance(answer, str) else answer.decode().split(" ")[1]

    def post(self, host: str, port: int, body: str) -> str:
        """What /echo sends back."""
        request = f"POST /echo HTTP/1.0\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
        answer = self._exchange("tcp", "stream", host, port, request, ANSWER)
        return answer if isinstance(answer, str) else answer.decode().partition("\r\n\r\n")[2]

    def udp(self, host: str, port: int = 80, *, source: int = 0, timeout: float = ANSWER) -> str:
        """The name of the pod that answers a datagram, or refused, silence, unreachable."""
        return self.datagram(host, port, "hello", source=source, timeout=timeout).split(" ")[0]

    def datagram(self, host: str, port: int, text: str, *, source: int = 0, timeout: float = ANSWER) -> str:
        """The whole answer to a datagram: who answers, and at its end the text itself."""
        answer = self._exchange("udp", "datagram", host, port, text.encode(), timeout, source)
        return answer if isinstance(answer, str) else answer.decode()

    def resolve(self, name: str, family: int = 0) -> list[str]:
        """By the place's own resolver: sorted addresses, or the one word of its refusal."""
        told = self._ask(name=name, family=family)
        return told["addresses"] if "addresses" in told else [told["failed"]]

    def query(self, server: str, name: str, kind: str, transport: str = "udp") -> list[str]:
        """The answer section's records of a kind, as text without owner and TTL, sorted; or [the rcode's name]."""
        asked = dns.message.make_query(name, kind, use_edns=False)
        reads = "frame" if transport == "tcp" else "datagram"
        answer = self._exchange(transport, reads, server, 53, asked.to_wire(), ANSWER)
        if isinstance(answer, str):
            return [answer]
        told = dns.message.from_wire(answer)
        wanted = dns.rdatatype.from_text(kind)
        found = [str(each) for records in told.answer if records.rdtype == wanted for each in records]
        return sorted(found) or [told.rcode().to_text(told.rcode())]


class Scene:
    """A namespace, and its clients: pods `one` and `two`, on node-1 and node-2, these nodes themselves, and the outside."""

    one: Place
    two: Place
    node_one: Place
    node_two: Place
    outside: Place

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.cluster, self.namespace = cluster, namespace
        self._api = Connection(kubeconfig.load(cluster.kubeconfig))

    def create(self, *documents: Document) -> list[Document]:
        return [self._api.send("POST", self._path(each["kind"]), each) for each in documents]

    def get(self, kind: str, name: str) -> Document:
        return self._api.get(f"{self._path(kind)}/{name}")

    def items(self, kind: str, **labels: str) -> list[Document]:
        selector = {"labelSelector": ",".join(f"{key}={value}" for key, value in labels.items())}
        items: list[Document] = self._api.get(self._path(kind), selector)["items"]
        return items

    def patch(self, kind: str, name: str, change: Document) -> Document:
        """A JSON merge patch."""
        return self._api.send("PATCH", f"{self._path(kind)}/{name}", change, content_type="application/merge-patch+json")

    def delete(self, kind: str, name: str, grace: int | None = None) -> None:
        """Asks for it; with `grace` 0 a pod is gone at once."""
        body = {} if grace is None else {"gracePeriodSeconds": grace}
        self._api.send("DELETE", f"{self._path(kind)}/{name}", body)

    def delete_all(self, kind: str, **labels: str) -> None:
        selector = {"labelSelector": ",".join(f"{key}={value}" for key, value in labels.items())}
        self._api.send("DELETE", self._path(kind), query=selector)

    def gone(self, kind: str, name: str) -> bool:
        try:
            self.get(kind, name)
        except Refused as refusal:
            return refusal.code == 404
        return False

    def ready(self, *pods: str) -> list[Document]:
        """The pods, once they are."""
        return [until(lambda name=name: self.get("Pod", name), is_ready) for name in pods]

    def serve(self, *documents: Document) -> list[str]:
        """Creates pods and Services; once the pods are ready, the Services' first cluster addresses."""
        made = self.create(*documents)
        self.ready(*(each["metadata"]["name"] for each in made if each["kind"] == "Pod"))
        return [each["spec"].get("clusterIP", "") for each in made if each["kind"] == "Service"]

    def slices(self, service: str) -> list[Document]:
        return self.items("EndpointSlice", **{"kubernetes.io/service-name": service})

    def endpoints(self, service: str) -> list[tuple[str, int]]:
        """Every ready address and port in the Service's slices, sorted."""
        return sorted(
            (address, port["port"])
            for each in self.slices(service)
            for endpoint in each["endpoints"] or ()
            if endpoint["conditions"]["ready"]
            for address in endpoint["addresses"]
            for port in each["ports"] or ()
        )

    def file(self, pod: str, path: str) -> str:
        return self.cluster.kubectl("exec", "-n", self.namespace, pod, "--", "cat", path).stdout

    def _path(self, kind: str) -> str:
        return API[kind].format(self.namespace)


@contextmanager
def scene(cluster: Cluster) -> Iterator[Scene]:
    """A new namespace with its clients ready, deleted in the end."""
    name = f"scene-{secrets.token_hex(4)}"
    cluster.mooring("apply", "-f", "-", stdin=f"{{apiVersion: v1, kind: Namespace, metadata: {{name: {name}}}}}")
    made = Scene(cluster, name)
    with ExitStack() as left:
        left.callback(cluster.mooring, "delete", "namespace", name, "--no-wait")
        made.create(*(client(pod, f"node-{number}") for number, pod in ((1, "one"), (2, "two"))))
        made.ready("one", "two")
        for pod in ("one", "two"):
            setattr(made, pod, left.enter_context(in_pod(made, pod)))
        for role, where in (("node_one", "node-1"), ("node_two", "node-2"), ("outside", "outside")):
            setattr(made, role, left.enter_context(at(cluster, where)))
        yield made


@contextmanager
def in_pod(where: Scene, pod: str) -> Iterator[Place]:
    words = [kubectl(), "--kubeconfig", str(where.cluster.kubeconfig), "exec", "-i", "-n", where.namespace, pod, "--"]
    with _closing(Place(words)) as place:
        yield place


@contextmanager
def at(cluster: Cluster, where: str) -> Iterator[Place]:
    """A node, or the `outside`."""
    with _closing(Place(cluster.within(where))) as place:
        yield place


@contextmanager
def _closing(place: Place) -> Iterator[Place]:
    try:
        yield place
    finally:
        place.close()


def is_ready(pod: Document) -> bool:
    conditions = pod["status"].get("conditions") or ()
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def addresses(pod: Document) -> list[str]:
    return [each["ip"] for each in pod["status"]["podIPs"]]


def client(name: str, node: str, **spec: Any) -> Document:
    return _pod(name, {}, {"nodeName": node, "containers": [{"name": "main", "image": "mooring.dev/toolbox"}], **spec})


def server(
    name: str, app: str, *, node: str = "", port_name: str = "", env: dict[str, str] | None = None, **spec: Any
) -> Document:
    """An echo that ends at once when told to. `env` are ECHO_ settings; readiness follows /ready."""
    container = {
        "name": "main",
        "image": "mooring.dev/echo",
        "env": [{"name": f"ECHO_{key}", "value": value} for key, value in {"DRAIN": "0", **(env or {})}.items()],
        "ports": [{"containerPort": 8080, **({"name": port_name} if port_name else {})}],
        "readinessProbe": {
            "httpGet": {"path": "/ready", "port": int((env or {}).get("HTTP", 8080))},
            "periodSeconds": 1,
            "failureThreshold": 1,
        },
    }
    return _pod(name, {"app": app}, {**({"nodeName": node} if node else {}), "containers": [container], **spec})


def _pod(name: str, labels: dict[str, str], spec: Document) -> Document:
    metadata = {"name": name, "labels": labels}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"terminationGracePeriodSeconds": 1, **spec}}


def service(name: str, app: str, *, ports: Sequence[Document] = ({"port": 80, "targetPort": 8080},), **spec: Any) -> Document:
    """A Service of the pods labelled `app`; '' selects nothing: its endpoints are written by hand."""
    selector = {"selector": {"app": app}} if app else {}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {**selector, "ports": list(ports), **spec},
    }
