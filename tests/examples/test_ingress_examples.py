"""Do the examples of Ingresses do what their pages say, through both proxies, for real clients from outside?"""

import base64
import json
import re
import secrets
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from local_cluster import Cluster
from mooring.cli.main import run

Document = dict[str, Any]
EXAMPLES = Path(__file__).parents[2] / "examples"
CLIENT = Path(__file__).with_name("web_client.py")
FOLDERS = ("ingress-hosts", "ingress-paths", "ingress-tls", "ingress-canary", "migrate-from-ingress-nginx")
CLASSES = ("mooring-envoy", "mooring-nginx")
PATIENCE = 90.0
HTTP3 = {"mooring-envoy": True, "mooring-nginx": False}


class Door(NamedTuple):
    """All examples, applied with one class. `authority` is a file with the certificate of the TLS example."""

    cluster: Cluster
    class_name: str
    namespace: str
    address: str
    authority: str

    def ask(self, *questions: Document) -> list[Document]:
        asked = [{"by": "1.1", "address": self.address, "authority": self.authority, **each} for each in questions]
        return json.loads(self.cluster.outside(sys.executable, str(CLIENT), json.dumps(asked)))

    def until(self, expected: Any, what: Callable[[list[Document]], Any], *questions: Document) -> list[Document]:
        """Asks until the answers are as expected, for as long as a fresh Ingress may take."""
        end = time.monotonic() + PATIENCE
        while True:
            answers = self.ask(*questions)
            if what(answers) == expected or time.monotonic() > end:
                assert expected == what(answers), answers
                return answers
            time.sleep(0.1)


@pytest.fixture(scope="module")
def doors(cluster: Cluster, ingress_proxies: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Door]]:
    """By class. Both are begun before either is waited for."""
    folder = tmp_path_factory.mktemp("examples")
    secret = subprocess.run([EXAMPLES / "ingress-tls" / "certificate.sh", folder], capture_output=True, text=True, check=True)
    texts = [path.read_text() for each in FOLDERS for path in sorted((EXAMPLES / each).glob("*.yaml"))]
    manifest = "\n---\n".join([secret.stdout, *texts])
    names = {each: f"test-{secrets.token_hex(4)}" for each in CLASSES}
    try:
        for class_name, name in names.items():
            cluster.mooring("apply", "-f", "-", stdin=f"{{apiVersion: v1, kind: Namespace, metadata: {{name: {name}}}}}")
            chosen = re.sub(r"(ingressClassName: )(mooring-envoy|nginx)$", rf"\g<1>{class_name}", manifest, flags=re.M)
            cluster.mooring("apply", "-n", name, "-f", "-", stdin=chosen)
        authority = str(folder / "secure.crt")
        yield {each: Door(cluster, each, name, _address(cluster, name), authority) for each, name in names.items()}
    finally:
        for name in names.values():
            cluster.mooring("delete", "namespace", name, "--no-wait", check=False)


@pytest.fixture(params=CLASSES)
def door(request: pytest.FixtureRequest, doors: dict[str, Door]) -> Door:
    return doors[request.param]


def _address(cluster: Cluster, namespace: str) -> str:
    """When every pod serves and every Ingress has its address."""
    end = time.monotonic() + PATIENCE
    while True:
        told = json.loads(cluster.mooring("get", "deployments,ingresses", "-n", namespace, "-o", "json").stdout)["items"]
        ready = [each.get("status", {}).get("readyReplicas", 0) for each in told if each["kind"] == "Deployment"]
        given = [each.get("status", {}).get("loadBalancer", {}).get("ingress") for each in told if each["kind"] == "Ingress"]
        if all(ready) and ready and all(given) and given:
            return str(given[0][0]["ip"])
        assert time.monotonic() < end, told
        time.sleep(0.1)


def pods(answers: list[Document]) -> list[str]:
    """The Deployment of the pod that answered each, or the status."""
    return [_pod(each) if each.get("status") == 200 else str(each.get("status", each.get("failed"))) for each in answers]


def _pod(answer: Document) -> str:
    text = answer["body"]
    name = json.loads(text)["pod"] if text.startswith("{") else text.split()[0]
    return str(name.rsplit("-", 2)[0])


def statuses(answers: list[Document]) -> list[int]:
    return [each.get("status", 0) for each in answers]


def test_hosts(door: Door) -> None:
    hosts = ("red", "RED", "green", "a.b")
    questions = [{"host": f"{each}.colours.example", "path": "/hostname"} for each in hosts]
    door.until(["red", "red", "blue", "404", "404"], pods, *questions, {"host": "colours.example"})


def test_paths(door: Door) -> None:
    paths = {"/shop": "shop", "/shop/": "shop", "/shop/list": "shop", "/shop/cart": "shop", "/shop/cart/1": "cart",
             "/shopping": "files", "/": "files"}  # fmt: skip
    door.until([*paths.values()], pods, *({"host": "paths.example", "path": each} for each in paths))


