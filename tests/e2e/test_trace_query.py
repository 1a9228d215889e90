"""Does `mooring trace query` say of a running cluster what its name servers answer?"""

import json

import pytest
from scene import until

from local_cluster import Cluster

OBJECTS = """
apiVersion: v1
kind: Pod
metadata: {{name: server, labels: {{app: named}}}}
spec:
  hostname: one
  subdomain: each
  containers: [{{name: main, image: mooring.dev/echo}}]
---
apiVersion: v1
kind: Pod
metadata: {{name: client}}
spec: {{containers: [{{name: main, image: mooring.dev/toolbox}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: web}}
spec: {{selector: {{app: named}}, ports: [{{name: http, port: 80, targetPort: 8080}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: each}}
spec: {{clusterIP: None, selector: {{app: named}}, ports: [{{name: http, port: 8080}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: near}}
spec: {{type: ExternalName, externalName: web.{namespace}.svc.cluster.local}}
"""


@pytest.fixture
def named(cluster: Cluster, namespace: str) -> str:
    cluster.mooring("apply", "-n", namespace, "-f", "-", stdin=OBJECTS.format(namespace=namespace))
    cluster.kubectl("wait", "-n", namespace, "--for=condition=Ready", "pod/server", "pod/client", "--timeout=50s")
    return namespace


def test_what_is_foreseen_is_what_the_server_answers(cluster: Cluster, named: str) -> None:
    """Of each type of Service and record; `--live` compares, and its exit code says so."""
    for asked, exists in (
        (("web",), True),
        (("web", "AAAA"), False),
        (("_http._tcp.web", "SRV"), True),
        (("each",), True),
        (("one.each",), True),
        (("_http._tcp.each", "SRV"), True),
        (("near",), True),
        (("dns-version.cluster.local.", "TXT"), True),
        (("no.such.name",), False),
    ):
        words = ("trace", "query", *asked, "--from", "client", "-n", named, "--live", "-o", "json")
        told = until(
            lambda words=words: cluster.mooring(*words, check=False),
            lambda told, code=0 if exists else 1: told.returncode == code,
        )
        found = json.loads(told.stdout)
        assert [] == [each for each in found["asked"] if each["difference"] or each["live"]["error"]], asked
        assert [each["foreseen"]["records"] for each in found["asked"]] == [
            each["live"]["said"]["records"] for each in found["asked"]
        ]


def test_people_read_who_answers_and_why(cluster: Cluster, named: str) -> None:
    told = cluster.mooring("trace", "query", "web", "--from", "client", "-n", named).stdout
    assert f"1. web.{named}.svc.cluster.local A" in told
    assert f"cluster: answered, because service/web in {named}: the Service has a cluster IP" in told
    assert f"web is web.{named}.svc.cluster.local: 10.96." in told


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        pytest.param(("web", "NONSENSE", "--from", "client"), 2, "'NONSENSE' is no type of record", id="a type"),
        pytest.param(("web", "--from", "nobody"), 1, "no pod 'nobody' in namespace", id="a pod"),
        pytest.param(("web", "--from", "192.0.2.1/node-1"), 2, "names are asked for by a pod or a node", id="a place"),
    ],
)
def test_words_that_mean_nothing_are_refused(
    cluster: Cluster, namespace: str, arguments: tuple[str, ...], code: int, complaint: str
) -> None:
    done = cluster.mooring("trace", "query", *arguments, "-n", namespace, check=False)
    assert (code, True) == (done.returncode, complaint in done.stderr), done.stderr
