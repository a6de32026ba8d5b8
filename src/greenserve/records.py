"""The records that cross files. Frozen; quantities carry their unit in the name; ledger quantities are integers."""

from collections.abc import Mapping
from dataclasses import field
from typing import TYPE_CHECKING, Literal

from greenserve.record import record

if TYPE_CHECKING:  # what meters import runs where nothing is installed
    import numpy as np
    import numpy.typing as npt

Tier = Literal["metered", "measured", "measured_raw", "modelled", "class_average", "simulated"]
TIERS: tuple[Tier, ...] = ("metered", "measured", "measured_raw", "modelled", "class_average", "simulated")
Policy = Literal["min-carbon", "balanced", "min-latency"]
Basis = Literal["direct", "lifecycle"]
Kind = Literal["average", "marginal"]
Scope = Literal["consumption", "production"]
Origin = Literal["observed", "estimated", "forecast", "annual", "recorded"]
LARGEST_MG_PER_KWH = 2_000_000
Protocol = Literal["http", "grpc", "openai"]
Exposure = Literal["off", "rounded", "exact"]
"""How much of energy and carbon a tenant's callers are shown: nothing, two digits, all."""


def weakest_tier(tiers: frozenset[Tier]) -> Tier:
    """The tier of a sum: the weakest of its parts. ValueError for no parts."""
    if not tiers:
        raise ValueError("the tier of nothing is not known")
    return max(tiers, key=TIERS.index)


@record(frozen=True, slots=True, eq=False)
class TensorItem:
    """One slice of a request along its batch axis: an array per input of the model, in their order, without that axis.

    `len` is the number of elements of all of them.
    """

    arrays: "tuple[npt.NDArray[np.generic], ...]"

    def __len__(self) -> int:
        return sum(array.size for array in self.arrays)

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """The arrays' shapes: items run together only where these agree."""
        return tuple(array.shape for array in self.arrays)


Item = tuple[int, ...] | TensorItem
"""What runs as one row of a batch: the token ids of a text, or a slice of a request's tensors."""


@record(frozen=True, slots=True, kw_only=True)
class Hints:
    """What a caller asks for on top of its tenant's rules; hints only narrow. None = not asked.

    `priority` is 1 (first), 2 or 3. `defer_until_us` [us UTC]: the answer may wait for a cleaner grid until then.
    """

    policy: Policy | None = None
    deadline_s: float | None = None
    min_quality: float | None = None
    regions: frozenset[str] | None = None
    variant: str | None = None
    no_store: bool = False
    priority: int = 2
    defer_until_us: int | None = None


@record(frozen=True, slots=True, kw_only=True)
class InferenceRequest:
    """One decoded call; `rows` holds its items, `outputs` the names asked for; times are monotonic [ns].

    `attempt` counts how often the gateway tried it before: what each attempt used has a ledger line of its own.
    """

    request_id: str
    model: str
    rows: tuple[Item, ...]
    outputs: tuple[str, ...]
    protocol: Protocol
    received_ns: int
    deadline_ns: int
    hints: Hints = field(default_factory=Hints)
    client_id: str | None = None
    attempt: int = 0

    def __post_init__(self) -> None:
        if not self.rows or not all(map(len, self.rows)):
            raise ValueError("a request holds at least one row, and a row at least one token or element")

    @property
    def tokens(self) -> int:
        """Tokens (or elements) of all rows, before padding."""
        return sum(map(len, self.rows))


@record(frozen=True, slots=True, kw_only=True)
class Tenant:
    """Who is accounted to, in which group (`org`), with the rules of its requests.

    None = the model's own objective, the configured rate, no limit of tokens [1/s] or of requests at once.
    """

    tenant_id: str
    name: str
    org: str | None = None
    quality_floor: float | None = None
    quality_mean: float | None = None
    policy: Policy | None = None
    regions: frozenset[str] | None = None
    exposure: Exposure = "rounded"
    rate_per_s: float | None = None
    burst: int | None = None
    tokens_per_s: float | None = None
    concurrency: int | None = None


@record(frozen=True, slots=True, kw_only=True)
class Hold:
    """What is set aside of one budget, in the ledger integer of its unit (ng, uJ, requests or tokens)."""

    budget_id: str
    unit: str
    amount: int


@record(frozen=True, slots=True, kw_only=True)
class Reservation:
    """A lease on budgets before the work starts; `degrade` asks routing for cheaper answers, 0..1.

    `holds` has one for each budget that the request counts in; `budget_id` and `amount` are the tightest one's.
    """

    budget_id: str | None
    amount: int
    degrade: float = 0.0
    holds: tuple[Hold, ...] = ()


@record(frozen=True, slots=True, kw_only=True)
class Admitted:
    """A request that may run: whose it is, under which key (and that key's project), with its budget reservation."""

    request: InferenceRequest
    tenant: Tenant
    key_id: str
    reservation: Reservation
    project: str | None = None


@record(frozen=True, slots=True, kw_only=True)
class Beaten:
    """A candidate that lost: its score parts [g] and why. Score is None where it was not admissible."""

    region: str
    variant: str
    verdict: str
    latency_s: float | None = None
    energy_j: float | None = None
    emissions_g: float | None = None
    score_g: float | None = None


