"""How a command reaches the driver of a running gateway: one JSON line each way over a UNIX socket in its run folder.

The folder is its owner's alone, and so is the socket: whoever may connect may command.
"""

import contextlib
import logging
import os
import socket
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson

from greenserve import errors
from greenserve.errors import DependencyMissing, GreenServeError

log = logging.getLogger("greenserve.control")
SOCKET_FILE = "control"
MAX_BYTES = 64 * 1024
READ_S = 5.0
Command = Mapping[str, Any]
Handler = Callable[[Command], Mapping[str, Any]]


class ControlSocket:
    """Takes commands one after the other in a thread of its own. State: the socket."""

    def __init__(self, folder: Path, handle: Handler) -> None:
        self._path = folder / SOCKET_FILE
        self._handle = handle
        self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._thread = threading.Thread(target=self._run, name="control", daemon=True)

    def __repr__(self) -> str:
        return f"<ControlSocket {self._path}>"

    def start(self) -> None:
        """Take commands from here on."""
        self._path.unlink(missing_ok=True)
        before = os.umask(0o177)
        try:
            self._listening.bind(str(self._path))
        finally:
            os.umask(before)
        self._listening.listen()
        self._thread.start()

    def close(self) -> None:
        """Take none any more; what is under way ends by itself."""
        self._path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            with connection:
                try:
                    self._answer(connection)
                except OSError as error:
                    log.warning("a command's caller went away: %s", error)

    def _answer(self, connection: socket.socket) -> None:
        connection.settimeout(READ_S)
        try:
            command = orjson.loads(_line(connection))
        except (OSError, ValueError) as error:
            answer: Mapping[str, Any] = {"error": "InvalidRequest", "message": f"the command cannot be read: {error}"}
        else:
            connection.settimeout(None)
            answer = self._outcome(command)
        connection.sendall(orjson.dumps(answer) + b"\n")

    def _outcome(self, command: Command) -> Mapping[str, Any]:
        try:
            return {"result": self._handle(command)}
        except GreenServeError as error:
            return {"error": type(error).__name__, "message": str(error)}
        except Exception as error:  # the thread that takes commands outlives any of them
            log.exception("a command failed")
            return {"error": "GreenServeError", "message": f"{type(error).__name__}: {error}"}


def ask(folder: Path, command: Command, *, timeout_s: float) -> Mapping[str, Any]:
    """Send a command to the driver and wait for what it says; raises its error, DependencyMissing without a driver."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout_s)
        try:
            connection.connect(str(folder / SOCKET_FILE))
            connection.sendall(orjson.dumps(command) + b"\n")
            answer = orjson.loads(_line(connection))
        except TimeoutError:
            raise GreenServeError(
                f"the gateway is not done after {timeout_s:g} s and goes on; `greenserve status` shows how far it is"
            ) from None
        except (OSError, ValueError) as error:
            raise DependencyMissing(
                f"the gateway of {folder} takes no commands ({error}); is it starting or stopping? "
                "`greenserve status` says"
            ) from None
    if "error" in answer:
        kind = getattr(errors, str(answer["error"]), GreenServeError)
        raise kind(answer["message"])
    result: Mapping[str, Any] = answer["result"]
    return result


def _line(connection: socket.socket) -> bytes:
    """What comes until the end of the line; raises ValueError for none or too long a one."""
    line = b""
    while not line.endswith(b"\n"):
        part = connection.recv(4096)
        if not part or len(line) > MAX_BYTES:
            raise ValueError(f"no whole line came, {len(line)} bytes did")
        line += part
    return line
