"""`greenserve serve`: start the gateway and stay until it is told to stop."""

import os
import signal
import threading
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer

from greenserve.carbon.ledger.spool import start_ticks_of
from greenserve.cli.output import messages, print_json
from greenserve.clock import SystemClock
from greenserve.config import Config, load_config
from greenserve.errors import ConfigInvalid, GreenServeError
from greenserve.ids import new_request_id
from greenserve.serve import app as serve_app
from greenserve.serve import cluster
from greenserve.serve.models import verified_manifest
from greenserve.serve.ports import holder_of, is_free
from greenserve.serve.run_folder import RunFolder, RunState
from greenserve.serve.supervisor import end_processes, left_behind, name_of, processes_below, still_running, wait_until
from greenserve.serve.writer import pick_configured

app = typer.Typer(add_completion=False)
PORT_PATIENCE_S = 10.0
DRAIN_PATIENCE_S = 90.0
RAY_END_S = 5.0
RAY_SERVERS = ("gcs_server", "raylet")


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
    config = load_config(path, overrides={"server": ports} if ports else None)
    state = _plan(config, path)
    if dry_run:
        messages.print("configuration, manifests and meter are good; nothing was started (--dry-run)")
        return
    folder = RunFolder(port=config.server.http.port)
    folder.acquire()
    try:
        _await_ports(config)
        _serve(config, state, folder, as_json)
    finally:
        folder.release()


def _plan(config: Config, path: Path | None) -> RunState:
    picked = pick_configured(config)
    manifests = {model.name: verified_manifest(model.manifest) for model in config.models}
    server = config.server
    return RunState(
        run_id=new_request_id(),
        pid=os.getpid(),
        start_ticks=start_ticks_of(os.getpid()) or 0,
        started_us=SystemClock().unix_us(),
        http=f"http://{server.http.host}:{server.http.port}",
        grpc=f"{server.grpc.host}:{server.grpc.port}",
        replicas=server.replicas_on(_cores()),
        config=str(path or "default"),
        ledger=str(config.ledger.path.resolve()),
        models={name: [variant.name for variant in manifest.variants] for name, manifest in manifests.items()},
        regions=[
            {"name": region.name, "zone": region.zone, "pue_milli": region.pue_milli, "emulated": region.emulated}
            for region in config.regions
        ],
        meter=dict(picked.meter.describe()),
        meters_rejected=dict(picked.rejected),
    )


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _await_ports(config: Config) -> None:
    """Ports of a run that was killed take seconds to go; anybody else's are an error that names the holder."""
    for name, listener in (("http", config.server.http), ("grpc", config.server.grpc)):
        if not wait_until(partial(is_free, listener.host, listener.port), PORT_PATIENCE_S):
            raise ConfigInvalid(
                f"server.{name}: {listener.host}:{listener.port} is taken by {holder_of(listener.port)}; "
                f"stop that, or choose another port with --{'port' if name == 'http' else 'grpc-port'}"
            )


def _serve(config: Config, state: RunState, folder: RunFolder, as_json: bool) -> None:
    started_s = time.monotonic()
    messages.print(f"starting {state.replicas} gateway replicas ...")
    cluster.prepare(folder.path)
    processes: dict[int, int] = {}
    asked = _Asked(processes)
    try:
        folder.write(state)
        cluster.start_ray(folder.path, cpus=max(2, state.replicas))
        asked.listen()
        serve_app.deploy(config, run_id=state.run_id, cores=_cores(), root_pid=state.pid)
        processes |= processes_below(state.pid)
        folder.write(replace(state, ready=True, processes=list(processes.items())))
        _announce(state, time.monotonic() - started_s, as_json)
        while not asked.to_stop:
            time.sleep(0.1)
    except GreenServeError:
        raise
    except Exception as error:
        raise GreenServeError(f"the gateway did not start: {error}") from error
    finally:
        processes |= processes_below(state.pid)
        messages.print("draining ...")
        drained = _drain(processes)
        end_processes(processes, patience_s=5.0)
    if not drained:
        messages.print(
            "Ray was ended from outside, so the gateways could not drain; every answer that left is in the spool, "
            "and the next `greenserve serve` takes it into the ledger"
        )
        folder.release()
        os._exit(1)  # Ray's client would wait a minute for its server and then abort the process
    if findings := left_behind(state, processes):
        raise GreenServeError("stopped, but something is left behind:\n" + "\n".join(findings))
    messages.print("stopped; no process and no port left")


def _drain(processes: dict[int, int]) -> bool:
    """Remove the application, then Ray; False where Ray was killed: then its client would spin, so it is not asked."""
    done = threading.Event()
    ray_server = {pid: ticks for pid, ticks in processes.items() if name_of(pid) == "gcs_server"}
    if not still_running(ray_server):
        return False

    def remove() -> None:
        serve_app.remove()
        helpers = {pid: ticks for pid, ticks in processes_below(os.getpid()).items() if name_of(pid) not in RAY_SERVERS}
        end_processes(helpers, patience_s=0.0)  # agents and monitors: Ray would wait a second for each
        cluster.stop_ray()
        done.set()

    threading.Thread(target=remove, name="draining", daemon=True).start()
    wait_until(lambda: done.is_set() or not still_running(ray_server), DRAIN_PATIENCE_S)
    return done.wait(RAY_END_S)


class _Asked:
    """Signals that ask this process to stop. State: whether one came; the second ends everything at once."""

    def __init__(self, processes: dict[int, int]) -> None:
        self.to_stop = False
        self._processes = processes

    def listen(self) -> None:
        """Take SIGINT and SIGTERM from here on (Ray sets handlers of its own when it starts)."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._asked)

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
    messages.print(f"regions: {regions}")
    messages.print(f"energy: {state.meter['source']}, tier {state.meter['tier']}")
    messages.print("Ctrl-C or `greenserve stop` ends it")
