"""Builders of what the serving tests need, with defaults, and an engine that runs when it is told to."""

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from greenserve.carbon.feeds.build import grid_from
from greenserve.carbon.ledger.spool import SpoolReader, SpoolWriter
from greenserve.carbon.meters.cpu_time import host_power
from greenserve.config import Config
from greenserve.errors import LedgerUnavailable
from greenserve.host import describe_host
from greenserve.ids import new_request_id
from greenserve.manifest import Manifest, Variant
from greenserve.ports import Clock, Engine
from greenserve.records import (
    Admitted,
    Batch,
    Decision,
    Hints,
    InferenceRequest,
    IntensityReading,
    Item,
    Reservation,
    Span,
    Tenant,
    Usage,
)
from greenserve.sections import TenantDefaults
from greenserve.serve.admission import Admission
from greenserve.serve.batching.batcher import Batcher
from greenserve.serve.batching.flight import Flight, Landed, Waiter
from greenserve.serve.cache import AnswerCache
from greenserve.serve.call import Answer, Call
from greenserve.serve.engines.echo import EchoEngine
from greenserve.serve.gateway import Gateway
from greenserve.serve.models import Models, ServedVariant, load_models
from greenserve.serve.observers import Observers
from greenserve.serve.recorder import Recorder
from greenserve.serve.router import Router
from greenserve.serve.statistics import Statistics
from greenserve.serve.telemetry.hub import Telemetry
from greenserve.serve.tensors import Tensor, tensor_of

FAR_NS = 10**18
TENANT = Tenant(tenant_id="acme", name="Acme", exposure="exact")
Engines = Callable[[Manifest, Variant], Engine]


class HeldEngine:
    """An echo engine that waits before each batch until `release` allows one more; `batches` are those it was given.

    A `broken` one raises for whatever it is given.

    State: the batches, appended by the engine's thread; permits, given by the test.
    """

    def __init__(self, variant: str, *, fail_on: int | None = None) -> None:
        self._echo = EchoEngine(variant=variant, fail_on=fail_on)
        self._permits = threading.Semaphore(0)
        self._free = True
        self.broken = False
        self.batches: list[Batch] = []

    def hold(self) -> None:
        """From now on every batch needs a permit."""
        self._free = False

    def release(self, batches: int = 1) -> None:
        """Let batches run."""
        self._permits.release(batches)

    def load(self) -> None:
        """Nothing to read."""

    def run(self, batch: Batch) -> tuple[dict[str, npt.NDArray[np.generic]], Span]:
        """As the echo engine, once there is a permit."""
        if batch.batch_id != "warm-up":
            self.batches.append(batch)
            if not self._free:
                assert self._permits.acquire(timeout=10.0)
        if self.broken:
            raise RuntimeError("out of order")
        return self._echo.run(batch)

    def describe(self) -> Mapping[str, object]:
        """Kind."""
        return MappingProxyType({"kind": "held"})


class HeldEngines:
    """One engine per variant, by name."""

    def __init__(self, *, fail_on: int | None = None) -> None:
        self._fail_on = fail_on
        self.by_variant: dict[str, HeldEngine] = {}

    def __call__(self, manifest: Manifest, variant: Variant) -> Engine:
        self.by_variant[variant.name] = HeldEngine(variant.name, fail_on=self._fail_on)
        return self.by_variant[variant.name]

    def hold(self) -> None:
        """Hold all of them."""
        for engine in self.by_variant.values():
            engine.hold()

    def release(self, batches: int = 1) -> None:
        """Let batches of any of them run."""
        for engine in self.by_variant.values():
            engine.release(batches)

    @property
    def batches(self) -> list[Batch]:
        """What all of them were given."""
        return [batch for engine in self.by_variant.values() for batch in engine.batches]


