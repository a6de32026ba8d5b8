"""A gateway replica within the test's process, on echo models whose engines remember every row that they ran."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from greenserve.carbon.ledger.sqlite import SqliteLedger
from greenserve.carbon.ledger.tenancy import TenancyStore
from greenserve.clock import SystemClock
from greenserve.config import Config
from greenserve.manifest import Manifest, Variant
from greenserve.ports import Arrays, Clock, Engine
from greenserve.records import Batch, Span, TensorItem
from greenserve.serve.engines.pick import engine_for
from greenserve.serve.models import EngineFactory
from greenserve.serve.replica import GatewayReplica
from tests.faults.echoes import OBJECTIVE_S
from tests.gateway_process import free_ports
from tests.serve.building import a_config


class CountingEngine:
    """An echo engine that remembers its batches. State: the first number of each row, by batch."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.batches: list[list[int]] = []

    def load(self) -> None:
        """As the engine."""
        self._engine.load()

    def run(self, batch: Batch) -> tuple[Arrays, Span]:
        """As the engine, after a note of what it is given."""
        self.batches.append([int(row.arrays[0][0]) for row in batch.rows if isinstance(row, TensorItem)])
        return self._engine.run(batch)

    def describe(self) -> Mapping[str, object]:
        """As the engine."""
        return self._engine.describe()


class CountingEngines:
    """One such engine per model."""

    def __init__(self) -> None:
        self.by_model: dict[str, CountingEngine] = {}

    def __call__(self, manifest: Manifest, variant: Variant) -> Engine:
        self.by_model[manifest.name] = CountingEngine(engine_for(manifest, variant))
        return self.by_model[manifest.name]

    def numbers(self, model: str) -> list[int]:
        """The first number of every row that the model ran, warm-up included."""
        return [number for batch in self.by_model[model].batches for number in batch]


def an_echo_config(manifests: Mapping[str, Path], folder: Path, **changes: Any) -> Config:
    """Echo models with a cache for nobody; callers need no key unless `changes` say so."""
    http_port, grpc_port = free_ports(2)
    models = [
        {
            "name": name,
            "manifest": manifest,
            "objective": {"p95": f"{OBJECTIVE_S * 1000:.0f}ms", "quality_floor": 0.5},
            "cache": {"enabled": False},
        }
        for name, manifest in manifests.items()
    ]
    server = {
        "replicas": 1,
        "http": {"port": http_port},
        "grpc": {"port": grpc_port},
        "limits": {"max_queued": 512, "max_items": 64, "request_timeout": "10s"},
    }
    tenancy = {"auth": "anonymous", "defaults": {"rate": "100000/s", "burst": 100_000}}
    return a_config(
        next(iter(manifests.values())), folder, **({"server": server, "models": models, "tenancy": tenancy} | changes)
    )


@contextlib.contextmanager
def a_counting_replica(
    config: Config, engines: EngineFactory, run_folder: Path, *, clock: Clock | None = None
) -> Iterator[GatewayReplica]:
    """A replica that takes requests until it is left."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("XDG_RUNTIME_DIR", str(run_folder))
        replica = GatewayReplica(config=config, run_id="run", name="only", cores=2, engine_for=engines, clock=clock)
        replica.start()
        try:
            yield replica
        finally:
            replica.stop()


@contextlib.contextmanager
def tenancy_of(config: Config) -> Iterator[TenancyStore]:
    """Tenants, keys and budgets of a configuration's ledger."""
    ledger = SqliteLedger(config.ledger.path)
    try:
        yield TenancyStore(ledger, SystemClock())
    finally:
        ledger.close()
