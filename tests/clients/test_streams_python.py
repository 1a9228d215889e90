"""The official Python client's streams: terminals, attach, forwarded ports, proxies; and a WebSocket through a proxy."""

import secrets
import ssl
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from kubectl_command import DEADLINE, eventually
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from kubernetes.stream import portforward, stream
from msgspec import json
from websockets.sync.client import connect

from local_cluster import Cluster

CONTAINERS = (
    {
        "name": "web",
        "image": "mooring.dev/echo:v1",
        "ports": [{"name": "http", "containerPort": 8080}],
        "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
    },
    {"name": "talk", "image": "busybox", "stdin": True, "tty": True, "command": ["sh"]},
)
SOCKET = (
    {
        "name": "socket",
        "image": "mooring.dev/echo-grpc",
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8080}, "periodSeconds": 1},
    },
)


@pytest.fixture(scope="module")
def api(cluster: Cluster) -> Iterator[client.ApiClient]:
    made = config.new_client_from_config(str(cluster.kubeconfig))
    yield made
    made.close()


@pytest.fixture(scope="module")
def core(api: client.ApiClient) -> client.CoreV1Api:
    return client.CoreV1Api(api)


@pytest.fixture(scope="module")
def place(core: client.CoreV1Api) -> Iterator[str]:
    """A namespace with a ready pod p and one that speaks WebSocket."""
    name = f"streams-{secrets.token_hex(4)}"
    core.create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name=name)))
    eventually(lambda: core.list_namespaced_service_account(name).items, bool)
    for pod, containers in (("p", CONTAINERS), ("socket", SOCKET)):
        spec = {"terminationGracePeriodSeconds": 0, "containers": containers}
        core.create_namespaced_pod(name, {"metadata": {"name": pod}, "spec": spec})
    ready = lambda pod: any(each.type == "Ready" and each.status == "True" for each in pod.status.conditions or ())  # noqa: E731
    eventually(lambda: core.list_namespaced_pod(name).items, lambda pods: all(map(ready, pods)))
    yield name
    core.delete_namespace(name)


def hears(session: Any, text: str) -> str:
    seen = ""
    while text not in seen:
        assert session.is_open() or session.peek_stdout(), seen
        session.update(timeout=DEADLINE)
        seen += session.read_stdout(timeout=0.01) or ""
    return seen


def test_exec_on_a_terminal_of_a_size(core: client.CoreV1Api, place: str) -> None:
    wanted = {"container": "talk", "command": ["sh"], "stdin": True, "stdout": True, "tty": True}
    session = stream(core.connect_get_namespaced_pod_exec, "p", place, **wanted, _preload_content=False)
    session.write_channel(4, json.encode({"Width": 91, "Height": 17}).decode())
    session.write_stdin("tty; stty size\n")
    assert "/dev/pts/1\r\n17 91\r\n" in hears(session, "17 91\r\n"), "pts/0 is the container's own"
    session.write_stdin("exit 6\n")
    session.run_forever(timeout=DEADLINE)
    assert 6 == session.returncode


def test_attach(core: client.CoreV1Api, place: str) -> None:
    wanted = {"container": "talk", "stdin": True, "stdout": True, "tty": True}
    session = stream(core.connect_post_namespaced_pod_attach, "p", place, **wanted, _preload_content=False)
    session.write_stdin("echo so$((1))und\n")
    hears(session, "so1und\r\n")
    session.close()
    assert "so1und" in core.read_namespaced_pod_log("p", place, container="talk")


def test_forwarded_ports(core: client.CoreV1Api, place: str) -> None:
    forwarded = portforward(core.connect_get_namespaced_pod_portforward, "p", place, ports="8080,81")
    sock = forwarded.socket(8080)
    sock.setblocking(True)
    sock.sendall(b"GET /hostname HTTP/1.1\r\nHost: p\r\nConnection: close\r\n\r\n")
    heard = b""
    while data := sock.recv(4096):
        heard += data
    sock.close()
    assert heard.startswith(b"HTTP/1.1 200 OK") and heard.endswith(b"\r\n\r\np")
    assert None is forwarded.error(8080)
    assert "connect: connection refused" in eventually(lambda: forwarded.error(81), bool)


def refused(call: Callable[..., Any], *arguments: Any) -> tuple[int, str]:
    with pytest.raises(ApiException) as caught:
        call(*arguments)
    return caught.value.status, json.decode(caught.value.body)["message"]


def test_proxies(core: client.CoreV1Api, place: str) -> None:
    assert "p" == core.connect_get_namespaced_pod_proxy_with_path("p:http", place, "hostname")
    assert "ok" == core.connect_get_node_proxy_with_path("node-1", "healthz")
    status, message = refused(core.connect_get_namespaced_service_proxy_with_path, "gone:80", place, "x")
    assert (404, 'services "gone" not found') == (status, message)
    status, message = refused(core.connect_get_namespaced_pod_proxy_with_path, "p:81", place, "x")
    assert (503, True) == (status, message.startswith("error trying to reach service: dial tcp "))


def test_a_websocket_through_the_proxy(api: client.ApiClient, place: str) -> None:
    settings = api.configuration
    tls = ssl.create_default_context(cafile=settings.ssl_ca_cert)
    tls.load_cert_chain(settings.cert_file, settings.key_file)
    host = urlsplit(settings.host).netloc
    with connect(f"wss://{host}/api/v1/namespaces/{place}/pods/socket:8080/proxy/", ssl=tls) as socket:
        assert "socket" in str(socket.recv(DEADLINE))
        socket.send("through")
        assert "through" == socket.recv(DEADLINE)
