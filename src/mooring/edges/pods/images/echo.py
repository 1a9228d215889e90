"""What does `mooring.dev/echo` answer? Who it is and who asked, over HTTP, TCP and UDP.

Run as a script with the standard library alone: one epoll loop, because importing asyncio would triple the time to start.

    HTTP  GET /            one line: pod, version, namespace, addresses     GET /json     the same and the headers, as JSON
          GET /hostname    the pod's name alone                             GET /clientip the client's address and port
          GET|POST /ready[?state=on|off]    reads or switches readiness     GET|POST /live[?state=on|off]   and liveness
          GET /slow?seconds=N               answers after N seconds         GET|POST /exit[?code=N]         ends the process
          POST /echo                        the body comes back
    TCP   a line for a line: the identity, then what was sent               UDP  the same for a datagram

Settings are environment variables, or arguments of the same name: ECHO_HTTP=8080 is --http=8080. ECHO_HTTP, ECHO_TCP, ECHO_UDP:
ports, separated by commas; ECHO_VERSION; ECHO_READY (on, off) at the start; ECHO_READY_FILE: ready while this file exists;
ECHO_ANY (on, off): every other path answers as /json does, in place of 404; ECHO_DRAIN: seconds in which, after SIGTERM,
requests are still served (each answer closes its connection), then exit 0.
"""

import heapq
import os
import select
import signal
import socket
import sys
import time

_MAX_HEAD, _MAX_BODY = 64 * 1024, 8 * 1024 * 1024
_REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    411: "Length Required",
    413: "Content Too Large",
    503: "Service Unavailable",
}


def settings(arguments, environment):
    found = {"http": "8080", "tcp": "8081", "udp": "8080", "version": "v1", "ready": "on", "ready_file": ""}
    found |= {"any": "off", "drain": "2"}
    for name in found:
        found[name] = environment.get("ECHO_" + name.upper(), found[name])
    for argument in arguments:
        name, _, value = argument.removeprefix("--").partition("=")
        if name.replace("-", "_") not in found:
            sys.exit(f"echo: unknown argument {argument}; known are {', '.join('--' + known for known in found)}")
        found[name.replace("-", "_")] = value
    return found


