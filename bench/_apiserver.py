"""What runs the API server for `bench apiserver`, and where does its processor time go?

`python -m bench._apiserver DATA_DIR [--stages]` serves on a free port of 127.0.0.1, prints the port and, when asked, at SIGTERM
where the time went: seconds of processor time by stage, measured by timers around the stages themselves. A profiler would
weigh Python's calls against C's; these add two clock readings a call, so figures are taken without them.
"""

import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import structlog
import uvloop

from mooring.apiserver.contract import Write
from mooring.app.roles import apiserver
from mooring.edges.http.server_connection import Connection
from mooring.edges.http.server_parser import RequestParser
from mooring.edges.http.server_watch import Hub
from mooring.edges.pki import Pki
from mooring.edges.sqlite.log import Log
from mooring.store.state import State

spent: dict[str, float] = defaultdict(float)


def timed(stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **named: Any) -> Any:
        started = time.thread_time()
        try:
            return function(*args, **named)
        finally:
            spent[stage] += time.thread_time() - started

    return call


def time_stages() -> None:
    decide = timed("core: decide", apiserver.handle)

    def handle(*args: Any) -> Any:
        outcome = decide(*args)
        if isinstance(outcome, Write):
            return msgspec.structs.replace(outcome, respond=timed("core: respond", outcome.respond))
        return outcome

    apiserver.handle = handle  # type: ignore[assignment]
    State.decide = timed("store: decide and publish", State.decide)  # type: ignore[method-assign]
    State.publish = timed("store: decide and publish", State.publish)  # type: ignore[method-assign]
    Log.append = timed("SQLite: write and fsync", Log.append)  # type: ignore[method-assign]
    RequestParser.feed = timed("HTTP: parse", RequestParser.feed)  # type: ignore[method-assign]
    Connection.write = timed("TLS: encrypt and send", Connection.write)  # type: ignore[method-assign]
    Hub._flush = timed("watch: encode and fan out", Hub._flush)  # type: ignore[method-assign]


def main(data_dir: Path, stages: bool) -> None:
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    Pki(data_dir / "pki").admin()
    if stages:
        time_stages()
    options = apiserver.Options(data_dir, (apiserver.Listen("127.0.0.1", 0),))
    uvloop.run(apiserver.serve(options, lambda addresses: print(addresses[0][1], flush=True)))
    spent["TLS receive, event loop, requests' bookkeeping"] = time.process_time() - sum(spent.values())
    print(json.dumps(spent), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), "--stages" in sys.argv)
