"""What each model did in this replica, in the terms of the Open Inference Protocol's statistics extension.

State: counters per (model, version, variant), changed by `seen`, `failed` and `ran` on the listeners' loop alone.
They start at zero with the replica and are for its operators' eyes; what requests cost stands in the ledger.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from greenserve.ports import Clock
from greenserve.serve.call import Answer

KINDS = (
    "success",
    "fail",
    "queue",
    "compute_input",
    "compute_infer",
    "compute_output",
    "cache_hit",
    "cache_miss",
)
KIND_OF_STAGE = MappingProxyType(
    {
        "admit": "compute_input",  # it ends with the tokens of the text
        "queue": "queue",
        "model": "compute_infer",
        "record": "compute_output",
    }
)
KIND_OF_LOOKUP = MappingProxyType({"hit": "cache_hit", "miss": "cache_miss", "joined": "cache_miss"})
US_PER_MS = 1_000
Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Duration:
    """How often something happened, and how long that took in all [ns]."""

    count: int = 0
    ns: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelStatistics:
    """A model's counters since this replica started; `last_inference_ms` is Unix time [ms], None: never asked.

    `inference_count` counts items that a model run answered (not the cache), `execution_count` runs; `batches` maps
    a batch size to its runs. `durations` has every one of KINDS.
    """

    model: str
    version: str
    last_inference_ms: int | None
    inference_count: int
    execution_count: int
    durations: Mapping[str, Duration]
    batches: Mapping[int, Duration]


@dataclass(slots=True)
class _Counters:
    last_us: int = 0
    inferences: int = 0
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    times_ns: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    batches: dict[int, list[int]] = field(default_factory=dict)


class Statistics:
    """Counters of one replica, by model, version and variant."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._counters: dict[Key, _Counters] = {}

    def __repr__(self) -> str:
        return f"<Statistics of {len(self._counters)} variants>"

    def seen(self, answer: Answer) -> None:
        """Count an answered request by the ends of its stages."""
        counters = self._of(answer.model, answer.version, answer.decision.variant)
        counts, times_ns = counters.counts, counters.times_ns
        stages = answer.times_ns
        first_ns = before_ns = stages[0][1]
        for stage, at_ns in stages:
            kind = KIND_OF_LOOKUP.get(answer.cache) if stage == "cache" else KIND_OF_STAGE.get(stage)
            if kind is not None:
                counts[kind] += 1
                times_ns[kind] += at_ns - before_ns
            before_ns = at_ns
        counts["success"] += 1
        times_ns["success"] += before_ns - first_ns
        if answer.cache != "hit":
            counters.inferences += answer.outputs[0].shape[0] if answer.outputs else 1
        counters.last_us = self._clock.unix_us()

    def failed(self, model: str, version: str, *, after_ns: int) -> None:
        """Count a request to a served model that was refused or failed `after_ns` [ns] after it was received."""
        counters = self._of(model, version, "")
        counters.counts["fail"] += 1
        counters.times_ns["fail"] += after_ns

    def ran(self, model: str, version: str, variant: str, *, items: int, took_ns: int) -> None:
        """Count one run of a variant over `items` items that took `took_ns` [ns]."""
        batch = self._of(model, version, variant).batches.setdefault(items, [0, 0])
        batch[0] += 1
        batch[1] += took_ns

    def of(self, model: str, version: str) -> ModelStatistics:
        """The counters of a model over all its variants; zeros where it was never asked."""
        return _folded(
            model, version, [counters for key, counters in self._counters.items() if key[:2] == (model, version)]
        )

    def by_variant(self, model: str, version: str) -> dict[str, ModelStatistics]:
        """The same for each variant that answered or ran."""
        return {
            key[2]: _folded(model, version, [counters])
            for key, counters in sorted(self._counters.items())
            if key[:2] == (model, version) and key[2]
        }

    def _of(self, model: str, version: str, variant: str) -> _Counters:
        key = (model, version, variant)
        counters = self._counters.get(key)
        if counters is None:
            counters = self._counters[key] = _Counters()
        return counters


def _folded(model: str, version: str, parts: Iterable[_Counters]) -> ModelStatistics:
    parts = list(parts)
    batches: dict[int, Duration] = {}
    for part in parts:
        for size, (count, ns) in part.batches.items():
            so_far = batches.get(size, Duration())
            batches[size] = Duration(count=so_far.count + count, ns=so_far.ns + ns)
    last_us = max((part.last_us for part in parts), default=0)
    return ModelStatistics(
        model=model,
        version=version,
        last_inference_ms=last_us // US_PER_MS if last_us else None,
        inference_count=sum(part.inferences for part in parts),
        execution_count=sum(batch.count for batch in batches.values()),
        durations={
            kind: Duration(
                count=sum(part.counts[kind] for part in parts),
                ns=sum(part.times_ns[kind] for part in parts),
            )
            for kind in KINDS
        },
        batches=dict(sorted(batches.items())),
    )