def a_config(manifest: Path, folder: Path, **changes: Any) -> Config:
    """A configuration of the tiny model in two regions; `changes` replace sections."""
    sections: dict[str, Any] = {
        "version": 1,
        "server": {"limits": {"max_queued": 64, "max_items": 32}},
        "models": [{"name": "tiny", "manifest": manifest, "objective": {"p95": "500ms", "quality_floor": 0.6}}],
        "regions": [
            {"name": "here", "zone": "ZZ-HERE", "pue": {"value": 1.5, "source": "a test"}},
            {"name": "north", "zone": "ZZ-NORTH", "emulated": True, "pue": {"value": 1.1, "source": "a test"}},
        ],
        "intensity": {
            "sources": [
                {
                    "kind": "annual",
                    "values": {"ZZ-HERE": "400gCO2e/kWh", "ZZ-NORTH": "40gCO2e/kWh"},
                    "year": 2025,
                    "source": "a test",
                }
            ]
        },
        "tenancy": {"auth": "anonymous"},
        "ledger": {"url": f"sqlite:///{folder / 'ledger.db'}"},
    }
    return Config(**(sections | changes))


def models_of(config: Config, engines: Engines) -> Models:
    """The configured models on engines of the test's choice."""
    return load_models(config, engine_for=engines, fingerprint=str(describe_host()["fingerprint"]))


def a_request(**changes: Any) -> InferenceRequest:
    """One row of two tokens, with all the time in the world."""
    whole: dict[str, Any] = {
        "request_id": new_request_id(),
        "model": "tiny",
        "rows": ((3, 0),),
        "outputs": ("label", "probabilities"),
        "protocol": "http",
        "received_ns": 1_000,
        "deadline_ns": FAR_NS,
        "hints": Hints(),
    }
    return InferenceRequest(**(whole | changes))


def an_admitted(*, tenant: Tenant = TENANT, **changes: Any) -> Admitted:
    """An admitted request without a budget; `changes` are the request's."""
    return Admitted(
        request=a_request(**changes),
        tenant=tenant,
        key_id="0123456789ab",
        reservation=Reservation(budget_id=None, amount=0),
    )


def a_decision(**changes: Any) -> Decision:
    """Region north, variant fp32, at 40 g/kWh."""
    reading = IntensityReading(
        zone="ZZ-NORTH",
        start_us=0,
        end_us=4_000_000_000_000_000,
        mg_per_kwh=40_000,
        basis="lifecycle",
        kind="average",
        origin="annual",
        provider="a test",
        retrieved_us=0,
    )
    whole: dict[str, Any] = {
        "region": "north",
        "zone": "ZZ-NORTH",
        "variant": "fp32",
        "reason": "carbon",
        "latency_s": 0.001,
        "energy_j": 0.001,
        "emissions_g": 1e-8,
        "intensity": reading,
        "pue_milli": 1100,
        "emulated": True,
    }
    return Decision(**(whole | changes))


class Asked:
    """An item with one waiter: its future, and what it was left with where it had gone or failed."""

    def __init__(self, served: ServedVariant, item: Item, *, deadline_ns: int = FAR_NS) -> None:
        self.unanswered: list[Waiter] = []
        self.waiter = Waiter(1, self.unanswered.append)
        self.future = self.waiter.future
        self.flight = Flight(
            served=served,
            decision=a_decision(variant=served.variant.name),
            item=item,
            arrived_ns=0,
            deadline_ns=deadline_ns,
        )
        self.flight.join(self.waiter, 0, deadline_ns=deadline_ns)

    @property
    def landed(self) -> Landed:
        """What it got; the flight must have landed."""
        (landed,) = self.waiter.landed
        assert landed is not None
        return landed

    @property
    def label(self) -> int:
        """The echo engine's class; the future must be done."""
        self.future.result()
        return int(self.landed.outputs["probabilities"][0].argmax())


def a_batcher(models: Models, clock: Clock, *, max_queued: int = 64, max_batch: int = 4) -> Batcher:
    """A batcher of the tiny model; it is not started."""
    served = [variant for model in models for variant in model.variants.values()]
    return Batcher(
        clock=clock,
        buckets=(4, 8, 16, 32, 64),
        max_batch={variant.key: max_batch for variant in served},
        max_queued=max_queued,
        share_milli=500,
    )


def a_recorder(spool: SpoolWriter, clock: Clock, thread_cpu_ns: Callable[[], int] = time.thread_time_ns) -> Recorder:
    """A recorder into a spool; it is not started."""
    return Recorder(spool=spool, power=host_power(), clock=clock, run_id="run-1", thread_cpu_ns=thread_cpu_ns)


