"""A server outside of the cluster, as a managed database is, and how a Service is led to it."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scene import Document

from local_cluster import Cluster

SERVER = Path(__file__).with_name("outside_server.py").read_text()


@contextmanager
def outside_server(cluster: Cluster, address: str, port: int) -> Iterator[None]:
    """Answers there as outside_server.py says, by HTTP and UDP. `address` is one of the external client's."""
    words = [*cluster.within("outside"), "python3", "-u", "-c", SERVER, address, str(port)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "serving\n"
            yield
        finally:
            process.kill()


def led_to(service: str, address: str, port: int, **more: object) -> Document:
    """The slice that leads a Service's ports `tcp` and `udp` to a place, as its owner writes it by hand."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": f"{service}-by-hand", "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv6" if ":" in address else "IPv4",
        "endpoints": [{"addresses": [address], **more}],
        "ports": [{"name": each, "port": port, "protocol": each.upper()} for each in ("tcp", "udp")],
    }
