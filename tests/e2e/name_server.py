"""Which names does this server know? Runs inside a pod or outside of the cluster, the standard library alone, on UDP and TCP.

Arguments: address, port, then NAME=ADDRESS for each record. A known name has no records of other types; other names do not
exist. It says "serving" once it does.
"""

import ipaddress
import socketserver
import sys
import threading

TYPES = {1: 4, 28: 6}
"""A and AAAA, and the family of each."""
NOT_THERE = 3


def answer(message, known):
    """Header, question and answers; the question is copied as it came (RFC 1035 section 4)."""
    labels, place = [], 12
    while message[place]:
        labels.append(message[place + 1 : place + 1 + message[place]].decode())
        place += 1 + message[place]
    question, kind = message[12 : place + 5], int.from_bytes(message[place + 1 : place + 3], "big")
    found = known.get(".".join(labels).lower(), None)
    records = [each.packed for each in found or () if each.version == TYPES.get(kind)]
    flags = 0x8580 | (NOT_THERE if found is None else 0)
    header = b"".join(each.to_bytes(2, "big") for each in (flags, 1, len(records), 0, 0))
    written = [b"\xc0\x0c" + message[place + 1 : place + 5] + b"\0\0\0\x05\0" + bytes([len(each)]) + each for each in records]
    return message[:2] + header + question + b"".join(written)


class Datagrams(socketserver.BaseRequestHandler):
    def handle(self):
        message, channel = self.request
        channel.sendto(answer(message, self.server.known), self.client_address)


class Streams(socketserver.StreamRequestHandler):
    def handle(self):
        while length := self.rfile.read(2):
            told = answer(self.rfile.read(int.from_bytes(length, "big")), self.server.known)
            self.wfile.write(len(told).to_bytes(2, "big") + told)


class UdpServer(socketserver.ThreadingUDPServer):
    pass


class TcpServer(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


def serve(address, port, *records):
    known = {}
    for record in records:
        name, _, text = record.partition("=")
        known.setdefault(name, []).append(ipaddress.ip_address(text))
    servers = [UdpServer((address, int(port)), Datagrams), TcpServer((address, int(port)), Streams)]
    for each in servers:
        each.known = known
        threading.Thread(target=each.serve_forever).start()
    print("serving", flush=True)


serve(*sys.argv[1:])
