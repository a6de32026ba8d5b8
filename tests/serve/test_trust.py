"""Whose word counts."""

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.errors import ConfigInvalid
from greenserve.serve.trust import TrustedPeers

PROXIES = TrustedPeers(["10.0.0.0/8", "fd00::/8"])
addresses = st.ip_addresses(v=4).filter(lambda address: not PROXIES.holds(str(address))).map(str)
proxies = st.integers(0, 2**24 - 1).map(lambda low: str(IPv4Address(int(IPv4Address("10.0.0.0")) + low)))


def test_peers_are_trusted_by_network() -> None:
    """IPv6 forms of IPv4 addresses too; nobody is without one."""
    hosts = ("10.1.2.3", "::ffff:10.1.2.3", "fd00::1", "11.0.0.1", "fe80::1%eth0", "unix", None)

    assert [True, True, True, False, False, False, False] == [PROXIES.holds(host) for host in hosts]
    assert not TrustedPeers([]).holds("127.0.0.1")


@given(addresses, st.lists(addresses, max_size=3), st.lists(proxies, max_size=3), proxies)
def test_the_client_is_the_last_address_that_no_proxy_has(
    client: str, claimed: list[str], between: list[str], peer: str
) -> None:
    """What the client itself wrote stands left of its address and changes nothing."""
    assert client == PROXIES.client_of(peer, ", ".join([*claimed, client, *between]))


def test_an_unreadable_chain_ends_the_search() -> None:
    """The last address that a trusted proxy vouched for is as far as it goes."""
    assert "10.0.0.1" == PROXIES.client_of("10.0.0.1", "")
    assert "10.0.0.2" == PROXIES.client_of("10.0.0.1", "1.2.3.4, unknown, 10.0.0.2")
    assert "10.0.0.1" == PROXIES.client_of("10.0.0.1", "1.2.3.4, <script>")


def test_what_is_no_network_is_named() -> None:
    """With the spelling that is needed."""
    with pytest.raises(ConfigInvalid, match=r"server\.trusted: '10\.0\.0\.1/8' is no network .*10\.0\.0\.0/8"):
        TrustedPeers(["10.0.0.1/8"])
