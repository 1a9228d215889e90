"""The outside's connections stay with the node they began at, in the real kernel: two nodes that hold the same address."""

import secrets
import selectors
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from mooring.edges.netlink import flows, namespaces
from mooring.edges.netlink.topology import Topology, ensure, remove, topology

NODES = ("node-1", "node-2")
PORT = 8080
ADDRESSES = {4: "172.30.1.1", 6: "fd00:172:30:1::1"}
PATIENCE = 60.0

pytestmark = pytest.mark.root


class Lab:
    """Two nodes hold an address of each family, and answer there with their names."""

    def __init__(self, made: Topology, stack: ExitStack) -> None:
        self.made, self._stack = made, stack
        self._selector = stack.enter_context(selectors.DefaultSelector())
        stop, stopped = socket.socketpair()
        self._selector.register(stopped, selectors.EVENT_READ, "")
        for name in NODES:
            for address in ADDRESSES.values():
                shy = ["nodad"] if ":" in address else []
                _ip(made.namespace(name), "address", "add", address, "dev", "lo", *shy)
                for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                    self._selector.register(self._listen(name, address, kind), selectors.EVENT_READ, name)
        thread = threading.Thread(target=self._serve)
        thread.start()
        stack.callback(thread.join)
        stack.callback(stop.close)

    def _listen(self, name: str, address: str, kind: int) -> socket.socket:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        opened = namespaces.open_socket(self.made.namespace(name), family, kind)
        opened.setblocking(False)
        opened.bind((address, PORT))
        if kind == socket.SOCK_STREAM:
            opened.listen(100)
        return opened

    def _serve(self) -> None:
        """Until the stack closes, each socket in turn: accepts, or answers with the node's name."""
        serving = True
        while serving:
            for key, _ in self._selector.select():
                here, name = key.fileobj, key.data
                assert isinstance(here, socket.socket)
                serving = serving and bool(name)
                try:
                    self._answer(here, name)
                except BlockingIOError:
                    continue
                except OSError:
                    self._selector.unregister(here)
                    here.close()
        for key in list(self._selector.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()

    def _answer(self, here: socket.socket, name: str) -> None:
        """Raises OSError when the socket is of no use any more."""
        if here.type == socket.SOCK_DGRAM:
            here.sendto(name.encode(), here.recvfrom(64)[1])
        elif here.family != socket.AF_UNIX and here.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            accepted, _ = here.accept()
            accepted.setblocking(False)
            self._selector.register(accepted, selectors.EVENT_READ, name)
        elif here.recv(64):
            here.sendall(name.encode())
        else:
            raise ConnectionResetError

    def gateway(self, node: str, version: int) -> str:
        place = next(each for each in self.made.nodes if each.name == node)
        return next(str(each.ip) for each in place.addresses if each.version == version)

    def route(self, version: int, *nodes: str) -> None:
        """Leads the address to these nodes; to none without any."""
        hops = [word for node in nodes for word in ("nexthop", "via", self.gateway(node, version))]
        _ip(self.made.namespace("outside"), "route", "replace" if nodes else "delete", ADDRESSES[version], *hops)

    def open(self, version: int, kind: int = socket.SOCK_STREAM) -> socket.socket:
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        opened = self._stack.enter_context(namespaces.open_socket(self.made.namespace("outside"), family, kind))
        opened.settimeout(PATIENCE)
        opened.connect((ADDRESSES[version], PORT))
        return opened


def _ip(namespace: str, *words: str) -> None:
    subprocess.run(["ip", "-n", namespace, *words], check=True)


def ask(opened: socket.socket) -> str:
    opened.sendall(b"who?")
    return opened.recv(64).decode()


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    made = topology(f"t{secrets.token_hex(4)}", NODES, ["172.30.0.0/24", "fd00:172:30::/64"], ranges=[], dns=())
    try:
        ensure(made)
        with ExitStack() as stack:
            yield Lab(made, stack)
    finally:
        remove(made.cluster)


@pytest.mark.parametrize("version", [4, 6], ids=["IPv4", "IPv6"])
def test_connections_outlive_every_change_of_their_route_and_new_ones_follow_it(lab: Lab, version: int) -> None:
    lab.route(version, *NODES)
    opened = [lab.open(version) for _ in range(40)]
    began = [ask(each) for each in opened]
    assert set(NODES) == set(began)
    for ways in (NODES[:1], NODES[1:], (), NODES):
        lab.route(version, *ways)
        assert began == [ask(each) for each in opened]
        if ways:
            assert set(ways) == {ask(lab.open(version)) for _ in range(20)}
        else:
            with pytest.raises(OSError, match=r"No route to host|Network is unreachable"):
                lab.open(version)


@pytest.mark.parametrize("version", [4, 6], ids=["IPv4", "IPv6"])
def test_datagrams_go_where_the_route_says_now(lab: Lab, version: int) -> None:
    lab.route(version, NODES[0])
    opened = lab.open(version, socket.SOCK_DGRAM)
    for node in (NODES[0], NODES[1], NODES[0]):
        lab.route(version, node)
        assert node == ask(opened)


def test_making_it_again_keeps_connections_where_they_are(lab: Lab) -> None:
    lab.route(4, *NODES)
    opened = [lab.open(4) for _ in range(20)]
    began = [ask(each) for each in opened]
    ensure(lab.made)
    lab.route(4, NODES[0])
    assert began == [ask(each) for each in opened]


def test_what_the_kernel_refuses_is_told(lab: Lab) -> None:
    with pytest.raises(flows.FlowError, match=r"`ip -n mrg-\S+ -4 -batch -` failed: .*(unreachable|invalid gateway)"):
        flows.ensure(lab.made.namespace("outside"), ["203.0.113.1"])
