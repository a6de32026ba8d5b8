"""TCP ports of this machine: whether one is free, and who holds it."""

import contextlib
import os
import socket
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

LISTEN = "0A"
TABLES = ("/proc/net/tcp", "/proc/net/tcp6")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """A process that listens on an address and TCP port."""

    pid: int
    host: str
    port: int

    @property
    def loopback(self) -> bool:
        """Whether only this machine reaches it."""
        return is_loopback(self.host)


def reuse_port_socket(host: str, port: int, *, backlog: int = 2048) -> socket.socket:
    """A listening socket that all replicas of the node share."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((host, port))
        listener.listen(backlog)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


def is_free(host: str, port: int) -> bool:
    """Whether nobody listens: tried without SO_REUSEPORT, since a listener of the same user would share silently."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def holder_of(port: int) -> str:
    """`pid 123 (name)` of a process that listens on the port, or `a process of another user`."""
    wanted = {f"socket:[{inode}]" for inode, _, listening in _listening() if listening == port}
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with contextlib.suppress(OSError):
                if any(_link_of(entry) in wanted for entry in (process / "fd").iterdir()):
                    return f"pid {process.name} ({(process / 'comm').read_text().strip()})"
    return "a process of another user"


def listeners_of(pids: Iterable[int]) -> list[Listening]:
    """Every TCP address and port that these processes of this user listen on."""
    addresses = {f"socket:[{inode}]": (host, port) for inode, host, port in _listening()}
    found: set[tuple[int, str, int]] = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            links = (_link_of(entry) for entry in Path(f"/proc/{pid}/fd").iterdir())
            found |= {(pid, *addresses[link]) for link in links if link in addresses}
    return [Listening(pid=pid, host=host, port=port) for pid, host, port in sorted(found)]


def is_loopback(host: str) -> bool:
    """Whether an address, or the name `localhost`, is reached from this machine alone; other names may be anything."""
    if host == "localhost":
        return True
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback


def _listening() -> Iterator[tuple[str, str, int]]:
    """(inode, address, port) of every listening TCP socket of this network namespace."""
    for table in map(Path, TABLES):
        for fields in (line.split() for line in table.read_text().splitlines()[1:]) if table.exists() else ():
            if fields[3] == LISTEN:
                address, _, port = fields[1].rpartition(":")
                yield fields[9], _address_of(address), int(port, 16)


def _address_of(hexadecimal: str) -> str:
    """The kernel prints an address as 32-bit words in the machine's byte order."""
    words = (int(hexadecimal[start : start + 8], 16) for start in range(0, len(hexadecimal), 8))
    packed = b"".join(word.to_bytes(4, sys.byteorder) for word in words)
    return str(IPv4Address(packed) if len(packed) == 4 else IPv6Address(packed))


def _link_of(descriptor: Path) -> str:
    """What a descriptor refers to; nothing where it was closed meanwhile."""
    try:
        return os.readlink(descriptor)
    except FileNotFoundError:
        return ""
