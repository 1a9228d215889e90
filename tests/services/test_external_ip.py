"""Which addresses can be led to a node?"""

from ipaddress import ip_address

from hypothesis import example, given
from hypothesis import strategies as st

from mooring.services.external_ip import is_special

NETWORKS = ["0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "::/127", "fe80::/10", "ff00::/8"]
NEAR_THE_SPECIAL = st.sampled_from(NETWORKS).flatmap(lambda network: st.ip_addresses(network=network))


@given(st.ip_addresses() | NEAR_THE_SPECIAL)
@example(ip_address("126.255.255.255"))
@example(ip_address("128.0.0.0"))
@example(ip_address("169.253.255.255"))
@example(ip_address("169.255.0.0"))
@example(ip_address("223.255.255.255"))
@example(ip_address("240.0.0.0"))
@example(ip_address("0.0.0.1"))
def test_an_address_is_special_as_its_standards_say(address) -> None:  # type: ignore[no-untyped-def]
    expected = address.is_unspecified or address.is_loopback or address.is_link_local or address.is_multicast
    assert expected == is_special(str(address))