def test_tls_in_every_version_of_http(door: Door) -> None:
    versions = ("1.1", "2", "3") if HTTP3[door.class_name] else ("1.1", "2")
    questions = [{"by": each, "host": "secure.example", "path": "/hostname", "tls": True} for each in versions]
    answers = door.until(["secure"] * len(versions), pods, *questions)
    assert [*versions] == [each["by"] for each in answers]
    assert HTTP3[door.class_name] == ("h3=" in answers[0]["headers"].get("alt-svc", ""))


def test_plain_http_is_led_to_tls(door: Door) -> None:
    (answer,) = door.until([308], statuses, {"host": "secure.example", "path": "/a?b=c"})
    assert "https://secure.example/a?b=c" == answer["headers"]["location"]


def test_grpc_with_its_trailers(door: Door) -> None:
    question = {"by": "grpc", "host": "grpc.secure.example", "headers": {"x-asked": "yes"}}
    (answer,) = door.until([200], statuses, question)
    said, echoed = answer["body"]
    assert ("/mooring.Echo/Say", "yes", ["one", "two"]) == (said["method"], said["headers"]["x-asked"], echoed)
    assert said["pod"] == answer["headers"]["pod"]


def test_websocket(door: Door) -> None:
    question = {"by": "websocket", "host": "ws.secure.example", "path": "/chat?room=1", "tls": True}
    (answer,) = door.until([101], statuses, question)
    first, echoed = answer["body"]
    assert ("/chat?room=1", ["one", "two"]) == (first["path"], echoed)


def test_the_client_is_seen_and_the_scheme(door: Door) -> None:
    (answer,) = door.until([200], statuses, {"host": "secure.example", "path": "/json", "tls": True})
    seen = json.loads(answer["body"])["headers"]
    assert ("https", "secure.example") == (seen["x-forwarded-proto"], seen["host"])
    assert re.fullmatch(r"172\.30\.\d+\.\d+", seen["x-forwarded-for"])


def test_a_canary_by_header_and_weight(door: Door) -> None:
    questions = [{"host": "canary.example", "path": "/hostname", "headers": {"x-canary": each}} for each in ("always", "never")]
    door.until(["canary", "stable"], pods, *questions)

    def deployments(answers: list[Document]) -> Counter[str]:
        return Counter(each.rsplit("-", 2)[0] for each in answers[0].get("body", ()))

    many = {"host": "canary.example", "path": "/hostname", "times": 200}
    answers = door.until({"stable", "canary"}, lambda found: {*deployments(found)}, many)
    # Of 200 requests at one in five: 40, and six standard deviations to either side.
    assert 6 <= deployments(answers)["canary"] <= 74


def test_migrated_paths_headers_and_limits(door: Door) -> None:
    asked = {"host": "migrate.example"}
    crossing = {"headers": {"Origin": "https://migrate.example"}}
    rewritten, crossed, large, root, alias = door.until(
        [200, 200, 413, 302, 302],
        statuses,
        {**asked, "path": "/api/items?page=2"},
        {**asked, "path": "/api/items", **crossing},
        {**asked, "path": "/api/echo", "method": "POST", "octets": 65537},
        asked,
        {"host": "www.migrate.example"},
    )
    assert ["api", "/items?page=2"] == [_pod(rewritten), json.loads(rewritten["body"])["path"]]
    assert "https://migrate.example" == crossed["headers"]["access-control-allow-origin"]
    assert ["http://migrate.example/welcome", "http://www.migrate.example/welcome"] == [
        each["headers"]["location"] for each in (root, alias)
    ]
    assert large["by"] == "1.1"


def test_migrated_passwords(door: Door) -> None:
    def credentials(words: str) -> Document:
        return {"headers": {"Authorization": f"Basic {base64.b64encode(words.encode()).decode()}"}}

    asked = {"host": "admin.migrate.example"}
    questions = (asked, {**asked, **credentials("demo:wrong")}, {**asked, **credentials("demo:mooring")})
    answers = door.until([401, 401, 200], statuses, *questions)
    assert 'realm="the back office"' in answers[0]["headers"]["www-authenticate"]


def test_the_report_on_the_migration_says_that_all_carries_over(capsys: pytest.CaptureFixture[str]) -> None:
    assert 0 == run(["convert", "ingress", "-f", str(EXAMPLES / "migrate-from-ingress-nginx")])
    assert "Everything carries over" in capsys.readouterr().out


@pytest.mark.parametrize("folder", FOLDERS)
def test_pages_name_files_and_ingresses_that_there_are(folder: str) -> None:
    page = (EXAMPLES / folder / "README.md").read_text()
    files = re.findall(r"examples/[\w./-]+", page)
    assert [each for each in files if not (EXAMPLES.parent / each).exists()] == []
    documents = [each for path in (EXAMPLES / folder).glob("*.yaml") for each in yaml.safe_load_all(path.read_text())]
    known = {each["metadata"]["name"] for each in documents if each["kind"] == "Ingress"}
    assert set(re.findall(r"get ingress (\w+)", page)) <= known
