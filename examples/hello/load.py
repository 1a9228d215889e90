"""Sends GET requests to a URL, each over a new connection, and tells each second as a JSON line which pods answered.

    python3 load.py URL --count N | --seconds S [--rate R] [--until-eof]

Runs inside a client pod; with --until-eof it ends with its standard input at the latest. A request fails when it is refused,
breaks, takes over 20 seconds or is not answered with 200.
"""

import argparse
import collections
import http.client
import json
import sys
import threading
import time
from urllib.parse import urlsplit

WORKERS = 8
TIMEOUT = 20.0


class Tally:
    def __init__(self):
        self.lock = threading.Lock()
        self.by_pod, self.versions, self.failures = collections.Counter(), collections.Counter(), collections.Counter()

    def succeeded(self, pod, version):
        with self.lock:
            self.by_pod[pod] += 1
            self.versions[version] += 1

    def failed(self, reason):
        with self.lock:
            self.failures[reason] += 1

    def line(self):
        with self.lock:
            return json.dumps(
                {
                    "requests": sum(self.by_pod.values()) + sum(self.failures.values()),
                    "failed": sum(self.failures.values()),
                    "by_pod": self.by_pod,
                    "by_version": self.versions,
                    "failures": self.failures,
                }
            )


def request(url, tally):
    connection = http.client.HTTPConnection(url.hostname, url.port or 80, timeout=TIMEOUT)
    try:
        connection.request("GET", url.path or "/", headers={"Connection": "close", "Accept": "application/json"})
        response = connection.getresponse()
        body = response.read()
        if response.status == 200:
            identity = json.loads(body)
            tally.succeeded(identity["pod"], identity.get("version", ""))
        else:
            tally.failed(f"status {response.status}")
    except (OSError, http.client.HTTPException, ValueError) as error:
        tally.failed(f"{type(error).__name__}: {error}")
    finally:
        connection.close()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("url", type=urlsplit)
    parser.add_argument("--count", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=0.0)
    parser.add_argument("--until-eof", action="store_true")
    arguments = parser.parse_args()
    tally, turn = Tally(), iter(range(arguments.count or sys.maxsize))
    lock, start, over = threading.Lock(), time.monotonic(), threading.Event()

    def work():
        while not over.is_set():
            with lock:
                number = next(turn, None)
            if number is None:
                return
            due = start + number / arguments.rate if arguments.rate else start
            time.sleep(max(0.0, due - time.monotonic()))
            if time.monotonic() - start > arguments.seconds:
                return
            request(arguments.url, tally)

    def listen():
        sys.stdin.read()
        over.set()

    if arguments.until_eof:
        threading.Thread(target=listen, daemon=True).start()
    workers = [threading.Thread(target=work, daemon=True) for _ in range(WORKERS)]
    for worker in workers:
        worker.start()
    while any(worker.is_alive() for worker in workers):
        workers[0].join(0.5) if workers[0].is_alive() else time.sleep(0.2)
        print(tally.line(), flush=True)
    print(tally.line(), flush=True)


main()
