"""What a gateway replica remembers between picks."""

from collections.abc import Mapping

from greenserve.records import Decision
from greenserve.routing.records import Features, PoolState, Snapshot, promise_of

Q_REF = 5.0


class RoutingState:
    """Quality debts, pools and prices of one gateway replica.

    State: `pools` (changed by `observe`, as batches start and end), quality debts by tenant and model (changed by
    `apply` after each pick, or by `answered`, cleared by `start_window`), refit prices (changed by `set_nu`). `pick`
    changes nothing.
    """

    def __init__(self, *, pools: Mapping[str, PoolState] | None = None) -> None:
        self._pools = dict(pools or {})
        self._debts: dict[tuple[str, str], float] = {}
        self._nu_refit: dict[tuple[str, str], float] = {}

    def __repr__(self) -> str:
        return f"<RoutingState {len(self._pools)} pools, {len(self._debts)} quality debts>"

    @property
    def pools(self) -> Mapping[str, PoolState]:
        """The pools that were observed; any other counts as idle."""
        return self._pools

    def observe(self, pool: str, state: PoolState) -> None:
        """Replace what is known of a pool."""
        self._pools[pool] = state

    def debt(self, tenant: str, model: str) -> float:
        """Quality owed [quality x requests]: how far the answers so far lie below their mean target, summed."""
        return self._debts.get((tenant, model), 0.0)

    def nu(self, tenant: str, model: str, slope: float) -> float:
        """The price of quality [g per unit and request]: the refit one, moved by the debt; never below 0."""
        refit = self._nu_refit.get((tenant, model), 0.0)
        return max(0.0, refit + slope * self.debt(tenant, model) / Q_REF)

    def set_nu(self, tenant: str, model: str, nu_g: float) -> None:
        """Set the price of quality [g per unit and request] that a plan or a test found."""
        self._nu_refit[tenant, model] = nu_g

    def apply(self, decision: Decision, *, snapshot: Snapshot, features: Features) -> None:
        """Account for a pick that is carried out: the debt grows by the target less the arc's quality."""
        quality = next(
            arc.quality for arc in snapshot.arcs if arc.variant == decision.variant and arc.region == decision.region
        )
        self.answered(quality, snapshot=snapshot, features=features)

    def answered(self, quality: float, *, snapshot: Snapshot, features: Features) -> None:
        """Account for an answer of that quality, wherever it comes from: kept answers are answers too."""
        key = features.tenant, snapshot.model
        self._debts[key] = self._debts.get(key, 0.0) + promise_of(snapshot.objective, features).mean - quality

    def start_window(self) -> None:
        """Forget all debts: a new accounting window (UTC day) promises its own mean."""
        self._debts.clear()
