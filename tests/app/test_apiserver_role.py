"""Does the API server's process start, serve, keep, tidy up and stop as it should? The real one, in its own process."""

import contextlib
import json
import os
import signal
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mooring.app.roles.housekeeping import expired_events
from mooring.edges.pki import Pki
from mooring.store.records import Compare, Put, Txn
from mooring.store.state import State

SERVE = """
import pathlib, sys, uvloop
from mooring.app.roles.apiserver import Listen, Options, serve
listen = tuple(Listen("127.0.0.1", 0, namespace) for namespace in ("", *sys.argv[2:]))
options = Options(pathlib.Path(sys.argv[1]), listen)
uvloop.run(serve(options, lambda addresses: print("ready", *(port for _, port in addresses), flush=True)))
"""


class Role:
    def __init__(self, data_dir: Path, *namespaces: str, script: str = SERVE) -> None:
        self._data_dir = data_dir
        self.log = data_dir.with_name("log")
        self._log = self.log.open("a")
        self.process = subprocess.Popen(
            [sys.executable, "-c", script, str(data_dir), *namespaces], stdout=subprocess.PIPE, stderr=self._log, text=True
        )
        assert self.process.stdout
        self.ports = next(line.split()[1:] for line in self.process.stdout if line.startswith("ready"))

    def ask(self, method: str, path: str, document: Any = None) -> Any:
        context = ssl.create_default_context(cafile=self._data_dir / "pki" / "ca.crt")
        context.load_cert_chain(Pki(self._data_dir / "pki").admin().path)
        body = json.dumps(document).encode() if document else None
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"https://127.0.0.1:{self.ports[0]}{path}", body, headers, method=method)
        with urllib.request.urlopen(request, context=context, timeout=60) as answer:
            content = answer.read()
            return json.loads(content) if answer.headers["Content-Type"].startswith("application/json") else content.decode()

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        """Its exit code, after its last word."""
        assert self.process.stdout
        self.process.stdout.read()
        self._log.close()
        return self.process.wait(30)


@contextlib.contextmanager
def role(data_dir: Path, *namespaces: str, script: str = SERVE) -> Iterator[Role]:
    started = Role(data_dir, *namespaces, script=script)
    try:
        yield started
    finally:
        if started.process.poll() is None:
            started.end(signal.SIGKILL)


