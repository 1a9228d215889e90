"""What do workers have to know of the chain's settings?"""

import pytest

from mooring.app.roles.node_names import table_options
from mooring.dns.settings import DnsSettings, HostsSetting, LogClass, RateLimitSetting
from mooring.edges.dns.publisher import TableOptions

LOOPBACK = ((4, 8, bytes((127, 0, 0, 0))), (6, 128, bytes(15) + b"\1"))
PODS = (4, 16, bytes((10, 244, 0, 0)))
PLAIN = TableOptions((*LOOPBACK, PODS), recursion=True)


def limited(rate: int, burst: int) -> TableOptions:
    return TableOptions((*LOOPBACK, PODS), rate, burst, recursion=True)


CASES = {
    "nothing is set: the cluster may ask": (DnsSettings(), PLAIN),
    "who may ask is set": (
        DnsSettings(access=("192.0.2.0/24",)),
        TableOptions(((4, 24, bytes((192, 0, 2, 0))),), recursion=True),
    ),
    "each worker gets the rate, for one socket meets one worker": (DnsSettings(rate_limit=RateLimitSetting(5)), limited(5, 25)),
    "a burst may come to one worker": (DnsSettings(rate_limit=RateLimitSetting(100, 7)), limited(100, 7)),
    "the search path is the agent's": (
        DnsSettings(autopath=True),
        TableOptions((*LOOPBACK, PODS), recursion=True, autopath=True),
    ),
    "the query log sees all": (
        DnsSettings(log=(LogClass.ALL,)),
        TableOptions((*LOOPBACK, PODS), recursion=True, all_to_agent=True),
    ),
    "hosts come before the cluster": (
        DnsSettings(hosts=HostsSetting(entries=("192.0.2.1 a.svc.cluster.local",))),
        TableOptions((*LOOPBACK, PODS), recursion=True, all_to_agent=True),
    ),
}


@pytest.mark.parametrize(("settings", "expected"), CASES.values(), ids=CASES)
def test_what_workers_know(settings: DnsSettings, expected: TableOptions) -> None:
    assert expected == table_options(settings, ("10.244.0.0/16",))


def test_the_nodes_own_addresses_may_always_ask() -> None:
    told = table_options(DnsSettings(access=("192.0.2.0/24",)), ("10.244.0.0/16",), ("172.30.0.11", "fd00:172:30::11"))
    assert ((4, 24, bytes((192, 0, 2, 0))), (4, 32, bytes((172, 30, 0, 11)))) == tuple(told.prefixes[:2])
    assert (6, 128) == told.prefixes[2][:2]