def a_usage(**changes: Any) -> Usage:
    """A modelled usage of 1,234,567 uJ in all."""
    whole: dict[str, Any] = {
        "request_id": new_request_id(),
        "active_uj": 1_000_000,
        "held_uj": 200_000,
        "host_uj": 34_567,
        "low_uj": 617_283,
        "high_uj": 1_851_851,
        "tier": "class_average",
        "state": "provisional",
    }
    return Usage(**(whole | changes))


def an_answer(*, exposure: Literal["off", "rounded", "exact"] = "exact", **changes: Any) -> Answer:
    """Two rows of the tiny model, for 1.234567 J and 54,321 ng."""
    whole: dict[str, Any] = {
        "request_id": new_request_id(),
        "client_id": None,
        "model": "tiny",
        "version": "1",
        "outputs": (
            Tensor(name="label", datatype="BYTES", shape=(2,), data=("positive", "negative")),
            tensor_of("probabilities", np.array([[0.0, 0.25, 0.75], [0.5, 0.375, 0.125]], dtype=np.float32)),
        ),
        "tokens": 5,
        "decision": a_decision(),
        "usage": a_usage(),
        "emissions_ng": 54_321,
        "tenant": Tenant(tenant_id="acme", name="Acme", exposure=exposure),
        "cache": "miss",
        "times_ns": (("received", 1_000_000), ("accept", 1_500_000), ("model", 4_000_000)),
    }
    return Answer(**(whole | changes))


class FlakySpool(SpoolWriter):
    """A spool that refuses groups while `broken`, and calls `before` with each group that it takes, in its thread."""

    broken = False
    before: Callable[[Sequence[bytes]], object] = staticmethod(lambda bodies: None)

    def append(self, bodies: Sequence[bytes]) -> None:
        """As a spool, or as a spool on a full disk."""
        self.before(bodies)
        if self.broken:
            raise LedgerUnavailable("the disk is full")
        super().append(bodies)


class RememberingCache(AnswerCache):
    """A cache that shows the flights that it was given."""

    def __init__(self, models: Models) -> None:
        super().__init__(list(models))
        self.flights: list[Flight] = []

    def take_off(self, key: bytes, flight: Flight) -> None:
        """Keep it."""
        self.flights.append(flight)
        super().take_off(key, flight)


def a_gateway(
    config: Config, models: Models, folder: Path, clock: Clock, *, spool: SpoolWriter | None = None
) -> Gateway:
    """A whole gateway of one replica without listeners; batcher and recorder are not started."""
    batcher = a_batcher(models, clock)
    return Gateway(
        models=models,
        admission=Admission(
            auth=config.tenancy.auth,
            defaults=TenantDefaults(rate="10000/s", burst=10_000),  # type: ignore[arg-type]
            replicas=1,
            timeout_s=10.0,
            clock=clock,
        ),
        cache=AnswerCache(list(models)),
        router=Router(
            config=config,
            models=models,
            feed=(chain := grid_from(config, clock=clock).chain),
            read_both=chain.read_both,
            clock=clock,
            fingerprint=str(describe_host()["fingerprint"]),
        ),
        batcher=batcher,
        recorder=a_recorder(spool or SpoolWriter(folder / "spool", "gateway"), clock),
        observers=Observers(
            models=models,
            statistics=Statistics(clock=clock),
            telemetry=Telemetry(clock=clock, models=()),
            clock=clock,
        ),
        clock=clock,
    )


def a_text_tensor(*texts: str) -> Tensor:
    """The tensor `text`."""
    return Tensor(name="text", datatype="BYTES", shape=(len(texts),), data=texts)


def a_call(*texts: str, clock: Clock, **changes: Any) -> Call:
    """A call of the tiny model without a key."""
    whole: dict[str, Any] = {
        "model": "tiny",
        "version": "",
        "inputs": (a_text_tensor(*(texts or ("good day",))),),
        "outputs": (),
        "protocol": "http",
        "received_ns": clock.monotonic_ns(),
    }
    return Call(**(whole | changes))


def spooled(folder: Path) -> list[bytes]:
    """The bodies in a folder's spools."""
    return [
        frame.body for path in sorted(folder.glob("*.spool")) for frame in SpoolReader(path).frames() if frame.sequence
    ]


async def until(done: Callable[[], bool]) -> None:
    """Give other tasks and threads their turns until `done`, for at most 10 s."""
    for _ in range(10_000):
        if done():
            return
        await asyncio.sleep(0.001)
    raise TimeoutError("it did not come true within 10 s")
