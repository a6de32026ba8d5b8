"""What the driver of a running gateway does when it is asked, and what it refuses."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from greenserve.config import Config
from greenserve.errors import ConfigInvalid, GreenServeError, InvalidRequest, ModelUnknown
from greenserve.serve.app import Wanted
from greenserve.serve.driver import Driver
from greenserve.serve.lineup import Lineup
from greenserve.serve.reload import Reloaded
from greenserve.serve.run_folder import RunState
from tests.serve.building import a_config


class Stage:
    """Keeps what it was asked for; `fault` is raised by the next change."""

    def __init__(self) -> None:
        self.wanted: list[Wanted] = []
        self.configs: list[Config] = []
        self.reloaded: list[str] = []
        self.fault: Exception | None = None

    def change(self, config: Config, wanted: Wanted) -> None:
        """Keep it."""
        self.wanted.append(wanted)
        self.configs.append(config)
        if (fault := self.fault) is not None:
            self.fault = None
            raise fault

    def reload_model(self, config: Config, name: str) -> Reloaded:
        """Keep it."""
        self.reloaded.append(name)
        return Reloaded(model=name, digest="d", replicas=2)

    def check(self, config: Config) -> None:
        """All load."""

    def variants(self, config: Config) -> Mapping[str, list[str]]:
        """One variant each."""
        return {model.name: ["fp32"] for model in config.models}

    def lineup(self) -> Lineup:
        """One variant runs, one does not."""
        return Lineup(served={"tiny": ["fp32"]}, left_out={"tiny": {"fp16": "torch is not installed"}})


class Running:
    """A driver of two gateways and a remote model of one to three replicas; `config` is what the file holds."""

    def __init__(self, manifest: Path, folder: Path) -> None:
        self._manifest, self._folder = manifest, folder
        self.config = self.configured()
        self.stage = Stage()
        self.states: list[RunState] = []
        self.driver = Driver(
            config=self.config,
            state=a_state(),
            cores=2,
            stage=self.stage,
            load=lambda: self.config,
            publish=self.states.append,
        )

    def configured(self, **changes: Any) -> Config:
        """The configuration, with other sections."""
        remote = {"placement": "remote", "replicas": {"min": 1, "max": 3}}
        models = [{"name": "tiny", "manifest": self._manifest}, {"name": "far", "manifest": self._manifest} | remote]
        return a_config(self._manifest, self._folder, **({"models": models} | changes))


def a_state() -> RunState:
    """Two gateways run."""
    return RunState(
        run_id="r",
        pid=1,
        start_ticks=1,
        started_us=1,
        http="http://127.0.0.1:1",
        grpc="127.0.0.1:2",
        replicas=2,
        config="c",
        ledger="l",
        models={},
        regions=[],
        meter={},
        meters_rejected={},
    )


@pytest.fixture
def running(tiny_manifest: Path, tmp_path: Path) -> Running:
    """A driver."""
    return Running(tiny_manifest, tmp_path)


def test_the_state_names_what_runs_and_what_is_left_out(running: Running) -> None:
    """As the gateways say it, after a start, a reload and an update."""
    running.driver.deployed()
    running.driver.handle({"command": "reload"})
    running.driver.handle({"command": "update"})

    assert {"tiny": ["fp32"]} == running.states[0].models == running.states[-1].models
    assert {"tiny": {"fp16": "torch is not installed"}} == running.states[0].left_out == running.states[-1].left_out


def test_gateways_are_scaled_and_the_state_says_so(running: Running) -> None:
    """The same generation: those that run stay."""
    running.driver.handle({"command": "scale", "replicas": 4})

    assert [Wanted(gateways=4, replicas={"far": 1}, generation=1)] == running.stage.wanted
    assert [4] == [state.replicas for state in running.states]


def test_engines_are_scaled_by_their_model(running: Running) -> None:
    """The gateways stay as they are, and what was scaled before is kept."""
    running.driver.handle({"command": "scale", "replicas": 3})
    running.driver.handle({"command": "scale", "replicas": 2, "model": "far"})

    assert Wanted(gateways=3, replicas={"far": 2}, generation=1) == running.stage.wanted[-1]


@pytest.mark.parametrize(
    ("command", "kind", "words"),
    [
        ({"replicas": 0}, InvalidRequest, "1 to 256 gateway replicas are possible, not 0"),
        ({"replicas": "3"}, InvalidRequest, "not '3'"),
        ({"replicas": 4, "model": "far"}, InvalidRequest, "1 to 3 replicas of far"),
        ({"replicas": 2, "model": "tiny"}, InvalidRequest, "placement: inline"),
        ({"replicas": 2, "model": "none"}, ModelUnknown, "there are tiny, far"),
    ],
)
def test_numbers_that_are_not_possible_are_refused(
    running: Running, command: dict[str, object], kind: type[GreenServeError], words: str
) -> None:
    """The message says what is."""
    with pytest.raises(kind, match=words):
        running.driver.handle({"command": "scale"} | command)

    assert [] == running.stage.wanted


def test_an_update_takes_the_file_as_it_is_and_replaces_everybody(running: Running) -> None:
    """A new generation, with the numbers of the file."""
    running.config = running.configured(server={"replicas": 3})

    running.driver.handle({"command": "update"})

    assert [Wanted(gateways=3, replicas={"far": 1}, generation=2)] == running.stage.wanted
    assert [running.config] == running.stage.configs
    assert {"tiny": ["fp32"]} == running.states[-1].models


def test_an_update_that_fails_goes_back_to_what_ran(running: Running) -> None:
    """The same generation and configuration as before, so that nothing that runs is replaced."""
    before = running.config
    running.config = running.configured(server={"replicas": 3})
    running.stage.fault = GreenServeError("it does not start")

    with pytest.raises(GreenServeError, match="it does not start"):
        running.driver.handle({"command": "update"})

    assert Wanted(gateways=2, replicas={"far": 1}, generation=1) == running.stage.wanted[-1]
    assert before == running.stage.configs[-1]


def test_what_only_a_restart_changes_is_named_and_nothing_is_changed(running: Running) -> None:
    """Ports, ledger, meters and the cluster belong to the run."""
    running.config = running.configured(
        server={"http": {"port": 1234}}, ledger={"url": "sqlite:///elsewhere.db"}, ray={"address": "head:6379"}
    )

    with pytest.raises(ConfigInvalid, match=r"server\.http, ledger, ray cannot change"):
        running.driver.handle({"command": "update"})

    assert [] == running.stage.wanted


def test_a_reload_without_a_name_is_of_all(running: Running) -> None:
    """As SIGHUP asks for."""
    running.driver.handle({"command": "reload"})
    running.driver.handle({"command": "reload", "model": "far"})

    assert ["tiny", "far", "far"] == running.stage.reloaded


def test_an_unknown_command_is_refused(running: Running) -> None:
    """With those that there are."""
    with pytest.raises(InvalidRequest, match="scale, update and reload"):
        running.driver.handle({"command": "fly"})
