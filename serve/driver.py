"""What the driver of a running gateway can be asked: other numbers of replicas, the present configuration, a reload.

State: the configuration and the numbers in force, changed by one command at a time.
"""

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any, Protocol

from greenserve.config import Config
from greenserve.errors import ConfigInvalid, GreenServeError, InvalidRequest, ModelUnknown
from greenserve.sections import Replicas
from greenserve.serve.app import Wanted, wanted_at_start
from greenserve.serve.control import Command
from greenserve.serve.lineup import Lineup
from greenserve.serve.reload import Reloaded
from greenserve.serve.run_folder import RunState

log = logging.getLogger("greenserve.driver")
MOST_GATEWAYS = 256


class Stage(Protocol):
    """Where the replicas run."""

    def change(self, config: Config, wanted: Wanted) -> None:
        """Bring what runs to what is wanted; blocks, raises what prevents it."""

    def reload_model(self, config: Config, name: str) -> Reloaded:
        """Read a manifest again everywhere; raises ReloadFailed."""

    def check(self, config: Config) -> None:
        """Raise what would prevent these models from being served."""

    def variants(self, config: Config) -> Mapping[str, list[str]]:
        """The variants of each model, after its files were compared with their digests; raises ManifestInvalid."""

    def lineup(self) -> Lineup:
        """What the gateways that run say that they serve."""


class Driver:
    """Carries out commands on a running gateway, one at a time."""

    def __init__(
        self,
        *,
        config: Config,
        state: RunState,
        cores: int,
        stage: Stage,
        load: Callable[[], Config],
        publish: Callable[[RunState], None],
    ) -> None:
        """`load` reads the configuration again; `publish` is told the state after each change."""
        self._config = config
        self._state = state
        self._cores = cores
        self._stage = stage
        self._load = load
        self._publish = publish
        self._wanted = wanted_at_start(config, cores)
        self._one = threading.Lock()

    def __repr__(self) -> str:
        return f"<Driver {self._wanted}>"

    def deployed(self) -> RunState:
        """Publish what is served from now on, as the gateways themselves say it."""
        lineup = self._stage.lineup()
        left_out = {model: dict(reasons) for model, reasons in lineup.left_out.items()}
        self._state = replace(self._state, models=dict(lineup.served), left_out=left_out)
        self._publish(self._state)
        return self._state

    def handle(self, command: Command) -> Mapping[str, Any]:
        """Carry out a command: `scale` (replicas, model), `update`, `reload` (model, or all); its result."""
        name = command.get("command")
        with self._one:
            if name == "scale":
                return self._scale(command.get("replicas"), command.get("model"))
            if name == "update":
                return self._update()
            if name == "reload":
                return self._reload(command.get("model"))
        raise InvalidRequest(f"no command {name!r}; there are scale, update and reload")

    def _scale(self, count: object, model: object) -> Mapping[str, Any]:
        bounds = self._bounds(str(model)) if model is not None else None
        least, most = (bounds.least, bounds.most) if bounds is not None else (1, MOST_GATEWAYS)
        if not isinstance(count, int) or not least <= count <= most:
            what = "gateway replicas" if model is None else f"replicas of {model} (models[].replicas)"
            raise InvalidRequest(f"{least} to {most} {what} are possible, not {count!r}")
        if model is None:
            wanted = replace(self._wanted, gateways=count)
        else:
            wanted = replace(self._wanted, replicas={**self._wanted.replicas, str(model): count})
        before = self._wanted
        self._apply(self._config, wanted)
        return {"before": asdict(before), "now": asdict(wanted)}

    def _update(self) -> Mapping[str, Any]:
        config = self._load()
        refuse_restart(self._config, config)
        self._stage.variants(config)
        self._stage.check(config)
        fresh = wanted_at_start(config, self._cores)
        wanted = replace(fresh, generation=self._wanted.generation + 1)
        before, running = self._wanted, self._config
        try:
            self._apply(config, wanted)
        except GreenServeError:
            log.error("the update failed; what ran before stays")
            self._apply(running, before)
            raise
        self.deployed()
        return {"before": asdict(before), "now": asdict(wanted)}

    def _reload(self, model: object) -> Mapping[str, Any]:
        names = [each.name for each in self._config.models] if model is None else [str(model)]
        done = [asdict(self._stage.reload_model(self._config, name)) for name in names]
        self.deployed()
        return {"models": done}

    def _apply(self, config: Config, wanted: Wanted) -> None:
        self._stage.change(config, wanted)
        self._config, self._wanted = config, wanted
        self._state = replace(self._state, replicas=wanted.gateways, engines=dict(wanted.replicas))
        self._publish(self._state)

    def _bounds(self, name: str) -> Replicas:
        for model in self._config.models:
            if model.name == name and model.placement == "remote":
                return model.replicas
        if any(model.name == name for model in self._config.models):
            raise InvalidRequest(
                f"the engines of {name} run in the gateways (placement: inline); scale those, without --model"
            )
        raise ModelUnknown(f"no model {name!r:.80}; there are {', '.join(each.name for each in self._config.models)}")


def refuse_restart(running: Config, fresh: Config) -> None:
    """Raise ConfigInvalid for changes that no rolling update can make, naming each."""
    sections: Mapping[str, Callable[[Config], object]] = {
        "server.http": lambda config: config.server.http,
        "server.grpc": lambda config: config.server.grpc,
        "ledger": lambda config: config.ledger,
        "energy": lambda config: config.energy,
        "ray": lambda config: config.ray,
    }
    changed = [name for name, section in sections.items() if section(running) != section(fresh)]
    if changed:
        raise ConfigInvalid(
            f"{', '.join(changed)} cannot change while the gateway runs; nothing was changed: "
            "`greenserve stop`, then `greenserve serve`"
        )
