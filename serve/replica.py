"""One gateway replica: a thread with one event loop for both listeners, batching, recording and refreshing."""

import asyncio
import contextlib
import logging
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import uvicorn
import uvloop

from greenserve.carbon.feeds.build import feed_from
from greenserve.carbon.ledger.spool import SpoolWriter
from greenserve.carbon.ledger.sqlite import SqliteLedger
from greenserve.carbon.ledger.tenancy import Tenancy, TenancyStore
from greenserve.carbon.meters.cpu_time import host_power
from greenserve.carbon.power_model import CpuPower
from greenserve.clock import SystemClock
from greenserve.config import Config
from greenserve.errors import GreenServeError
from greenserve.host import describe_host
from greenserve.ports import Clock
from greenserve.serve.admission import Admission
from greenserve.serve.batching.batcher import Batcher
from greenserve.serve.cache import AnswerCache
from greenserve.serve.gateway import Gateway
from greenserve.serve.grpc.server import GrpcServer, InferenceService
from greenserve.serve.health import Health
from greenserve.serve.http.app import HttpApp
from greenserve.serve.models import EngineFactory, Models, load_models
from greenserve.serve.ports import reuse_port_socket
from greenserve.serve.recorder import Recorder
from greenserve.serve.router import Router
from greenserve.units import MILLI

log = logging.getLogger("greenserve.replica")
REFRESH_S = 0.5
DRAIN_NOTICE_S = 1.0
GRACE_S = 20.0
MESSAGE_SLACK_BYTES = 2**20
SWITCH_INTERVAL_S = 0.0005
"""A finished batch waits for the interpreter as long as this; at Python's 5 ms a quarter of the throughput is lost."""


