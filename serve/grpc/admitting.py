"""Whom the server answers, and when it may: peers that are trusted, and the gate that answers pass."""

import asyncio
from typing import Any
from urllib.parse import unquote

from greenserve.errors import KeyBlocked
from greenserve.serve.trust import TrustedPeers


class Gate:
    """Holds answers back while the server says goodbye.

    A client that gets an answer in that moment sends its next call into a connection that closes, and would lose it.
    State: whether answers are held; changed by the server's stop alone.
    """

    def __init__(self) -> None:
        self.held = False
        self._open = asyncio.Event()
        self._open.set()

    def __repr__(self) -> str:
        return f"<Gate {'held' if self.held else 'open'}>"

    def hold(self) -> None:
        """From now on answers wait."""
        self.held = True
        self._open.clear()

    def release(self) -> None:
        """Let them go."""
        self.held = False
        self._open.set()

    async def passed(self) -> None:
        """Returns when answers may leave."""
        await self._open.wait()


def check_peer(context: Any, trusted: TrustedPeers) -> None:
    """Raises KeyBlocked for a peer outside the trusted networks."""
    host = host_of(context.peer())
    if not trusted.holds(host):
        raise KeyBlocked(f"{host or 'this peer'} is not in server.trusted; connect through the proxy that ends TLS")


def host_of(peer: str) -> str:
    """The address in gRPC's word for a peer, `ipv4:127.0.0.1:5000` or `ipv6:[::1]:5000`; empty for other kinds."""
    kind, _, rest = unquote(peer).partition(":")
    return rest.rpartition(":")[0].strip("[]") if kind in {"ipv4", "ipv6"} else ""


def readable(context: Any) -> dict[str, str]:
    """The call's metadata without binary values."""
    return {name: value for name, value in context.invocation_metadata() if isinstance(value, str)}
