"""Where models run: in the gateway's own process, or on replicas of their own; and the batchers that follow from it."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol

from greenserve.carbon.power_model import CpuPower
from greenserve.config import Config
from greenserve.errors import ModelUnknown
from greenserve.ports import Clock
from greenserve.serve.batching.batcher import Batcher
from greenserve.serve.batching.lane import LaneSettings
from greenserve.serve.batching.settings import Options, SpanSeen, lanes_of
from greenserve.serve.models import EngineFactory, Models, ServedModel, load_model
from greenserve.serve.remote import Described, RemoteExecutor, credits


class Reach(Protocol):
    """The way to the replicas that hold a remote model's engines."""

    async def run(self, frame: bytes) -> bytes:
        """The answer of one of them to a batch; raises ReplicaGone or NoRoom."""

    def describe(self) -> bytes:
        """What one of them says of itself; blocks until there is one."""


Reaches = Mapping[str, Reach]
NOWHERE: Reaches = MappingProxyType({})
HERE = ""
"""The name of the queue of the models that run here; a model's name is never empty."""


class ModelLoader:
    """Loads the configured models, each where it runs."""

    def __init__(
        self, config: Config, *, engine_for: EngineFactory, fingerprint: str, reaches: Reaches = NOWHERE
    ) -> None:
        self._settings = {model.name: model for model in config.models}
        self._max_items = config.server.limits.max_items
        self._engine_for = engine_for
        self._fingerprint = fingerprint
        self._reaches = reaches

    def all(self) -> Models:
        """All of them; blocks. Raises ManifestInvalid, or DependencyMissing for a model without a variant."""
        return Models([self.load(name) for name in self._settings])

    def load(self, name: str) -> ServedModel:
        """The model as its manifest is now; of a remote one everything but the engines. Blocks; raises as `all`."""
        settings = self._settings.get(name)
        if settings is None:
            raise ModelUnknown(f"no model {name!r:.80} is configured; there are {', '.join(sorted(self._settings))}")
        reach = self._reaches.get(name)
        if reach is None:
            return load_model(settings, self._engine_for, self._fingerprint, max_items=self._max_items)
        described = Described(reach.describe())
        return load_model(
            settings, described.engine_for, described.fingerprint, max_items=self._max_items, warm_up=False
        )


class Batchers:
    """The batcher of the models that run here, and one for each that runs elsewhere: each has an executor of its own.

    State: the lanes' settings, which the batchers read, and the executors' slots; changed on the event loop alone.
    """

    def __init__(
        self,
        models: Models,
        *,
        clock: Clock,
        node: str,
        max_queued: int,
        share_milli: int,
        power: CpuPower,
        reaches: Reaches = NOWHERE,
        on_span: SpanSeen | None = None,
    ) -> None:
        self._on_span = on_span
        self._lanes: dict[str, LaneSettings] = lanes_of(models)
        self._models = models
        self._clock = clock
        self._max_queued = max_queued
        self._share_milli = share_milli
        self._power = power
        self._executors = {
            name: RemoteExecutor(reach.run, slots=1, node=node, clock=clock) for name, reach in reaches.items()
        }
        self.inline = self._batcher(None)
        self.remote = {name: self._batcher(executor) for name, executor in self._executors.items()}

    def __repr__(self) -> str:
        return f"<Batchers inline {self.inline!r}, remote {self.remote!r}>"

    @property
    def queued(self) -> int:
        """Items that wait."""
        return sum(batcher.queued for batcher in self._all)

    @property
    def loop_errors(self) -> int:
        """Faults that the batching tasks survived."""
        return sum(batcher.loop_errors for batcher in self._all)

    def grid(self, now_mg_per_kwh: float | None, mean_mg_per_kwh: float | None) -> None:
        """The home grid's intensity [mg/kWh] and its 24 h mean: dirtier hours wait longer for company."""
        for batcher in self._all:
            for key in batcher.backlog():
                batcher.grid(key, now_mg_per_kwh=now_mg_per_kwh, mean_mg_per_kwh=mean_mg_per_kwh)

    def queue_of(self, model: str) -> str | None:
        """The queue that a model's items wait in: its own, or the one of all that run here; None for no such model."""
        if model in self.remote:
            return model
        return HERE if self._models.get(model) is not None else None

    def room(self, now_ns: int, queue: str | None) -> float:
        """How many more items a queue should get (now [monotonic ns]); None: the fullest of them."""
        if queue is None:
            return min([batcher.policy.room(now_ns) for batcher in self._all])
        return self.remote.get(queue, self.inline).policy.room(now_ns)

    def backlog(self) -> dict[str, int]:
        """Items that wait, by model/variant."""
        return {key: items for batcher in self._all for key, items in batcher.backlog().items()}

    def start(self) -> None:
        """Begin to cut batches on the running loop."""
        for batcher in self._all:
            batcher.start()

    async def close(self) -> None:
        """Refuse new work, finish what waits."""
        for batcher in self._all:
            await batcher.close()

    def findings(self) -> list[str]:
        """What is wrong with the engines here and with any batching task; empty = healthy. Safe from other threads.

        A remote replica that hangs or fails finds that itself and is replaced (variant_replica.py). This gateway only
        leaves out what fails there, and tries it again: to be replaced would not mend it.
        """
        ended = [f"the batching task of {name} has ended" for name, each in self.remote.items() if not each.alive]
        return self.inline.findings() + ended

    def share(self, *, gateways: int, replicas: Mapping[str, int]) -> None:
        """So many gateways send work to so many replicas of each remote model now."""
        for name, executor in self._executors.items():
            count = replicas.get(name, 1)
            executor.slots = credits(replicas=count, gateways=gateways)
            self.remote[name].policy.executors = count / gateways

    def weigh(self, weights: Mapping[str, float]) -> None:
        """Tenants' parts of a crowded queue, 1 for those that are not named."""
        for batcher in self._all:
            batcher.policy.weights = weights

    def swapped(self, old: ServedModel, fresh: ServedModel) -> None:
        """A model was replaced: its variants are batched as the new one says, and are healthy until they fail."""
        self._lanes.update(lanes_of(Models([fresh])))
        batcher = self.remote.get(fresh.name, self.inline)
        digests = {served.key: served.variant.digest for served in fresh.variants.values()}
        for served in (*old.variants.values(), *fresh.variants.values()):
            batcher.healed(served.key, digests.get(served.key))

    @property
    def _all(self) -> tuple[Batcher, ...]:
        return (self.inline, *self.remote.values())

    def _batcher(self, executor: RemoteExecutor | None) -> Batcher:
        served = [variant for model in self._models for variant in model.variants.values()]
        return Batcher(
            clock=self._clock,
            buckets=sorted({edge for model in self._models for edge in model.buckets}),
            max_batch={variant.key: variant.max_batch for variant in served},
            max_queued=self._max_queued,
            share_milli=self._share_milli,
            options=Options(lanes=self._lanes, power=self._power, executor=executor, on_span=self._on_span),
        )
