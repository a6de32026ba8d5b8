"""What routing decides on: arcs, objectives, snapshots, pools, features. Frozen; the unit stands in the name."""

from collections.abc import Mapping
from typing import NamedTuple

from greenserve.record import record
from greenserve.records import Admitted, IntensityReading, Policy, Tier

Coefficients = tuple[float, float, float, float]


@record(frozen=True, slots=True, kw_only=True)
class Region:
    """A region as routing sees it: grid zone, PUE [1/1000], 95 % round trip [s] (0 when local)."""

    name: str
    zone: str
    pue_milli: int
    emulated: bool = False
    rtt_s: float = 0.0

    def __post_init__(self) -> None:
        if self.pue_milli < 1000 or self.rtt_s < 0:
            raise ValueError(f"a region has PUE >= 1 and a round trip >= 0 s, got {self!r}")


@record(frozen=True, slots=True, kw_only=True)
class Arc:
    """One choice: a variant in a region.

    `quality` is the proven lower bound, 0..1; `theta` [s] and `eta` [J, dynamic] are the batch's coefficients over
    [1, b, bL, bL^2], None where unknown; `pool` names the replicas that run it; `prior`: measured on another host.
    """

    region: str
    zone: str
    variant: str
    quality: float
    theta: Coefficients | None
    eta: Coefficients | None
    q99: float
    max_batch: int
    pue_milli: int
    pool: str
    emulated: bool = False
    rtt_s: float = 0.0
    tier: Tier | None = None
    prior: bool = False

    def __post_init__(self) -> None:
        coefficients = (*(self.theta or ()), *(self.eta or ()))
        if self.q99 < 1 or self.max_batch < 1 or any(value < 0 for value in coefficients):
            raise ValueError(f"an arc has q99 >= 1, max_batch >= 1 and coefficients >= 0, got {self!r}")
        if self.theta is None and self.eta is not None:
            raise ValueError(f"an arc whose time is unknown has no known energy either, got {self!r}")

    @property
    def name(self) -> str:
        """`region/variant`, as people and the Route header write it."""
        return f"{self.region}/{self.variant}"


@record(frozen=True, slots=True, kw_only=True)
class Objective:
    """A model's promise: latency [s], floor of every answer, mean of a window (None: the floor), policy, residency."""

    latency_s: float
    quality_floor: float = 0.0
    quality_mean: float | None = None
    policy: Policy = "balanced"
    regions: frozenset[str] | None = None

    def __post_init__(self) -> None:
        if self.latency_s <= 0:
            raise ValueError(f"an objective's latency is over 0 s, got {self.latency_s}")


@record(frozen=True, slots=True, kw_only=True, eq=False)
class Snapshot:
    """What holds for all requests of a model until the next one replaces it; compared by identity.

    `readings` holds one intensity per zone, None where no source knows it; `reference_length` [tokens] is the usual
    padded length, the scale of the small constants; `digest` is the SHA-256 of everything that a pick depends on.
    """

    model: str
    version: int
    home: str
    arcs: tuple[Arc, ...]
    readings: Mapping[str, IntensityReading | None]
    objective: Objective
    reference_length: int
    digest: str


@record(frozen=True, slots=True, kw_only=True)
class PoolState:
    """A pool now: queued work and rest of the running batch [s], expected batch [requests], price of its time [g/s]."""

    backlog_s: float = 0.0
    residual_s: float = 0.0
    batch_expected: float = 1.0
    mu_g_per_s: float = 0.0


IDLE = PoolState()


@record(frozen=True, slots=True, kw_only=True)
class Features:
    """What routing knows of one request.

    `length` is the padded length [tokens], `deadline_ns` monotonic, `size_bytes` what would travel to another region.
    None = the model's objective holds. `variant` pins one; `degrade` 0..1 is how far a budget is overdrawn;
    `brownout` asks for the fastest answer over the floor, since more arrives than can be answered otherwise.
    """

    tenant: str
    length: int
    deadline_ns: int
    rows: int = 1
    size_bytes: int = 0
    quality_floor: float | None = None
    quality_mean: float | None = None
    min_quality: float | None = None
    policy: Policy | None = None
    tenant_regions: frozenset[str] | None = None
    regions: frozenset[str] | None = None
    variant: str | None = None
    degrade: float = 0.0
    brownout: bool = False


class Promise(NamedTuple):
    """Objective, tenant and hints in one: what this answer must meet. Hints only narrow."""

    floor: float
    mean: float
    policy: Policy
    regions: frozenset[str] | None
    variant: str | None
    latency_s: float
    degrade: float = 0.0
    brownout: bool = False


def features_of(admitted: Admitted, *, length: int, size_bytes: int = 0, brownout: bool = False) -> Features:
    """The features of an admitted request whose rows are padded to `length` tokens."""
    request, tenant = admitted.request, admitted.tenant
    hints = request.hints
    return Features(
        tenant=tenant.tenant_id,
        length=length,
        deadline_ns=request.deadline_ns,
        rows=len(request.rows),
        size_bytes=size_bytes,
        quality_floor=tenant.quality_floor,
        quality_mean=tenant.quality_mean,
        min_quality=hints.min_quality,
        policy=hints.policy or tenant.policy,
        tenant_regions=tenant.regions,
        regions=hints.regions,
        variant=hints.variant,
        degrade=admitted.reservation.degrade,
        brownout=brownout,
    )


def promise_of(objective: Objective, features: Features) -> Promise:
    """What the answer must meet; a budget near its end lowers the mean to the floor, a spent one takes least carbon."""
    floor = objective.quality_floor if features.quality_floor is None else features.quality_floor
    mean = objective.quality_mean if features.quality_mean is None else features.quality_mean
    if features.min_quality is not None:
        floor = max(floor, features.min_quality)
    mean = floor if mean is None else max(floor, mean)
    degrade = min(1.0, max(0.0, features.degrade))
    regions = objective.regions
    for narrower in (features.tenant_regions, features.regions):
        if narrower is not None:
            regions = narrower if regions is None else regions & narrower
    policy = features.policy or objective.policy
    if features.brownout:
        mean, policy = floor, "min-latency"
    return Promise(
        floor=floor,
        mean=mean - (mean - floor) * degrade,
        policy="min-carbon" if degrade >= 1.0 else policy,
        regions=regions,
        variant=features.variant,
        latency_s=objective.latency_s,
        degrade=degrade,
        brownout=features.brownout,
    )
