"""A steady load of HTTP/1.1 over connections that are kept, as browsers and services keep them; the standard library alone.

    python3 _steady_http.py '{NAME: {"address", "host", "tls", "rate", "connections", "fresh"}, ...}'

Each target gets `rate` requests a second over its kept connections, and `fresh` more over new ones. It stops at the first empty
line, or the end, of its standard input; every other line tells the tallies since the last such line: {NAME: {"requests",
"failed", "failures", "retried", "opened", "pods", "certificates"}}.

A request fails when it is refused, breaks, takes over 20 seconds or is not answered with 200. One that meets a kept connection
closed before any octet of its answer is sent again over a new one, once (RFC 9112, 9.3.1: GET is idempotent), as every client
does, and counted as `retried`.
"""

import asyncio
import collections
import hashlib
import json
import ssl
import sys

TIMEOUT = 20.0
# One for all: to load the system's authorities takes longer than many requests.
CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
CONTEXT.check_hostname, CONTEXT.verify_mode = False, ssl.CERT_NONE


class Tally:
    def __init__(self):
        self.requests = self.retried = self.opened = 0
        self.failures, self.pods, self.certificates = collections.Counter(), collections.Counter(), set()

    def shown(self):
        failed = sum(self.failures.values())
        return {
            "requests": self.requests,
            "failed": failed,
            "failures": self.failures,
            "retried": self.retried,
            "opened": self.opened,
            "pods": self.pods,
            "certificates": len(self.certificates),
        }


class Stale(Exception):
    """A kept connection was gone before any of the answer."""


class Connection:
    def __init__(self, target, tally):
        self.target, self.tally, self.reader, self.writer = target, tally, None, None

    async def get(self):
        """The body of a 200. Raises Stale, OSError, ValueError, asyncio.IncompleteReadError."""
        reused = self.writer is not None and not self.reader.at_eof()
        if not reused:
            await self.open()
        try:
            self.writer.write(f"GET /hostname HTTP/1.1\r\nHost: {self.target['host']}\r\n\r\n".encode())
            first = await self.reader.read(1)
        except OSError as error:
            self.close()
            if reused:
                raise Stale from error
            raise
        if not first:
            self.close()
            if reused:
                raise Stale
            raise ValueError("a new connection was closed without an answer")
        try:
            return await self.answer(first)
        except BaseException:
            self.close()
            raise

    async def answer(self, first):
        lines = (first + await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        if "content-length" in headers:
            body = await self.reader.readexactly(int(headers["content-length"]))
        elif headers.get("transfer-encoding") == "chunked":
            body = await self.chunks()
        else:
            body = await self.reader.read()
        if headers.get("connection", "").lower() == "close":
            self.close()
        status = lines[0].split(" ", 2)[1]
        if status != "200":
            raise ValueError(f"status {status}")
        return body.decode()

    async def chunks(self):
        body = b""
        while size := int(await self.reader.readuntil(b"\r\n"), 16):
            body += (await self.reader.readexactly(size + 2))[:-2]
        await self.reader.readuntil(b"\r\n")
        return body

    async def open(self):
        self.close()
        target, more = self.target, {}
        if target["tls"]:
            more = {"ssl": CONTEXT, "server_hostname": target["host"]}
        self.reader, self.writer = await asyncio.open_connection(target["address"], 443 if target["tls"] else 80, **more)
        self.tally.opened += 1
        if target["tls"]:
            certificate = self.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
            self.tally.certificates.add(hashlib.sha256(certificate).hexdigest())

    def close(self):
        if self.writer:
            self.writer.close()
        self.reader = self.writer = None


class Load:
    def __init__(self, target):
        self.target, self.tally = target, Tally()

    def taken(self):
        taken, self.tally = self.tally, Tally()
        return taken.shown()

    async def one(self, connection):
        self.tally.requests += 1
        connection.tally = self.tally
        try:
            async with asyncio.timeout(TIMEOUT):
                try:
                    body = await connection.get()
                except Stale:
                    self.tally.retried += 1
                    body = await connection.get()
            self.tally.pods[body] += 1
        except Exception as error:
            connection.close()
            self.tally.failures[f"{type(error).__name__}: {error}"] += 1

    async def kept(self, number, stopping):
        """Requests that are late do not wait for others: each connection has its own pace."""
        connection, loop = Connection(self.target, self.tally), asyncio.get_running_loop()
        period = self.target["connections"] / self.target["rate"]
        due = loop.time() + period * number / self.target["connections"]
        while not stopping.is_set():
            await asyncio.sleep(max(0.0, due - loop.time()))
            due = max(due + period, loop.time())
            await self.one(connection)
        connection.close()

    async def fresh(self, stopping):
        while not stopping.is_set():
            await asyncio.sleep(1 / self.target["fresh"])
            connection = Connection(self.target, self.tally)
            await self.one(connection)
            connection.close()


async def main(targets):
    stopping, loop = asyncio.Event(), asyncio.get_running_loop()
    loads = {name: Load(target) for name, target in targets.items()}
    running = [
        asyncio.ensure_future(work)
        for load in loads.values()
        for work in (*(load.kept(number, stopping) for number in range(load.target["connections"])), load.fresh(stopping))
    ]
    print("begun", flush=True)
    while (await loop.run_in_executor(None, sys.stdin.readline)).strip():
        print(json.dumps({name: load.taken() for name, load in loads.items()}), flush=True)
    stopping.set()
    await asyncio.wait(running, timeout=2 * TIMEOUT)
    print(json.dumps({name: load.taken() for name, load in loads.items()}), flush=True)


asyncio.run(main(json.loads(sys.argv[1])))
