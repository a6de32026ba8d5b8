"""One gateway replica: a thread with one event loop for both listeners, batching, recording and refreshing."""

import asyncio
import logging
import os
import sys
import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import uvloop

from greenserve.carbon.board_power import DeclaredPowers, declared
from greenserve.carbon.feeds.build import grid_from
from greenserve.carbon.feeds.grid import Grid
from greenserve.carbon.ledger.book import SqlLedger
from greenserve.carbon.ledger.intake import spools_of
from greenserve.carbon.ledger.opening import open_ledger
from greenserve.carbon.ledger.spool import SpoolWriter, boot_id, start_ticks_of
from greenserve.carbon.meters.cpu_time import host_power
from greenserve.carbon.power_model import CpuPower
from greenserve.clock import SystemClock
from greenserve.config import Config
from greenserve.errors import GreenServeError
from greenserve.host import describe_host
from greenserve.ports import Clock
from greenserve.serve.admission import Admission
from greenserve.serve.balance import Board
from greenserve.serve.cache import AnswerCache, secret_from
from greenserve.serve.gateway import Gateway
from greenserve.serve.gauges import Gauges
from greenserve.serve.grpc.build import grpc_server_of
from greenserve.serve.health import Health
from greenserve.serve.heap import quiet_heap
from greenserve.serve.http.app import HttpApp
from greenserve.serve.http.mounts import Mounts, reload_by_driver
from greenserve.serve.kept import KeptAnswers
from greenserve.serve.lineup import MODELS, told
from greenserve.serve.listeners import HttpListener, Listeners, certificate_of, guard_of, tls_context
from greenserve.serve.models import EngineFactory, Models, ServedModel
from greenserve.serve.observers import Observers
from greenserve.serve.once import Once
from greenserve.serve.placing import NOWHERE, Batchers, ModelLoader, Reaches
from greenserve.serve.ports import listeners_of
from greenserve.serve.power_file import POWER_FILE, PowerReader
from greenserve.serve.profile import check_profile, listening_faults
from greenserve.serve.recorder import Recorder
from greenserve.serve.reload import ABANDON, COMMIT, PREPARE, Reloaded, Reloader, Report
from greenserve.serve.router import Router
from greenserve.serve.run_folder import RunFolder
from greenserve.serve.shared_cache import open_shared
from greenserve.serve.statistics import Statistics
from greenserve.serve.telemetry.hub import Telemetry, telemetry_of
from greenserve.serve.telemetry.metrics_app import MetricsApp
from greenserve.serve.tenancy_reader import Fresh, TenancyReader
from greenserve.serve.texts import LongTexts
from greenserve.trouble import Trouble
from greenserve.units import MILLI

log = logging.getLogger("greenserve.replica")
REFRESH_S = 0.5
BALANCE_FILE = Path("ray") / "balance"
"""In the part of the run folder that is removed with the run, also after its driver was killed."""
KEPT_FILE = Path("ray") / "kept.db"
METRICS_FOLDER = Path("ray") / "metrics"
SWITCH_INTERVAL_S = 0.0005
"""A finished batch waits for the interpreter as long as this; at Python's 5 ms a quarter of the throughput is lost."""


