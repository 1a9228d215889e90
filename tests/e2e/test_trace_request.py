"""Does `mooring trace request` say of a running cluster what its proxies do?"""

import json
from collections.abc import Mapping
from functools import partial
from typing import Any

from scene import until
from upstream import together

from local_cluster import Cluster

OBJECTS = """
apiVersion: v1
kind: Pod
metadata: {name: server, labels: {app: traced}}
spec: {containers: [{name: main, image: mooring.dev/echo}]}
---
apiVersion: v1
kind: Pod
metadata: {name: client}
spec: {containers: [{name: main, image: mooring.dev/toolbox}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: traced}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: empty}
spec: {selector: {app: nobody}, ports: [{port: 80, targetPort: 8080}]}
"""
INGRESS = """
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: {class_name}
  annotations: {{nginx.ingress.kubernetes.io/ssl-redirect: "false", nginx.ingress.kubernetes.io/app-root: /start}}
spec:
  ingressClassName: {class_name}
  tls: [{{hosts: [{host}]}}]
  rules:
  - host: {host}
    http:
      paths:
      - {{path: /, pathType: Prefix, backend: {{service: {{name: web, port: {{number: 80}}}}}}}}
      - {{path: /empty, pathType: Exact, backend: {{service: {{name: empty, port: {{number: 80}}}}}}}}
"""


def test_what_is_foreseen_is_what_the_proxies_do(cluster: Cluster, ingress_proxies: None, namespace: str) -> None:
    hosts = {name: f"{name}.{namespace}.example" for name in ("mooring-envoy", "mooring-nginx")}
    text = OBJECTS + "".join(INGRESS.format(class_name=name, host=host) for name, host in hosts.items())
    cluster.mooring("apply", "-n", namespace, "-f", "-", stdin=text)
    cluster.kubectl("wait", "-n", namespace, "--for=condition=Ready", "pod/server", "pod/client", "--timeout=50s")

    there = "--for=jsonpath={.status.loadBalancer.ingress}"
    cluster.kubectl("wait", "-n", namespace, there, *(f"ingress/{name}" for name in hosts), "--timeout=50s")

    def trace(url: str, *more: str) -> Mapping[str, Any]:
        found = cluster.mooring("trace", "request", url, "--live", "-n", namespace, "-o", "json", *more, check=False)
        told: Mapping[str, Any] = json.loads(found.stdout)
        assert (found.returncode == 0) is (told["status"] in range(1, 400) and not told["differences"]), found.stdout
        return told

    def foreseen(url: str, *more: str) -> Mapping[str, Any]:
        """The trace, once the proxy that it meets, one of two, has heard of the Ingress."""
        return until(lambda: trace(url, *more), lambda told: told["live"] and not told["differences"])

    together([partial(foreseen, f"http://{host}/x?y=z") for host in hosts.values()])
    envoy, nginx = hosts.values()
    wanted = (
        ("mooring-envoy", f"https://{envoy}/x", ("-X", "POST", "-H", "X-A: b"), 200),
        ("mooring-envoy", f"http://{envoy}/empty", (), 503),
        ("mooring-nginx", f"http://{nginx}/x", ("--from", "client"), 200),
        ("mooring-nginx", f"http://{nginx}/", (), 302),
        ("mooring-nginx", f"http://nobody.{nginx}/", ("--class", "mooring-nginx"), 404),
    )
    found = together([partial(foreseen, url, *more) for _, url, more, _ in wanted])
    for (class_name, url, _, status), told in zip(wanted, found, strict=True):
        assert (told["status"], told["differences"], told["class_name"]) == (status, [], class_name), url
        assert told["live"]["pod"], "its access log tells of it"
        if status == 200:
            assert told["live"]["upstream"] in {f"{each['address']}:{each['port']}" for each in told["endpoints"]}