class GatewayReplica:
    """Builds the parts of a gateway and runs them until `stop`."""

    def __init__(
        self,
        *,
        config: Config,
        run_id: str,
        name: str,
        cores: int,
        engine_for: EngineFactory,
        clock: Clock | None = None,
    ) -> None:
        self._config = config
        self._run_id = run_id
        self._name = name
        self._share_milli = min(MILLI, MILLI * config.server.threads_per_engine // cores)
        self._engine_for = engine_for
        self._fingerprint = str(describe_host()["fingerprint"])
        self._clock: Clock = clock or SystemClock()
        self.health = Health(missing={"models", "ledger", "listeners"})
        self._thread = threading.Thread(target=self._run, name="listeners", daemon=True)
        self._started = threading.Event()
        self._failure: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()
        self._batcher: Batcher | None = None
        self._tenancy: Tenancy | None = None

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
        if self._batcher is not None and not self._batcher.alive and not self.health.draining:
            raise RuntimeError("the batching task has ended")

    def state(self) -> Mapping[str, Any]:
        """What this replica says of itself."""
        return {"name": self._name, "ready": self.health.ready, "missing": self.health.missing}

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
        models = load_models(self._config, engine_for=self._engine_for, fingerprint=self._fingerprint)
        self.health.has("models")
        ledger = SqliteLedger(self._config.ledger.path)
        store = TenancyStore(ledger, self._clock)
        gateway = self._gateway(models)
        self._refresh(gateway, ledger, store)
        self.health.has("ledger")
        gateway.batcher.start()
        gateway.recorder.start()
        async with contextlib.AsyncExitStack() as stack:
            await self._listen(gateway, stack)
            self.health.has("listeners")
            refreshing = asyncio.create_task(self._keep_fresh(gateway, ledger, store), name="refreshing")
            self._started.set()
            await self._stop.wait()
            self.health.draining = True
            await asyncio.sleep(DRAIN_NOTICE_S)
        refreshing.cancel()
        await gateway.batcher.close()
        await gateway.recorder.close()
        gateway.cache.close()
        ledger.close()

    def _gateway(self, models: Models) -> Gateway:
        config, clock = self._config, self._clock
        served = [variant for model in models for variant in model.variants.values()]
        batcher = Batcher(
            clock=clock,
            buckets=sorted({edge for model in models for edge in model.manifest.preprocessing.buckets}),
            max_batch={variant.key: variant.max_batch for variant in served},
            max_queued=config.server.limits.max_queued,
            share_milli=self._share_milli,
        )
        self._batcher = batcher
        spool = SpoolWriter(spool_folder(config.ledger.path), self._name)
        return Gateway(
            models=models,
            admission=Admission(
                auth=config.tenancy.auth,
                defaults=config.tenancy.defaults,
                replicas=config.server.replicas,
                clock=clock,
            ),
            cache=AnswerCache(list(models)),
            router=Router(
                config=config,
                models=models,
                feed=feed_from(config.intensity.sources),
                clock=clock,
                fingerprint=self._fingerprint,
            ),
            batcher=batcher,
            recorder=Recorder(
                spool=spool,
                power=power_of(config),
                clock=clock,
                run_id=self._run_id,
                engine_cpu_ns=lambda: batcher.spans_cpu_ns,
            ),
            clock=clock,
            timeout_s=config.server.limits.request_timeout_s,
        )

    async def _listen(self, gateway: Gateway, stack: contextlib.AsyncExitStack) -> None:
        server, limits = self._config.server, self._config.server.limits
        service = InferenceService(gateway=gateway, health=self.health, clock=self._clock, max_items=limits.max_items)
        grpc_server = GrpcServer(service, max_message_bytes=limits.max_body_bytes + MESSAGE_SLACK_BYTES)
        await grpc_server.start(host=server.grpc.host, port=server.grpc.port)
        stack.push_async_callback(grpc_server.stop, grace_s=GRACE_S)
        http_app = HttpApp(
            gateway=gateway,
            health=self.health,
            clock=self._clock,
            max_body_bytes=limits.max_body_bytes,
            max_items=limits.max_items,
        )
        http_server = uvicorn.Server(
            uvicorn.Config(
                http_app,
                interface="asgi3",
                http="httptools",
                loop="none",
                lifespan="off",
                access_log=False,
                proxy_headers=False,
                log_config=None,
                server_header=False,
                date_header=False,
                timeout_keep_alive=75,
                timeout_graceful_shutdown=int(GRACE_S),
            )
        )
        listener = reuse_port_socket(server.http.host, server.http.port)
        serving = asyncio.create_task(http_server.serve(sockets=[listener]), name="http")

        async def stop_http() -> None:
            http_server.should_exit = True
            await serving

        stack.push_async_callback(stop_http)
        while not http_server.started:
            if serving.done():
                raise GreenServeError(f"HTTP does not listen on {server.http.host}:{server.http.port}")
            await asyncio.sleep(0.01)

    def _refresh(self, gateway: Gateway, ledger: SqliteLedger, store: TenancyStore) -> None:
        now_us = self._clock.unix_us()
        if self._tenancy is None or store.revision() != self._tenancy.revision:
            self._tenancy = store.snapshot()
        budgets = [budget for owned in self._tenancy.budgets.values() for budget in owned]
        gateway.admission.refresh(self._tenancy, {budget.budget_id: ledger.used(budget, now_us) for budget in budgets})
        gateway.router.refresh()

    async def _keep_fresh(self, gateway: Gateway, ledger: SqliteLedger, store: TenancyStore) -> None:
        while True:
            await asyncio.sleep(REFRESH_S)
            try:
                self._refresh(gateway, ledger, store)
                self.health.has("ledger")
            except Exception:
                log.exception("the ledger's store could not be read; the last state stays in force")
                self.health.lost("ledger")


def power_of(config: Config) -> CpuPower:
    """The model that answers are estimated with and the meter settles by: the configured watts, else an average."""
    cpu = config.energy.cpu
    return host_power(idle_w=cpu.idle_w, max_w=cpu.max_w) if cpu else host_power()


def spool_folder(ledger: Path) -> Path:
    """Where the gateways of a ledger spool their lines."""
    return ledger.with_name(ledger.name + ".spool")