class GatewayReplica:
    """Builds the parts of a gateway and runs them until `stop`."""

    recorder_class: type[Recorder] = Recorder
    """What records requests; a benchmark of the recording's cost puts one here that does not."""

    def __init__(
        self,
        *,
        config: Config,
        run_id: str,
        name: str,
        cores: int,
        engine_for: EngineFactory,
        clock: Clock | None = None,
        reaches: Reaches = NOWHERE,
        reload_model: Callable[[str], Reloaded] | None = None,
    ) -> None:
        """`reaches` lead to the engines of remote models; `reload_model` reloads one on all replicas (None: cannot)."""
        check_profile(config, run_folder=RunFolder(port=config.server.http.port).path, ray_token_auth=None)
        self._config = config
        self._run_id = run_id
        self._name = name
        self._replicas = config.server.replicas_on(cores)
        self._share_milli = min(MILLI, MILLI * config.server.threads_per_engine // cores)
        self._fingerprint = str(describe_host()["fingerprint"])
        self._reaches = reaches
        self._loader = ModelLoader(config, engine_for=engine_for, fingerprint=self._fingerprint, reaches=reaches)
        self.reload_model = reload_model
        self._clock: Clock = clock or SystemClock()
        self.health = Health(missing={"models", "ledger", "listeners"})
        self._thread = threading.Thread(target=self._run, name="listeners", daemon=True)
        self._started = threading.Event()
        self._failure: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()
        self._batchers: Batchers | None = None
        self._gateway: Gateway | None = None
        self._reloader: Reloader | None = None
        self._open: Listeners | None = None
        self._powers = PowerReader(RunFolder(port=config.server.http.port).path / POWER_FILE, run_id=run_id)

    def start(self) -> None:
        """Load, warm up, listen; returns when requests are taken, raises what prevented it."""
        self._thread.start()
        self._started.wait()
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Drain: finish what runs, refuse what comes, close the listeners, write what is to be written."""
        if self._loop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()

    def check(self) -> None:
        """Raise RuntimeError where this replica can no longer answer, so that it is replaced."""
        if not self._thread.is_alive():
            raise RuntimeError(f"the listeners' thread has ended: {self._failure!r}")
        if self._batchers is not None and not self.health.draining and (findings := self._batchers.findings()):
            raise RuntimeError("; ".join(findings))

    def state(self) -> Mapping[str, Any]:
        """What this replica says of itself: whether it is ready, and how much it holds at the moment."""
        return {
            "name": self._name,
            "ready": self.health.ready,
            "missing": self.health.missing,
            "http_connections": self._open.http_connections if self._open else 0,
            "queued": self._batchers.queued if self._batchers else 0,
            MODELS: told(self._gateway.models) if self._gateway else {},
            "tasks": len(asyncio.all_tasks(self._loop)) if self._loop and not self._loop.is_closed() else 0,
        }

    def share(self, *, gateways: int, replicas: Mapping[str, int]) -> None:
        """So many gateways share limits and budgets, and send to so many replicas of each remote model, from now on."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(partial(self._share, gateways=gateways, replicas=replicas))

    async def reload(self, step: str, model: str) -> Report:
        """One step of the reload of a model in this replica; may be called from any loop."""
        assert self._reloader is not None
        assert self._loop is not None
        steps = {PREPARE: self._reloader.prepare, COMMIT: self._reloader.commit, ABANDON: self._reloader.abandon}
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(steps[step](model), self._loop))

    def _run(self) -> None:
        try:
            sys.setswitchinterval(SWITCH_INTERVAL_S)
            uvloop.run(self._main())
        except BaseException as error:  # handed to whoever called `start`, or to `check`
            self._failure = error
            if self._started.is_set():
                log.exception("the replica failed")
        finally:
            self._started.set()

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        models = await asyncio.to_thread(self._loader.all)
        self.health.has("models")
        ledger = open_ledger(self._config.ledger.url, self._config.ledger.path)
        reader = TenancyReader(ledger, self._clock)
        observers = observers_of(self._config, models, self._clock)
        batchers = self._batchers = self._batchers_of(models, observers)
        fresh = reader.read(())
        cache = cache_of(self._config, models, fresh.tenancy.pepper)
        grid = await asyncio.to_thread(grid_from, self._config, clock=self._clock)
        gateway = self._gateway = self._gateway_of(models, batchers, observers, cache, grid)
        self._reloader = Reloader(models=models, load=self._loader.load, swapped=self._swapped)
        _refresh(gateway, fresh)
        self.health.has("ledger")
        batchers.start()
        gateway.recorder.start()
        observers.telemetry.start()
        grid.start()
        if cache.shared is not None:
            cache.shared.start()
        mounts = mounts_of(self._config, gateway, ledger, self._clock)
        listeners = self._open = self._listeners(gateway, mounts)
        await listeners.start(self._config)
        check_sockets(self._config)
        self.health.has("listeners")
        gauges = Gauges(telemetry=observers.telemetry, batchers=batchers, gateway=gateway, clock=self._clock)
        refreshing = asyncio.create_task(self._keep_fresh(gateway, reader, batchers, gauges), name="refreshing")
        with quiet_heap():
            self._started.set()
            await self._stop.wait()
        self.health.draining = True
        gateway.deferral.hurry()
        await listeners.drain()
        refreshing.cancel()
        if gateway.once is not None:
            await gateway.once.close()
        await batchers.close()
        mounts.close()
        await gateway.recorder.close()
        gateway.texts.close()
        await observers.telemetry.close()
        await grid.close()
        if cache.shared is not None:
            await cache.shared.close()
        cache.close()
        ledger.close()

    def _batchers_of(self, models: Models, observers: Observers) -> Batchers:
        batchers = Batchers(
            models,
            clock=self._clock,
            node=boot_id(),
            max_queued=self._config.server.limits.max_queued,
            share_milli=self._share_milli,
            power=power_of(self._config),
            reaches=self._reaches,
            on_span=observers.ran,
        )
        least = {model.name: model.replicas.least for model in self._config.models}
        batchers.share(gateways=self._replicas, replicas=least)
        return batchers

    def _share(self, *, gateways: int, replicas: Mapping[str, int]) -> None:
        if self._batchers is not None and self._gateway is not None:
            self._batchers.share(gateways=gateways, replicas=replicas)
            self._gateway.admission.share_among(gateways)

    def _swapped(self, old: ServedModel, fresh: ServedModel) -> None:
        if self._batchers is not None and self._gateway is not None:
            self._batchers.swapped(old, fresh)
            self._gateway.router.models_changed()

    def _gateway_of(
        self, models: Models, batchers: Batchers, observers: Observers, cache: AnswerCache, grid: Grid
    ) -> Gateway:
        config, clock = self._config, self._clock
        spool, texts = SpoolWriter(spool_folder(config.ledger.path), self._name), LongTexts()
        gateway = Gateway(
            models=models,
            admission=Admission(
                auth=config.tenancy.auth,
                defaults=config.tenancy.defaults,
                replicas=self._replicas,
                timeout_s=config.server.limits.request_timeout_s,
                max_defer_s=config.server.limits.max_defer_s,
                clock=clock,
            ),
            cache=cache,
            router=Router(
                config=config,
                models=models,
                feed=grid.chain,
                read_both=grid.chain.read_both,
                marginal=grid.marginal,
                clock=clock,
                fingerprint=self._fingerprint,
            ),
            batcher=batchers.inline,
            recorder=self.recorder_class(
                spool=spool,
                power=power_of(config),
                boards=DeclaredPowers([declared(**line.model_dump()) for line in config.energy.boards]),
                clock=clock,
                run_id=self._run_id,
                thread_cpu_ns=texts.host_cpu_ns,
                powers=lambda: self._powers.now,
                reads=lambda zone, at_us: grid.chain.read_both(zone=zone, at_us=at_us),
            ),
            observers=observers,
            clock=clock,
        )
        gateway.remote, gateway.texts = batchers.remote, texts
        gateway.admission.door.queues = batchers
        gateway.once = once_of(config, gateway.admission, observers.telemetry, name=self._name, clock=clock)
        return gateway

    def _listeners(self, gateway: Gateway, mounts: Mounts) -> Listeners:
        config, limits = self._config, self._config.server.limits
        certificate, guard = certificate_of(config), guard_of(config, gateway.admission.door)
        statistics, telemetry = gateway.observers.statistics, gateway.observers.telemetry
        http_app = HttpApp(
            gateway=gateway,
            health=self.health,
            clock=self._clock,
            statistics=statistics,
            limits=limits,
            extra={("metrics",): MetricsApp(telemetry), **mounts.apps},
        )
        return Listeners(
            HttpListener(http_app, guard=guard, tls=tls_context(certificate)),
            grpc_server_of(config, gateway, mounts, health=self.health, clock=self._clock),
            board=Board(run_file(config, BALANCE_FILE), clock=self._clock),
        )

    async def _keep_fresh(self, gateway: Gateway, reader: TenancyReader, batchers: Batchers, gauges: Gauges) -> None:
        trouble = Trouble(log, "the ledger's store could not be read; the last state stays in force")
        while True:
            await asyncio.sleep(REFRESH_S)
            gauges.tell(http_connections=self._open.http_connections if self._open else 0)
            try:
                # In a thread: with many budgets the queries take milliseconds, and requests would wait for them.
                _refresh(gateway, await asyncio.to_thread(reader.read, gateway.admission.watched))
                await asyncio.to_thread(self._powers.refresh)
                self.health.has("ledger")
                batchers.grid(*gateway.router.home_grid())
                batchers.weigh(gateway.admission.weights)
            except Exception as error:
                trouble.met(error)
                self.health.lost("ledger")
            else:
                trouble.over()


