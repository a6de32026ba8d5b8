"""Commands to the driver of a running gateway, over the socket in its run folder."""

import os
import socket
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest

from greenserve.errors import DependencyMissing, GreenServeError, ReloadFailed
from greenserve.serve.control import SOCKET_FILE, ControlSocket, ask


def handled(command: Mapping[str, Any]) -> Mapping[str, Any]:
    """Says what it was given, or fails as told."""
    if command.get("command") == "fail":
        raise ReloadFailed("it does not load")
    if command.get("command") == "break":
        raise KeyError("missing")
    return {"seen": dict(command)}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder in which a driver takes commands."""
    control = ControlSocket(tmp_path, handled)
    control.start()
    yield tmp_path
    control.close()


def test_a_command_is_answered(folder: Path) -> None:
    """What the driver says comes back."""
    assert {"seen": {"command": "scale", "replicas": 3}} == ask(
        folder, {"command": "scale", "replicas": 3}, timeout_s=5.0
    )


def test_an_error_comes_back_as_itself(folder: Path) -> None:
    """Class and words, so that exit codes are right."""
    with pytest.raises(ReloadFailed, match="it does not load"):
        ask(folder, {"command": "fail"}, timeout_s=5.0)


def test_a_command_that_breaks_does_not_end_the_driver(folder: Path) -> None:
    """The next one is answered."""
    with pytest.raises(GreenServeError, match="KeyError"):
        ask(folder, {"command": "break"}, timeout_s=5.0)

    assert {"seen": {}} == ask(folder, {}, timeout_s=5.0)


@pytest.mark.parametrize("sent", [b"not json\n", b"{}"])
def test_what_is_no_command_is_refused_and_the_driver_goes_on(folder: Path, sent: bytes) -> None:
    """Neither words nor a line without an end hold it up."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(folder / SOCKET_FILE))
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        answer = orjson.loads(connection.recv(65_536))

    assert "cannot be read" in answer["message"]
    assert {"seen": {}} == ask(folder, {}, timeout_s=5.0)


def test_only_its_owner_may_command(folder: Path) -> None:
    """The socket itself is closed to others, whatever the folder is."""
    found = (folder / SOCKET_FILE).stat()

    assert (0o600, os.getuid()) == (stat.S_IMODE(found.st_mode), found.st_uid)


def test_without_a_driver_the_error_says_so(tmp_path: Path) -> None:
    """Exit code 6, as for everything that is not there."""
    with pytest.raises(DependencyMissing, match="takes no commands"):
        ask(tmp_path, {}, timeout_s=1.0)


def test_a_closed_socket_leaves_no_file(tmp_path: Path) -> None:
    """Nothing is left behind."""
    control = ControlSocket(tmp_path, handled)
    control.start()

    control.close()

    assert [] == list(tmp_path.iterdir())
