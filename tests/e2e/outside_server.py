"""Who asks this server? Runs outside of the cluster, the standard library alone, by HTTP and in datagrams.

Arguments: address, port. GET /clientip and every datagram are answered with the client, GET /hostname with "outside". It says
"serving" once it does, and ends with its standard input.
"""

import http.server
import socket
import socketserver
import sys
import threading


class Questions(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        host, port, *_ = self.client_address
        client = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        told = (client if self.path == "/clientip" else "outside").encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(told)))
        self.end_headers()
        self.wfile.write(told)

    def log_message(self, *words):
        pass


class Datagrams(socketserver.BaseRequestHandler):
    def handle(self):
        _, channel = self.request
        channel.sendto(f"outside {self.client_address[0]}".encode(), self.client_address)


def serve(address, port):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    for kind, handler in ((http.server.ThreadingHTTPServer, Questions), (socketserver.ThreadingUDPServer, Datagrams)):
        kind.address_family, kind.daemon_threads = family, True
        threading.Thread(target=kind((address, int(port)), handler).serve_forever, daemon=True).start()
    print("serving", flush=True)
    sys.stdin.read()


serve(*sys.argv[1:])
