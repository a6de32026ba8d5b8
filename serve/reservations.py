"""What this replica has promised of each budget: set aside before the work, counted until the ledger holds it.

The balance of a budget is the ledger's. Beside it stand the reservations of requests under way, and what was recorded
since: a request's line is durable in this replica's spool before the writer has taken it in. The spool keeps its order,
so that one watched request that the ledger holds proves that all recorded before it are there too.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from greenserve.carbon.budgets import Budget, judge
from greenserve.errors import BudgetClosed, GreenServeError
from greenserve.records import Hold, Reservation

UNBOUND = Reservation(budget_id=None, amount=0)
CostBound = Callable[[], tuple[int, int]]
"""Tells [uJ, ng]."""


class Reservations:
    """State: each budget's balance as last read, what is promised beside it, and the two groups of recorded amounts:
    up to the watched request, and after it."""

    def __init__(self, *, replicas: int) -> None:
        self.replicas = replicas
        self.watched: str | None = None
        self._used: Mapping[str, int] = {}
        self._promised: defaultdict[str, int] = defaultdict(int)
        self._before: defaultdict[str, int] = defaultdict(int)
        self._after: defaultdict[str, int] = defaultdict(int)
        self._newest: str | None = None

    def __repr__(self) -> str:
        promised = {name: amount for name, amount in self._promised.items() if amount}
        return f"<Reservations beside the ledger: {promised}, watching {self.watched}>"

    def refresh(self, used: Mapping[str, int], *, confirmed: str | None) -> None:
        """Take the balances that the ledger says now, and that it held the request `confirmed` when they were read."""
        self._used = used
        if self.watched is not None and confirmed != self.watched:
            return
        for budget_id, amount in self._before.items():
            self._promised[budget_id] -= amount
        self._before, self._after = self._after, defaultdict(int)
        self.watched, self._newest = self._newest, None

    def reserve(
        self, budgets: Sequence[Budget], *, upper: CostBound, least: CostBound, tokens: int, now_us: int
    ) -> Reservation:
        """Set aside what a request may cost of every budget, or raise the refusal that takes longest to heal.

        A `degrade` budget refuses only where not even the cheapest allowed answer fits: before that it asks for it.
        Each replica takes for granted that the others promised as much as itself.
        """
        holds, refusals = [], []
        tightest = UNBOUND
        dearest, cheapest = partial(_amount, upper, tokens), partial(_amount, least, tokens)
        for budget in budgets:
            estimate, degrade, refusal = self._judge(budget, dearest, cheapest, now_us)
            if refusal is not None:
                refusals.append(refusal)
                continue
            holds.append(Hold(budget_id=budget.budget_id, unit=budget.unit, amount=estimate))
            if tightest.budget_id is None or degrade > tightest.degrade:
                tightest = Reservation(budget_id=budget.budget_id, amount=estimate, degrade=degrade)
        if refusals:
            raise max(refusals, key=lambda one: (isinstance(one, BudgetClosed), one.retry_after_s or 0))
        for hold in holds:
            self._promised[hold.budget_id] += hold.amount
        return Reservation(
            budget_id=tightest.budget_id, amount=tightest.amount, degrade=tightest.degrade, holds=tuple(holds)
        )

    def release(self, reservation: Reservation) -> None:
        """Give back what was set aside."""
        for hold in reservation.holds:
            self._promised[hold.budget_id] -= hold.amount

    def settle(self, reservation: Reservation, request_id: str, *, energy_uj: int, ng: int | None, tokens: int) -> None:
        """Count what was recorded [uJ, ng] until the ledger holds it; unknown emissions as much as was set aside."""
        if not reservation.holds:
            return
        for hold in reservation.holds:
            by_unit = {"J": energy_uj, "gCO2e": hold.amount if ng is None else ng, "requests": 1, "tokens": tokens}
            self._promised[hold.budget_id] += by_unit[hold.unit]
            self._after[hold.budget_id] += by_unit[hold.unit]
        self._newest = request_id

    def _judge(
        self, budget: Budget, dearest: Callable[[str], int], cheapest: Callable[[str], int], now_us: int
    ) -> tuple[int, float, GreenServeError | None]:
        estimate = dearest(budget.unit)
        used = self._used.get(budget.budget_id, 0)
        reserved = self._promised[budget.budget_id] * self.replicas
        verdict = judge(budget, used, reserved, estimate, now_us)
        if verdict.refusal is None or budget.mode != "degrade":
            return estimate, verdict.degrade, verdict.refusal
        estimate = cheapest(budget.unit)
        return estimate, 1.0, judge(budget, used, reserved, estimate, now_us).refusal


def _amount(cost: CostBound, tokens: int, unit: str) -> int:
    if unit == "requests":
        return 1
    if unit == "tokens":
        return tokens
    energy_uj, ng = cost()
    return energy_uj if unit == "J" else ng
