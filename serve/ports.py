"""TCP ports of this machine: whether one is free, and who holds it."""

import contextlib
import os
import socket
from pathlib import Path

LISTEN = "0A"


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
    inodes = {
        fields[9]
        for table in ("/proc/net/tcp", "/proc/net/tcp6")
        if Path(table).exists()
        for fields in (line.split() for line in Path(table).read_text().splitlines()[1:])
        if fields[3] == LISTEN and int(fields[1].rpartition(":")[2], 16) == port
    }
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with contextlib.suppress(OSError):
                if any(_link_of(entry) in wanted for entry in (process / "fd").iterdir()):
                    return f"pid {process.name} ({(process / 'comm').read_text().strip()})"
    return "a process of another user"


def _link_of(descriptor: Path) -> str:
    """What a descriptor refers to; nothing where it was closed meanwhile."""
    try:
        return os.readlink(descriptor)
    except FileNotFoundError:
        return ""