class Echo:
    def __init__(self, chosen, environment):
        self.chosen = chosen
        self.ready, self.live, self.draining = chosen["ready"] == "on", True, False
        self.identity = {
            "pod": environment.get("POD_NAME") or socket.gethostname(),
            "version": chosen["version"],
            "namespace": environment.get("POD_NAMESPACE", ""),
            "ip": environment.get("POD_IP", ""),
            "node": environment.get("NODE_NAME", ""),
        }
        self.poll, self.acts = select.epoll(), {}
        self.timers, self.serial = [], 0
        for port in ports(chosen["http"]):
            self._listen(port, Http)
        for port in ports(chosen["tcp"]):
            self._listen(port, Lines)
        for port in ports(chosen["udp"]):
            self._serve_datagrams(port)

    def line(self, client):
        known = self.identity
        place = f"namespace={known['namespace']} ip={known['ip']} node={known['node']}"
        return f"{known['pod']} {known['version']} {place} client={client}\n"

    @property
    def is_ready(self):
        return os.path.exists(self.chosen["ready_file"]) if self.chosen["ready_file"] else self.ready

    def run(self):
        wake, notify = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(notify)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        self.watch(wake, lambda _: (os.read(wake, 64), self._drain()))
        while True:
            timeout = max(self.timers[0][0] - time.monotonic(), 0) if self.timers else -1
            for descriptor, events in self.poll.poll(timeout):
                act = self.acts.get(descriptor)
                if act:
                    act(events)
            while self.timers and self.timers[0][0] <= time.monotonic():
                heapq.heappop(self.timers)[2]()

    def later(self, seconds, act):
        self.serial += 1
        heapq.heappush(self.timers, (time.monotonic() + seconds, self.serial, act))

    def watch(self, descriptor, act, events=select.EPOLLIN):
        self.acts[descriptor] = act
        self.poll.register(descriptor, events)

    def forget(self, descriptor):
        if self.acts.pop(descriptor, None):
            self.poll.unregister(descriptor)

    def _drain(self):
        if not self.draining:
            self.draining = True
            say(f"draining for {self.chosen['drain']}s")
            self.later(float(self.chosen["drain"]), lambda: sys.exit(0))

    def _listen(self, port, protocol):
        listener = bound(socket.SOCK_STREAM, port)
        listener.listen(1024)
        say(f"listening on {port}/{protocol.__name__.lower()}")

        def accept(_):
            for _ in range(64):
                try:
                    connection, address = listener.accept()
                except BlockingIOError:
                    return
                except OSError as error:
                    say(f"accept: {error}")
                    return
                connection.setblocking(False)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                protocol(self, connection, readable(address))

        self.watch(listener.fileno(), accept)

    def _serve_datagrams(self, port):
        datagrams = bound(socket.SOCK_DGRAM, port)
        say(f"listening on {port}/udp")

        def receive(_):
            for _ in range(64):
                try:
                    data, extra, _, client = datagrams.recvmsg(65536, 128)
                except BlockingIOError:
                    return
                # The answer leaves from the address that was asked, on a node with many addresses too (RFC 1122, 4.1.3.5).
                source = [
                    (level, kind, content[:16] + bytes(4)) for level, kind, content in extra if kind == socket.IPV6_PKTINFO
                ]
                try:
                    datagrams.sendmsg([self.line(readable(client)).encode() + data], source, 0, client)
                except OSError as error:
                    say(f"udp: {error}")

        self.watch(datagrams.fileno(), receive)


class Stream:
    """A TCP connection: bytes in, bytes out, closed when told and all is sent."""

    def __init__(self, echo, connection, client):
        self.echo, self.connection, self.client = echo, connection, client
        self.input, self.output, self.closing = b"", b"", False
        echo.watch(connection.fileno(), self.act)

    def act(self, events):
        try:
            if events & select.EPOLLOUT:
                self.flush()
            if events & ~select.EPOLLOUT and self.connection.fileno() >= 0:
                data = self.connection.recv(65536)
                if not data:
                    return self.close()
                self.input += data
                self.parse()
        except BlockingIOError:
            pass
        except OSError:
            self.close()

    def send(self, data, *, last=False):
        self.output += data
        self.closing = self.closing or last
        self.flush()

    def flush(self):
        if self.connection.fileno() < 0:
            return None
        try:
            while self.output:
                self.output = self.output[self.connection.send(self.output) :]
        except BlockingIOError:
            return self.echo.poll.modify(self.connection.fileno(), select.EPOLLIN | select.EPOLLOUT)
        except OSError:
            return self.close()
        if self.closing:
            return self.close()
        return self.echo.poll.modify(self.connection.fileno(), select.EPOLLIN)

    def close(self):
        if self.connection.fileno() >= 0:
            self.echo.forget(self.connection.fileno())
            self.connection.close()


class Lines(Stream):
    def parse(self):
        while b"\n" in self.input:
            line, self.input = self.input.split(b"\n", 1)
            self.send(self.echo.line(self.client).encode() + line + b"\n")
        if len(self.input) > _MAX_HEAD:
            self.close()