def namespace(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def test_it_serves_over_tls_and_stops_at_sigterm_with_code_0(tmp_path: Path) -> None:
    with role(tmp_path / "data") as served:
        assert served.ask("GET", "/readyz") == "ok"
        assert served.end(signal.SIGTERM) == 0
    assert {path.name for path in (tmp_path / "data").iterdir()} == {"pki", "state.db"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["an orderly end", "kill -9"])
def test_what_it_acknowledged_is_there_after_a_restart_and_revisions_go_on(tmp_path: Path, number: int) -> None:
    with role(tmp_path / "data") as served:
        created = served.ask("POST", "/api/v1/namespaces", namespace("kept"))
        served.end(number)
    with role(tmp_path / "data") as served:
        assert served.ask("GET", "/api/v1/namespaces/kept") == created
        later = served.ask("POST", "/api/v1/namespaces", namespace("later"))
    assert int(later["metadata"]["resourceVersion"]) > int(created["metadata"]["resourceVersion"])


def test_a_watch_goes_on_where_it_was_after_a_restart(tmp_path: Path) -> None:
    with role(tmp_path / "data") as served:
        first = served.ask("POST", "/api/v1/namespaces", namespace("first"))["metadata"]["resourceVersion"]
        served.ask("POST", "/api/v1/namespaces", namespace("second"))
        served.end(signal.SIGKILL)
    with role(tmp_path / "data") as served:
        path = f"/api/v1/namespaces?watch=1&timeoutSeconds=1&resourceVersion={first}"
        with pytest.raises(json.JSONDecodeError) as stream:  # several documents, one a line
            served.ask("GET", path + "&allowWatchBookmarks=true")
    events = [json.loads(line) for line in stream.value.doc.splitlines()]
    assert [(event["type"], event["object"]["metadata"].get("name")) for event in events] == [
        ("ADDED", "second"),
        ("BOOKMARK", None),
    ]


def test_a_second_one_on_the_same_directory_says_so_and_ends(tmp_path: Path) -> None:
    with role(tmp_path / "data") as served:
        second = subprocess.run(
            [sys.executable, "-c", SERVE, str(tmp_path / "data")], capture_output=True, text=True, timeout=60, check=False
        )
        assert (second.returncode, served.ask("GET", "/readyz")) == (1, "ok")
    assert "is in use by another process" in second.stderr


def test_an_address_that_is_taken_is_named(tmp_path: Path) -> None:
    with role(tmp_path / "one") as served:
        port = served.ports[0]
        second = subprocess.run(
            [sys.executable, "-c", SERVE.replace('"127.0.0.1", 0', f'"127.0.0.1", {port}'), str(tmp_path / "two")],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert f"cannot listen on 127.0.0.1 port {port}: Address already in use" in second.stderr


@pytest.mark.root
def test_one_of_its_listeners_may_be_in_another_network_namespace(tmp_path: Path) -> None:
    name = f"mrgapi{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
        with role(tmp_path / "data", name) as served:
            outside, inside = served.ports
            pki = Pki(tmp_path / "data" / "pki")
            ask = (
                "import ssl, sys, urllib.request\n"
                "context = ssl.create_default_context(cafile=sys.argv[2])\n"
                "print(urllib.request.urlopen(f'https://127.0.0.1:{sys.argv[1]}/readyz', context=context, timeout=60).read())"
            )
            within = [sys.executable, "-c", ask, inside, str(pki.authority)]
            answer = subprocess.run(["ip", "netns", "exec", name, *within], capture_output=True, text=True, check=True)
            assert answer.stdout == "b'ok'\n"
            with pytest.raises(urllib.error.URLError):
                served.ports = [inside]
                served.ask("GET", "/readyz")
            served.ports = [outside]
            assert served.ask("GET", "/readyz") == "ok"
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)


def test_when_its_file_cannot_be_written_any_more_it_ends_so_that_it_is_started_anew(tmp_path: Path) -> None:
    broken = SERVE.replace(
        "options =",
        "from mooring.edges.sqlite.log import Log\n"
        "import sqlite3\n"
        "append = Log._append\n"
        "def fail(self, batch):\n"
        "    if any('lost' in event.key for event in batch.events):\n"
        "        raise sqlite3.OperationalError('disk I/O error')\n"
        "    append(self, batch)\n"
        "Log._append = fail\n"
        "options =",
    )
    with role(tmp_path / "data", script=broken) as served:
        with pytest.raises(urllib.error.HTTPError, match="500"):
            served.ask("POST", "/api/v1/namespaces", namespace("lost"))
        assert served.wait() == 1
        assert "StorageFailed" in served.log.read_text()


@pytest.mark.parametrize(
    ("document", "gone"),
    [
        ({"lastTimestamp": "2026-01-01T10:59:00Z"}, True),
        ({"lastTimestamp": "2026-01-01T11:01:00Z"}, False),
        ({"eventTime": "2026-01-01T10:00:00.123456Z", "lastTimestamp": None}, True),
        (
            {"eventTime": "2026-01-01T09:00:00Z", "series": {"count": 2, "lastObservedTime": "2026-01-01T11:30:00.000000Z"}},
            False,
        ),
        ({}, True),
    ],
    ids=[
        "an hour ago",
        "less than an hour ago",
        "by eventTime",
        "seen again lately",
        "only created",
    ],
)
def test_events_go_an_hour_after_they_were_last_written(document: dict[str, Any], gone: bool) -> None:
    state = State()
    whole = {"metadata": {"name": "e", "creationTimestamp": "2026-01-01T08:00:00Z"}, **document}
    state.apply(Txn((), (Put("/core/events/default/e", json.dumps(whole).encode()),)))
    expired = list(expired_events(state, datetime(2026, 1, 1, 12, tzinfo=UTC)))
    assert expired == ([Compare("/core/events/default/e", 1)] if gone else [])
