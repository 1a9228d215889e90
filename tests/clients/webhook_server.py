"""An admission webhook as people write one, in Python without a library: run on this machine by a test, and in a pod.

python webhook_server.py PORT CERTIFICATE KEY; without a PORT of its own (0) it says which it has.
"""

import base64
import json
import ssl
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Webhook(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        request = review["request"]
        response = {"uid": request["uid"], "allowed": True}
        data = request["object"].get("data") or {}
        if self.path.startswith("/mutate"):
            patch = [
                {"op": "add", "path": "/data/seen", "value": f"{request['operation']} by {request['userInfo']['username']}"}
            ]
            response |= {"patchType": "JSONPatch", "patch": base64.b64encode(json.dumps(patch).encode()).decode()}
        elif data.get("forbidden"):
            response |= {"allowed": False, "status": {"code": 403, "message": f"{request['name']} is not wanted"}}
        else:
            response["warnings"] = [f"{request['name']} was looked at"]
        body = json.dumps({"apiVersion": review["apiVersion"], "kind": review["kind"], "response": response}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return None


def main(port: str, certificate: str, key: str) -> None:
    server = ThreadingHTTPServer(("127.0.0.1" if port == "0" else "", int(port)), Webhook)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
