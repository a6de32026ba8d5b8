"""Whose word counts: peers in `server.trusted` may say for whom they speak, everybody else speaks for himself."""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from greenserve.errors import ConfigInvalid

POWERLESS = frozenset(
    {
        b"x-request-timeout-seconds",
        b"x-request-disconnect-disabled",
        b"serve_multiplexed_model_id",
        b"x-http-method-override",
        b"x-method-override",
        b"x-original-url",
        b"x-rewrite-url",
    }
)
"""Other servers obey these. Here they reach nobody, whoever sends them."""

VOUCHED = frozenset(
    {
        b"forwarded",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-port",
        b"x-forwarded-prefix",
        b"x-forwarded-proto",
        b"x-forwarded-server",
        b"x-real-ip",
        b"greenserve-hop",
    }
)
"""These are believed from trusted peers and dropped from all others."""


class TrustedPeers:
    """The networks of `server.trusted`; immutable."""

    def __init__(self, networks: Iterable[str]) -> None:
        """Take networks as CIDR text; raises ConfigInvalid naming the first that is none."""
        self._networks = tuple(_network(text) for text in networks)

    def __repr__(self) -> str:
        return f"<TrustedPeers {', '.join(map(str, self._networks)) or 'nobody'}>"

    def holds(self, host: str | None) -> bool:
        """Whether a peer's address lies in one of the networks; an unknown address does not."""
        address = _address(host)
        return address is not None and any(address in network for network in self._networks)

    def client_of(self, peer: str, forwarded_for: str) -> str:
        """The client behind a trusted peer: the last address of `X-Forwarded-For` that no trusted proxy has.

        What stands left of it was written by that client and says nothing. Anything unreadable ends the search.
        """
        client = peer
        for part in reversed(forwarded_for.split(",")):
            text = part.strip()
            if _address(text) is None:
                return client
            client = text
            if not self.holds(text):
                return client
        return client


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text)
    except ValueError as error:
        raise ConfigInvalid(
            f"server.trusted: {text!r} is no network ({error}); write a CIDR as 10.0.0.0/8, one peer as 10.0.0.7/32"
        ) from None


def _address(text: str | None) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address((text or "").partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
