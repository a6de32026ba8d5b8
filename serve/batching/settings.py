"""How the batcher is set up for the models that are served."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from greenserve.carbon.power_model import CpuPower
from greenserve.records import Span
from greenserve.serve.batching.cost import CostModel
from greenserve.serve.batching.execute import Executor
from greenserve.serve.batching.lane import Lane, LaneSettings
from greenserve.serve.models import Models, ServedVariant

SpanSeen = Callable[[str, Span, float | None], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a batcher may be told beyond its queue: all has a default.

    `lanes` by model/variant; `power` estimates the joules of a span from its CPU time (None: energy stays unknown, and
    the profile's energy stands); `executor` runs the batches (None: a thread of this process); `on_span` is
    called once per executed span with its model/variant and predicted time [s]; `retry_s` after a trial that failed an
    unhealthy variant is tried again [s].
    """

    lanes: Mapping[str, LaneSettings] = field(default_factory=dict)
    power: CpuPower | None = None
    executor: Executor | None = None
    on_span: SpanSeen | None = None
    retry_s: float = 30.0


def lanes_of(models: Models) -> dict[str, LaneSettings]:
    """Each served variant's lane: its model's buckets, objective, class and longest wait, its own largest batch."""
    lanes: dict[str, LaneSettings] = {}
    for model in models:
        batching = model.settings.batching
        for served in model.variants.values():
            lanes[served.key] = LaneSettings(
                buckets=model.buckets,
                max_batch=served.max_batch,
                slo_s=model.settings.objective.p95_s,
                max_wait_s=None if batching.max_wait_s == "auto" else batching.max_wait_s,
                patience=batching.service_class,
            )
    return lanes


def lane_of(served: ServedVariant, settings: LaneSettings) -> Lane:
    """A new lane whose costs start from the variant's profile of this host; without one they start unknown."""
    profile = served.profile
    cost = CostModel(
        seconds=profile.t_s if profile else None,
        joules=profile.e_dynamic_j if profile else None,
        q=profile.q99 if profile else None,
        buckets=settings.buckets,
    )
    return Lane(served.key, settings, cost)
