"""Is every request of a web client answered? Runs outside of the cluster, the standard library alone.

Arguments are ADDRESS HOST pairs. For each, one client asks GET /hostname again and again, 20 times on a connection, then on a
new one; a connection that the server announces to close is not used again. Ends with its input, and writes one JSON line:
{"answered": how many by the client that got fewest, "failed": [words...]}
"""

import json
import socket
import sys
import threading

PAUSE, PATIENCE, ON_ONE = 0.004, 30.0, 20


class Client:
    def __init__(self, address, host):
        self.address = address
        self.request = f"GET /hostname HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
        self.answered, self.failed = 0, []

    def run(self, over):
        while not over.is_set():
            try:
                with socket.create_connection((self.address, 80), PATIENCE) as connection, connection.makefile("rb") as answers:
                    for _ in range(ON_ONE):
                        connection.sendall(self.request)
                        if not self.answer(answers) or over.wait(PAUSE):
                            break
            except (OSError, ValueError, IndexError) as error:
                self.failed.append(f"{self.address}: {error!r}")

    def answer(self, answers):
        """True if the connection goes on."""
        status = int(answers.readline().split()[1])
        heads = dict(line.decode().lower().split(":", 1) for line in iter(answers.readline, b"\r\n") if line)
        body = answers.read(int(heads["content-length"]))
        if status == 200 and body:
            self.answered += 1
        else:
            self.failed.append(f"{self.address}: {status}")
        return "close" not in heads.get("connection", "")


over = threading.Event()
clients = [Client(*pair) for pair in zip(sys.argv[1::2], sys.argv[2::2], strict=True)]
threads = [threading.Thread(target=client.run, args=(over,)) for client in clients]
for thread in threads:
    thread.start()
print("asking", flush=True)
sys.stdin.read()
over.set()
for thread in threads:
    thread.join()
failed = [each for client in clients for each in client.failed]
print(json.dumps({"answered": min(client.answered for client in clients), "failed": failed}), flush=True)
