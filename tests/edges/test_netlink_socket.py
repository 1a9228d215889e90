"""Does a talk with the kernel end, whatever the kernel does not say?"""

import errno

import pytest

from mooring.edges.nft import netlink
from mooring.edges.nft.netlink import NetlinkError, NetlinkSocket
from mooring.testing.netlab_topology import bare_namespace

pytestmark = pytest.mark.root


def test_an_answer_that_never_comes_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(netlink, "ANSWER_SECONDS", 1)
    with bare_namespace("talk") as namespace:
        talk = NetlinkSocket(namespace)
        try:
            with pytest.raises(NetlinkError, match="the kernel has not answered for 1 s") as raised:
                talk.codes({talk.next_sequence()})  # to a message that was not sent
            assert raised.value.code == errno.ETIMEDOUT
        finally:
            talk.close()


def test_a_transaction_on_a_closed_socket_ends() -> None:
    with bare_namespace("talk") as namespace:
        talk = NetlinkSocket(namespace)
        talk.close()
        with pytest.raises(OSError, match="Bad file descriptor"):
            talk.collect(talk.next_sequence())
