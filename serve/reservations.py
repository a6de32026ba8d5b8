"""What this replica has promised of each budget: set aside before the work, counted until the ledger holds it.

The balance of a budget is the ledger's. Beside it stand the reservations of requests under way, and what was recorded
since: a request's line is durable in this replica's spool before the writer has taken it in. The spool keeps its order,
so that one watched request that the ledger holds proves that all recorded before it are there too.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from greenserve.carbon.budgets import Budget, Verdict, judge
from greenserve.errors import BudgetClosed, GreenServeError
from greenserve.records import Exposure, Hold, Reservation

UNBOUND = Reservation(budget_id=None, amount=0)
GROUP_REQUESTS, MOST_GROUPS = 16, 64
"""How many requests one watched request stands for, while there are not too many groups to look for."""
CostBound = Callable[[], tuple[int, int]]
"""Tells [uJ, ng]."""


class _Group:
    """What was recorded of each budget, up to and with the request `last`."""

    __slots__ = ("amounts", "last", "requests")

    def __init__(self) -> None:
        self.amounts: defaultdict[str, int] = defaultdict(int)
        self.last, self.requests = "", 0

    def take(self, other: "_Group") -> None:
        """Become this group and the one after it."""
        for budget_id, amount in other.amounts.items():
            self.amounts[budget_id] += amount
        self.last, self.requests = other.last, self.requests + other.requests


class Reservations:
    """State: each budget's balance as last read, what is promised beside it, and what of that is recorded, in groups
    from the oldest to the newest."""

    def __init__(self, *, replicas: int) -> None:
        self.replicas = replicas
        self._used: Mapping[str, int] = {}
        self._promised: defaultdict[str, int] = defaultdict(int)
        self._recorded: deque[_Group] = deque()

    def __repr__(self) -> str:
        promised = {name: amount for name, amount in self._promised.items() if amount}
        return f"<Reservations beside the ledger: {promised}, {len(self._recorded)} groups recorded>"

    @property
    def watched(self) -> tuple[str, ...]:
        """The requests that the ledger is to be asked for, newest first: one that it holds stands for all before it."""
        return tuple(group.last for group in reversed(self._recorded))

    def used(self, budget_id: str) -> int:
        """A budget's balance as last read from the ledger, in its unit's integer."""
        return self._used.get(budget_id, 0)

    def promised(self, budget_id: str) -> int:
        """What this replica has promised of a budget beside its balance, in its unit's integer."""
        return self._promised.get(budget_id, 0)

    def refresh(self, used: Mapping[str, int], *, confirmed: str | None) -> None:
        """Take the balances that the ledger says now, and the watched request that it held before they were read."""
        self._used = used
        if confirmed is None or confirmed not in self.watched:
            return
        held = ""
        while held != confirmed:
            group = self._recorded.popleft()
            held = group.last
            for budget_id, amount in group.amounts.items():
                self._promised[budget_id] -= amount

    def reserve(
        self,
        budgets: Sequence[Budget],
        *,
        upper: CostBound,
        least: CostBound,
        tokens: int,
        now_us: int,
        exposure: Exposure = "exact",
    ) -> Reservation:
        """Set aside what a request may cost of every budget, or raise the refusal that takes longest to heal.

        The refusal tells as much of the budget's use as `exposure` allows.
        A `degrade` budget refuses only where not even the cheapest allowed answer fits: before that it asks for it.
        Each replica takes for granted that the others promised as much as itself.
        """
        holds, refusals = [], []
        tightest = UNBOUND
        dearest, cheapest = partial(_amount, upper, tokens), partial(_amount, least, tokens)
        for budget in budgets:
            estimate, degrade, refusal = self._judge(
                budget, dearest, cheapest, partial(judge, now_us=now_us, exposure=exposure)
            )
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
        group = self._newest()
        for hold in reservation.holds:
            by_unit = {"J": energy_uj, "gCO2e": hold.amount if ng is None else ng, "requests": 1, "tokens": tokens}
            self._promised[hold.budget_id] += by_unit[hold.unit]
            group.amounts[hold.budget_id] += by_unit[hold.unit]
        group.last = request_id
        group.requests += 1

    def _newest(self) -> _Group:
        """The group that the next request counts in; where the ledger falls behind, the last two become one."""
        groups = self._recorded
        if not groups or groups[-1].requests >= GROUP_REQUESTS:
            if len(groups) == MOST_GROUPS:
                last = groups.pop()
                groups[-1].take(last)
            groups.append(_Group())
        return groups[-1]

    def _judge(
        self,
        budget: Budget,
        dearest: Callable[[str], int],
        cheapest: Callable[[str], int],
        judged: Callable[[Budget, int, int, int], Verdict],
    ) -> tuple[int, float, GreenServeError | None]:
        estimate = dearest(budget.unit)
        used, own = self._used.get(budget.budget_id, 0), self._promised[budget.budget_id]
        verdict = judged(budget, used, own * self.replicas, estimate)
        if budget.mode != "degrade":
            return estimate, 0.0, verdict.refusal
        if verdict.refusal is None:
            # What the others may have promised hastens towards cheaper answers, but is no reason to begin with them:
            # it is counted anew with every look at the ledger, and answers would go back and forth.
            begun = judged(budget, used, own, estimate).degrade > 0
            return estimate, verdict.degrade if begun else 0.0, None
        estimate = cheapest(budget.unit)
        return estimate, 1.0, judged(budget, used, own * self.replicas, estimate).refusal


def _amount(cost: CostBound, tokens: int, unit: str) -> int:
    if unit == "requests":
        return 1
    if unit == "tokens":
        return tokens
    energy_uj, ng = cost()
    return energy_uj if unit == "J" else ng