@record(frozen=True, slots=True, kw_only=True)
class Decision:
    """The choice for one request and its reason; expectations are floats or unknown (None): [s], [J], [g]."""

    region: str
    zone: str
    variant: str
    reason: str
    latency_s: float | None
    energy_j: float | None
    emissions_g: float | None
    intensity: "IntensityReading | None"
    pue_milli: int
    emulated: bool
    flags: tuple[str, ...] = ()
    beaten: tuple[Beaten, ...] = ()


@record(frozen=True, slots=True, kw_only=True)
class Batch:
    """Rows that run together on one variant: texts padded to `padded_length` tokens, or tensors of equal shapes.

    `input_names` are the inputs of a tensor model in the order of its items' arrays; empty for texts.
    """

    batch_id: str
    variant: str
    rows: tuple[Item, ...]
    padded_length: int
    input_names: tuple[str, ...] = ()


@record(frozen=True, slots=True, kw_only=True)
class Span:
    """A batch's time on a device, monotonic [ns]; `cpu_ns` is the CPU time of the engine's threads in it."""

    batch_id: str
    variant: str
    device: str
    start_ns: int
    end_ns: int
    cpu_ns: int
    lengths: tuple[int, ...]
    padded_length: int

    def __post_init__(self) -> None:
        if self.end_ns <= self.start_ns or self.cpu_ns < 0:
            raise ValueError(f"a span ends after it starts and uses CPU time >= 0, got {self!r}")


@record(frozen=True, slots=True, kw_only=True)
class Reading:
    """A meter's cumulative counter [uJ] at a monotonic time [ns]; `static_uj` is the part that flows when idle.

    `busy_ns` is the cumulative CPU time of the device (all logical CPUs); None where the device counts none.
    """

    device: str
    energy_uj: int
    static_uj: int
    at_ns: int
    source: str
    tier: Tier
    busy_ns: int | None = None


@record(frozen=True, slots=True, kw_only=True)
class Interval:
    """The difference of two readings of a device over [start_ns, end_ns), monotonic [ns]."""

    device: str
    start_ns: int
    end_ns: int
    energy_uj: int
    static_uj: int
    tier: Tier
    source: str
    busy_ns: int | None = None

    def __post_init__(self) -> None:
        if self.end_ns <= self.start_ns or not 0 <= self.static_uj <= self.energy_uj:
            raise ValueError(f"an interval has a positive length and 0 <= static <= energy, got {self!r}")


@record(frozen=True, slots=True, kw_only=True)
class Usage:
    """A request's energy [uJ] by part, with 90 % bounds; idle and overhead are known per tenant-hour only (None)."""

    request_id: str
    active_uj: int
    held_uj: int
    host_uj: int
    low_uj: int
    high_uj: int
    tier: Tier
    state: Literal["provisional", "settled", "restated"]
    idle_uj: int | None = None
    overhead_uj: int | None = None

    @property
    def energy_uj(self) -> int:
        """What the request is charged: active + held + host [uJ]."""
        return self.active_uj + self.held_uj + self.host_uj


@record(frozen=True, slots=True, kw_only=True)
class IntensityReading:
    """A zone's grid intensity over [start_us, end_us) UTC, mgCO2e per kWh, with where it came from.

    `scope`: of what is consumed in the zone (imports in) or produced there; None where the source does not say.
    `model`: what made the value (an estimation method, a factor set with its digest). `observed_us`: start of the slot
    whose value this is, or when a forecast was made. `revision` counts how often a provider changed the slot's value,
    `raw_sha256` is the digest of the answer that it was read from. `level` is the step of the fallback chain (0 live ..
    4 annual) and `u_grid_bp` [1/100 %] the 90 % half width that goes with it. None = not known, never zero.
    `counterpart` is the same zone and moment in the other basis, with a level and an origin of its own.
    """

    zone: str
    start_us: int
    end_us: int
    mg_per_kwh: int
    basis: Basis
    kind: Kind
    origin: Origin
    provider: str
    retrieved_us: int
    scope: Scope | None = None
    model: str | None = None
    observed_us: int | None = None
    revision: int = 0
    raw_sha256: str | None = None
    level: int | None = None
    u_grid_bp: int | None = None
    counterpart: "IntensityReading | None" = None

    def __post_init__(self) -> None:
        if self.end_us <= self.start_us or not 0 <= self.mg_per_kwh <= LARGEST_MG_PER_KWH:
            raise ValueError(f"an intensity holds for a positive time and lies in 0..2,000,000 mg/kWh, got {self!r}")
        other = self.counterpart
        if other is not None and (
            (other.zone, other.kind) != (self.zone, self.kind)
            or other.basis == self.basis
            or other.counterpart is not None
        ):
            raise ValueError(f"a counterpart is of the same zone and kind in the other basis, got {self!r}")

    @property
    def age_us(self) -> int | None:
        """How much older than its slot the value is [us]: 0 for the slot's own, None where that is not told."""
        return None if self.observed_us is None else max(0, self.start_us - self.observed_us)


@record(frozen=True, slots=True, kw_only=True)
class Entry:
    """One append-only ledger line. `key` names its subject for ever: (kind, key, attempt, revision) is unique.

    `body` holds only strings, integers, booleans, None, lists and objects of these; `hour` counts from 1970 UTC.
    """

    kind: str
    key: str
    attempt: int
    revision: int
    tenant: str
    hour: int
    body: Mapping[str, object]


@record(frozen=True, slots=True, kw_only=True)
class Statement:
    """A tenant's period [start_us, end_us): the canonical document from which every format derives."""

    statement_id: str
    tenant: str
    start_us: int
    end_us: int
    document: Mapping[str, object]
