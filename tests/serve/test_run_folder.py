"""The run folder: one gateway per user and port, private, and clean afterwards."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROGRAM = """
import json, sys
from greenserve.errors import ConfigInvalid, DependencyMissing
from greenserve.serve.run_folder import RunFolder, RunState
from greenserve.carbon.ledger.spool import start_ticks_of
import os
said, folder = {}, RunFolder(port=8080)
said["path"] = str(folder.path)
try:
    folder.read()
except DependencyMissing as error:
    said["nothing"] = str(error)
said["before"] = repr(folder)
folder.acquire()
said["mode"] = oct(folder.path.stat().st_mode & 0o777)
said["held"] = repr(folder)
try:
    RunFolder(port=8080).acquire()
except ConfigInvalid as error:
    said["second"] = str(error)
RunFolder(port=8081).acquire()
state = RunState(run_id="r", pid=os.getpid(), start_ticks=start_ticks_of(os.getpid()) or 0, started_us=1,
                 http="http://h:1", grpc="h:2", replicas=2, config="c", ledger="l", models={"m": ["v"]}, regions=[],
                 meter={"tier": "modelled"}, meters_rejected={"rapl": "no"})
folder.write(state)
said["same"] = RunFolder(port=8080).read() == state
said["alive"] = RunFolder(port=8080).read().alive
(folder.path / "ray.token").write_text("secret")
(folder.path / "ray" / "session").mkdir(parents=True)
folder.release()
said["left"] = sorted(entry.name for entry in folder.path.iterdir())
RunFolder(port=8080).acquire()
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a process says that goes through a folder's life, with a runtime folder of its own."""
    runtime = tmp_path_factory.mktemp("run")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=dict(os.environ) | {"XDG_RUNTIME_DIR": str(runtime)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found | {"runtime": str(runtime)}


def test_the_folder_is_private_and_named_by_user_and_port(said: dict[str, Any]) -> None:
    """Nobody else may read the token in it."""
    assert f"{said['runtime']}/greenserve-{os.getuid()}-8080" == said["path"]
    assert "0o700" == said["mode"]


def test_one_gateway_holds_it(said: dict[str, Any]) -> None:
    """The second one for the same port is told what to do; another port is another folder."""
    assert "greenserve stop" in said["second"]
    assert (True, True) == (said["before"].endswith("not held>"), said["held"].endswith(" held>"))


def test_the_state_is_read_back(said: dict[str, Any]) -> None:
    """The same record, by a process that knows only the port; where none is written the message says how to start."""
    assert (True, True) == (said["same"], said["alive"])
    assert "greenserve serve" in said["nothing"]


def test_only_the_lock_is_left(said: dict[str, Any]) -> None:
    """State, token and Ray's session are removed; the next one can take the lock."""
    assert ["lock"] == said["left"]


def test_the_tests_own_folder_is_not_the_users(said: dict[str, Any], tmp_path: Path) -> None:
    """Otherwise this test could stop somebody's gateway."""
    assert Path(said["path"]).parent.name.startswith("run")