def _refresh(gateway: Gateway, fresh: Fresh) -> None:
    gateway.admission.refresh(fresh.tenancy, fresh.used, confirmed=fresh.confirmed)
    gateway.router.refresh()


def run_file(config: Config, name: Path) -> Path:
    """A file of the run folder, whose folder is there."""
    folder = RunFolder(port=config.server.http.port).path
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = folder / name
    file.parent.mkdir(mode=0o700, exist_ok=True)
    return file


def check_sockets(config: Config) -> None:
    """What was configured is one thing, what the kernel has is another: a loopback port must be one."""
    if faults := listening_faults(config, listeners_of([os.getpid()])):
        raise GreenServeError("; ".join(faults))


def once_of(config: Config, admission: Admission, telemetry: Telemetry, *, name: str, clock: Clock) -> Once:
    """The answers to calls with an idempotency key, which the replicas of this node share."""
    pid = os.getpid()
    owner = f"{pid}:{start_ticks_of(pid)}:{name}"
    return Once(
        KeptAnswers(run_file(config, KEPT_FILE), owner=owner, now_ns=clock.monotonic_ns),
        admission=admission,
        clock=clock,
        counted=lambda result: telemetry.count("greenserve_idempotent_requests_total", result=result),
    )


def observers_of(config: Config, models: Models, clock: Clock) -> Observers:
    """Statistics and telemetry of this process."""
    telemetry = telemetry_of(config, folder=metrics_folder(config), name="gateway", clock=clock)
    return Observers(models=models, statistics=Statistics(clock=clock), telemetry=telemetry, clock=clock)


