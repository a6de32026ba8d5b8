"""`greenserve serve`: start the gateway and stay until it is told to stop."""

import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer

from greenserve.carbon.ledger.spool import start_ticks_of
from greenserve.cli.output import messages, print_json
from greenserve.cli.reserving import reservation_warnings
from greenserve.clock import SystemClock
from greenserve.config import Config, load_config
from greenserve.errors import ConfigInvalid, GreenServeError
from greenserve.ids import new_request_id
from greenserve.serve import app as serve_app
from greenserve.serve.control import ControlSocket
from greenserve.serve.driver import Driver
from greenserve.serve.grounds import Ground, LocalRay, RunningRay
from greenserve.serve.lineup import Lineup
from greenserve.serve.metering import pick_configured, pick_configured_node
from greenserve.serve.models import verified_manifest
from greenserve.serve.ports import holder_of, is_free
from greenserve.serve.precheck import check_loads
from greenserve.serve.profile import check_profile
from greenserve.serve.reload import Reloaded
from greenserve.serve.run_folder import RunFolder, RunState
from greenserve.serve.supervisor import end_processes, left_behind, processes_below, processes_of, wait_until

app = typer.Typer(add_completion=False)
PORT_PATIENCE_S = 10.0
PORT_GONE_S = 0.5
"""How long a port may outlive its process."""


@app.command()
def serve(
    config_file: Annotated[Path | None, typer.Argument(metavar="[CONFIG]", help="Configuration file.")] = None,
    config_option: Annotated[Path | None, typer.Option("--config", "-c", help="The same, as an option.")] = None,
    port: Annotated[int | None, typer.Option(help="HTTP port instead of the configured one.")] = None,
    grpc_port: Annotated[int | None, typer.Option(help="gRPC port instead of the configured one.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, start nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the state as JSON once ready.")] = False,
) -> None:
    """Start the gateway; Ctrl-C or `greenserve stop` drains and ends it, a second Ctrl-C ends it at once."""
    ports: dict[str, Any] = {}
    if port is not None:
        ports["http"] = {"port": port}
    if grpc_port is not None:
        ports["grpc"] = {"port": grpc_port}
    path = config_file or config_option
    load = partial(load_config, path, overrides={"server": ports} if ports else None)
    config = load()
    folder = RunFolder(port=config.server.http.port)
    check_profile(config, run_folder=folder.path, ray_token_auth=None)
    state = _plan(config, path)
    if config.tenancy.reservations:
        for warning in reservation_warnings(config, pick_configured_node(config)):
            messages.print(f"warning: {warning}", markup=False)
    if dry_run:
        check_loads(config)
        messages.print("configuration, manifests and meter are good; nothing was started (--dry-run)")
        return
    folder.acquire()
    try:
        _await_ports(config, folder.path)
        _Run(config, state, folder, load).serve(as_json)
    finally:
        folder.release()


def _plan(config: Config, path: Path | None) -> RunState:
    picked = pick_configured(config)
    server = config.server
    scheme = "https" if server.tls is not None and not server.tls.external else "http"
    return RunState(
        run_id=new_request_id(),
        pid=os.getpid(),
        start_ticks=start_ticks_of(os.getpid()) or 0,
        started_us=SystemClock().unix_us(),
        http=f"{scheme}://{server.http.host}:{server.http.port}",
        grpc=f"{server.grpc.host}:{server.grpc.port}",
        replicas=server.replicas_on(_cores()),
        config="default" if path is None else str(path.absolute()),
        ledger=str(config.ledger.path.resolve()),
        models=_variants(config),
        regions=[
            {"name": region.name, "zone": region.zone, "pue_milli": region.pue_milli, "emulated": region.emulated}
            for region in config.regions
        ],
        meter=dict(picked.meter.describe()),
        meters_rejected=dict(picked.rejected),
        ray=config.ray.address,
        engines=dict(serve_app.wanted_at_start(config, _cores()).replicas),
    )


def _variants(config: Config) -> dict[str, list[str]]:
    """The variants that may answer for each model, after every file was compared with its digest."""
    manifests = {model.name: verified_manifest(model.manifest) for model in config.models}
    return {
        name: [variant.name for variant in manifest.variants if manifest.is_interchangeable(variant)]
        for name, manifest in manifests.items()
    }


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _await_ports(config: Config, folder: Path) -> None:
    """Ports of a run that was killed take seconds to go; anybody else's are an error at once that names the holder."""
    # On a Ray of others what a killed run left carries that Ray's token: nobody can tell it from strangers.
    maybe_ours = config.ray.address != "local" or processes_of(folder)
    patience_s = PORT_PATIENCE_S if maybe_ours else PORT_GONE_S
    for name, listener in (("http", config.server.http), ("grpc", config.server.grpc)):
        if not wait_until(partial(is_free, listener.host, listener.port), patience_s):
            raise ConfigInvalid(
                f"server.{name}: {listener.host}:{listener.port} is taken by {holder_of(listener.port)}; "
                f"stop that, or choose another port with --{'port' if name == 'http' else 'grpc-port'}"
            )


