"""Is everything answered, all the time? Runs inside a pod, on a node or outside, the standard library alone.

Ten times a second it sends a request on each connection it keeps, which must be answered by the pod that answered the first
one, and one by a new connection at each door it is told to open. A JSON line in, one out:

{"keep": [[host, port]...], "open": [[host, port]...]}: connections to keep beside those there are; the doors to open from
    now on. -> {"asked": how often, "failed": [words...]} since the last such line
{"begin": path}: sends one more request on each kept connection, all but its last octet; they are asked nothing else any more.
    -> {"begun": how many}
{"waiting": true}: how many of these are not answered yet. -> {"waiting": how many}
{"finish": true}: sends the last octets and waits for the answers. -> {"answers": [[the pod that answered first, answer]...]}
"""

import http.client
import json
import select
import sys
import threading

PERIOD, PATIENCE = 0.1, 30.0


def ask(connection, path="/hostname"):
    connection.request("GET", path)
    return connection.getresponse().read().decode()


def opened(host, port):
    made = http.client.HTTPConnection(host, port, timeout=PATIENCE)
    made.connect()
    made.auto_open = 0
    return made


class Steady:
    def __init__(self):
        self.turn = threading.Lock()
        self.kept, self.open, self.busy = [], [], []
        self.asked, self.failed = 0, []
        self.over = threading.Event()

    def run(self):
        while not self.over.wait(PERIOD):
            with self.turn:
                for door, connection, pod in self.kept:
                    self.note(f"kept at {door}", lambda connection=connection: ask(connection), pod)
                for door in self.open:
                    self.note(f"new at {door}", lambda door=door: self.anew(*door))

    def anew(self, host, port):
        made = opened(host, port)
        try:
            return ask(made)
        finally:
            made.close()

    def note(self, words, question, pod=None):
        self.asked += 1
        try:
            answer = question()
            if pod not in (None, answer):
                self.failed.append(f"{words}: {answer} in the place of {pod}")
        except (OSError, http.client.HTTPException) as error:
            self.failed.append(f"{words}: {error!r}")

    def told(self, order):
        with self.turn:
            if "begin" in order:
                self.busy, self.kept = self.kept, []
                for _, connection, _ in self.busy:
                    connection.putrequest("POST", order["begin"])
                    connection.putheader("Content-Length", "1")
                    connection.endheaders()
                return {"begun": len(self.busy)}
            if "waiting" in order:
                sockets = [connection.sock for _, connection, _ in self.busy]
                return {"waiting": len(sockets) - len(select.select(sockets, [], [], 0)[0])}
            if "finish" in order:
                return {"answers": [[pod, self.answer(connection)] for _, connection, pod in self.busy]}
            for door in order["keep"]:
                made = opened(*door)
                self.kept.append((door, made, ask(made)))
            self.open = order["open"]
            found = {"asked": self.asked, "failed": self.failed}
            self.asked, self.failed = 0, []
            return found

    def answer(self, connection):
        try:
            connection.send(b".")
            return connection.getresponse().read().decode()
        except (OSError, http.client.HTTPException) as error:
            return repr(error)


steady = Steady()
threading.Thread(target=steady.run, daemon=True).start()
for line in sys.stdin:
    try:
        print(json.dumps(steady.told(json.loads(line))), flush=True)
    except OSError as error:
        print(json.dumps({"asked": 0, "failed": [repr(error)]}), flush=True)
steady.over.set()