def mounts_of(config: Config, gateway: Gateway, ledger: SqlLedger, clock: Clock) -> Mounts:
    """Administration and receipts; a reload goes through the driver, since all replicas swap together."""
    return Mounts(
        gateway=gateway,
        config=config,
        ledger=ledger,
        clock=clock,
        fingerprint=str(describe_host()["fingerprint"]),
        reserved=gateway.admission.promised,
        reload=reload_by_driver(RunFolder(port=config.server.http.port).path),
    )


def cache_of(config: Config, models: Models, pepper: bytes) -> AnswerCache:
    """The answer cache; gateways that share a Redis key it by their ledger's pepper, so that they agree."""
    if config.cache.redis_url_file is None:
        return AnswerCache(list(models), power=power_of(config))
    secret = secret_from(pepper)
    shared = open_shared(config, secret=secret)
    return AnswerCache(list(models), secret=secret, shared=shared, power=power_of(config))


def power_of(config: Config) -> CpuPower:
    """The model that answers are estimated with and the meter settles by: the configured watts, else an average."""
    cpu = config.energy.cpu
    if cpu is None:
        return host_power()
    return host_power(idle_w=cpu.idle_w, max_w=cpu.max_w, half_width_pct=cpu.half_width_pct)


def metrics_folder(config: Config) -> Path:
    """Where the processes of a run show their series to each other; removed with the run."""
    return RunFolder(port=config.server.http.port).path / METRICS_FOLDER


def spool_folder(ledger: Path) -> Path:
    """Where the gateways of a ledger spool their lines."""
    return spools_of(ledger)