class _Run:
    """One run of a gateway, from its start to the proof of its end; the stage that the driver's commands change.

    State: the processes that were seen to belong to it.
    """

    def __init__(self, config: Config, state: RunState, folder: RunFolder, load: Callable[[], Config]) -> None:
        self._config = config
        self._state = state
        self._folder = folder
        self._processes: dict[int, int] = {}
        self._ground: Ground = (
            LocalRay(folder.path, cpus=max(2, state.replicas))
            if config.ray.address == "local"
            else RunningRay(config, folder.path)
        )
        self._driver = Driver(config=config, state=state, cores=_cores(), stage=self, load=load, publish=self._publish)

    def serve(self, as_json: bool) -> None:
        """Start, stay until told to stop, drain, and look what is left."""
        started_s = time.monotonic()
        messages.print(f"starting {self._state.replicas} gateway replicas ...")
        asked = _Asked(self._processes)
        control = ControlSocket(self._folder.path, self._driver.handle)
        self._folder.write(self._state)
        self.check(self._config)
        try:
            self._ground.start()
            asked.listen()
            self._deploy()
            self._state = self._driver.deployed()
            control.start()
            _announce(self._state, time.monotonic() - started_s, as_json)
            self._stay(asked)
        except GreenServeError:
            raise
        except Exception as error:
            raise GreenServeError(f"the gateway did not start: {error}") from error
        finally:
            control.close()
            self._processes |= processes_below(self._state.pid)
            messages.print("draining ...")
            drained = self._ground.drain(self._processes)
            end_processes(self._processes, patience_s=5.0)
        self._look_back(drained)

    def change(self, config: Config, wanted: serve_app.Wanted) -> None:
        """Other numbers, or another configuration."""
        local = self._ground.local
        serve_app.change(config, wanted, run_id=self._state.run_id, cores=_cores(), local=local)

    def reload_model(self, config: Config, name: str) -> Reloaded:
        """A manifest again, everywhere."""
        return serve_app.reload_model(config, name)

    def variants(self, config: Config) -> Mapping[str, list[str]]:
        """What every model's manifest names."""
        return _variants(config)

    def lineup(self) -> Lineup:
        """What the gateways serve."""
        return serve_app.lineup()

    def check(self, config: Config) -> None:
        """Whether every model loads, before anything changes."""
        if self._ground.local:  # the machines of a cluster may hold what this one does not
            check_loads(config)

    def _deploy(self) -> None:
        serve_app.deploy(
            self._config,
            serve_app.wanted_at_start(self._config, _cores()),
            run_id=self._state.run_id,
            cores=_cores(),
            root_pid=self._ground.root_pid,
            local=self._ground.local,
        )

    def _publish(self, state: RunState) -> None:
        self._processes |= processes_below(state.pid)
        self._folder.write(replace(state, ready=True, processes=list(self._processes.items())))

    def _stay(self, asked: "_Asked") -> None:
        while not asked.to_stop:
            if asked.to_reload:
                asked.to_reload = False
                threading.Thread(target=self._reload_all, name="reloading", daemon=True).start()
            time.sleep(0.1)

    def _reload_all(self) -> None:
        try:
            done = self._driver.handle({"command": "reload"})
        except GreenServeError as error:
            messages.print(f"SIGHUP: {error}")
        else:
            messages.print(f"SIGHUP: reloaded {', '.join(each['model'] for each in done['models'])}")

    def _look_back(self, drained: bool) -> None:
        if not drained:
            messages.print(
                "Ray was ended from outside, so the gateways could not drain; every answer that left is in the spool, "
                "and the next `greenserve serve` takes it into the ledger"
            )
            self._folder.release()
            os._exit(1)  # Ray's client would wait a minute for its server and then abort the process
        if findings := left_behind(self._state, self._processes):
            raise GreenServeError("stopped, but something is left behind:\n" + "\n".join(findings))
        messages.print("stopped; no process and no port left")


class _Asked:
    """Signals that ask this process to stop, or (SIGHUP) to read the manifests again.

    State: whether one came; the second that asks to stop ends everything at once.
    """

    def __init__(self, processes: dict[int, int]) -> None:
        self.to_stop = False
        self.to_reload = False
        self._processes = processes

    def listen(self) -> None:
        """Take SIGINT and SIGTERM from here on (Ray sets handlers of its own when it starts)."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._asked)
        signal.signal(signal.SIGHUP, self._asked_to_reload)

    def _asked_to_reload(self, number: int, frame: FrameType | None) -> None:
        self.to_reload = True

    def _asked(self, number: int, frame: FrameType | None) -> None:
        if self.to_stop:
            for pid in {**self._processes, **processes_below(os.getpid())}:
                os.kill(pid, signal.SIGKILL)
            os._exit(130)
        self.to_stop = True


def _announce(state: RunState, took_s: float, as_json: bool) -> None:
    if as_json:
        print_json("serve", {"http": state.http, "grpc": state.grpc, "ready_s": round(took_s, 2)})
    regions = ", ".join(
        f"{region['name']} ({region['zone']}{', executed on this machine' if region['emulated'] else ''})"
        for region in state.regions
    )
    messages.print(f"ready in {took_s:.1f} s: HTTP {state.http}  gRPC {state.grpc}  {state.replicas} replicas")
    for model, variants in state.models.items():
        messages.print(f"model {model}: {', '.join(variants)}")
        for name, reason in state.left_out.get(model, {}).items():
            messages.print(f"  left out {name}: {reason}", markup=False)
    messages.print(f"regions: {regions}")
    messages.print(f"energy: {state.meter['source']}, tier {state.meter['tier']}")
    messages.print("Ctrl-C or `greenserve stop` ends it")