class Http(Stream):
    """HTTP/1.1 with keep-alive and pipelining (RFC 9112); one request at a time."""

    busy = False

    def parse(self):
        while not self.busy and b"\r\n\r\n" in self.input:
            head, rest = self.input.split(b"\r\n\r\n", 1)
            lines = head.decode("latin-1").split("\r\n")
            headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
            parts = lines[0].split(" ")
            if len(parts) != 3 or not headers.get("content-length", "0").isdecimal():
                return self.answer(400, "bad request\n", last=True)
            if "transfer-encoding" in headers:
                return self.answer(411, "send a Content-Length\n", last=True)
            length = int(headers.get("content-length", "0"))
            if length > _MAX_BODY:
                return self.answer(413, "too large\n", last=True)
            if headers.get("expect") == "100-continue" and len(rest) < length:
                self.connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            if len(rest) < length:
                return None
            self.input = rest[length:]
            closes = headers.get("connection", "").lower()
            self.last = closes == "close" or (parts[2] == "HTTP/1.0" and closes != "keep-alive")
            self.head_only = parts[0] == "HEAD"
            self.route(parts[0], parts[1], headers, rest[:length])
        if len(self.input) > _MAX_HEAD + _MAX_BODY:
            self.close()
        return None

    def route(self, method, target, headers, body):
        path, _, query = target.partition("?")
        asked = dict(pair.partition("=")[::2] for pair in query.split("&") if pair)
        echo = self.echo
        if path in ("/ready", "/live"):
            if asked.get("state") in ("on", "off"):
                setattr(echo, path[1:], asked["state"] == "on")
                return self.answer(200, f"{path[1:]} {asked['state']}\n")
            good = echo.is_ready if path == "/ready" else echo.live
            return self.answer(200 if good else 503, f"{path[1:]} {'on' if good else 'off'}\n")
        if path == "/hostname":
            return self.answer(200, echo.identity["pod"])
        if path == "/clientip":
            return self.answer(200, self.client)
        others = ("/", "/healthz", "/hostname", "/clientip", "/slow", "/exit", "/echo")
        if path == "/json" or (echo.chosen["any"] == "on" and path not in others):
            import json

            about = {**echo.identity, "client": self.client, "method": method, "path": target, "headers": headers}
            return self.answer(200, json.dumps(about) + "\n", kind="application/json")
        if path == "/slow":
            return self.answer_later(number(asked.get("seconds"), 1.0))
        if path == "/exit":
            self.answer(200, "bye\n", last=True)
            sys.exit(int(number(asked.get("code"), 0)))
        if path == "/echo":
            return self.answer(200, body.decode("latin-1"), kind=headers.get("content-type", "text/plain"))
        return self.answer(200 if path in ("/", "/healthz") else 404, echo.line(self.client))

    def answer_later(self, seconds):
        self.busy = True

        def answer():
            self.busy = False
            self.answer(200, self.echo.line(self.client))
            if self.connection.fileno() >= 0:
                self.parse()

        self.echo.later(seconds, answer)

    def answer(self, status, text, *, kind="text/plain; charset=utf-8", last=False):
        last = last or self.last or self.echo.draining
        body = text.encode("latin-1" if kind.startswith("text/plain") else "utf-8", "replace")
        head = f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
        head += f"Connection: {'close' if last else 'keep-alive'}\r\n\r\n"
        self.send(head.encode() + (b"" if self.head_only else body), last=last)

    last = head_only = False


def ports(text):
    return [int(part) for part in text.split(",") if part and part != "0"]


def number(text, otherwise):
    try:
        return min(max(float(text), 0.0), 3600.0)
    except (TypeError, ValueError):
        return otherwise


def bound(kind, port):
    """A socket on every address of both families, or of IPv4 alone where the kernel has no IPv6."""
    try:
        made = socket.socket(socket.AF_INET6, kind)
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        everywhere = "::"
    except OSError:
        made, everywhere = socket.socket(socket.AF_INET, kind), "0.0.0.0"
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setblocking(False)
    try:
        made.bind((everywhere, port))
    except OSError as error:
        sys.exit(f"echo: port {port}: {error.strerror}")
    return made


def readable(address):
    host = address[0].removeprefix("::ffff:")
    return f"[{host}]:{address[1]}" if ":" in host else f"{host}:{address[1]}"


def say(text):
    print(text, flush=True)


if __name__ == "__main__":
    Echo(settings(sys.argv[1:], os.environ), os.environ).run()
