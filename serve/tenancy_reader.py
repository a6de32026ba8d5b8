"""What admission needs of the ledger, read anew twice a second: tenants, keys, budgets, and the budgets' balances.

State: the last snapshot, and which budgets have passed their threshold; `read` runs in one thread at a time.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from greenserve.carbon.budgets import Budget, format_amount
from greenserve.carbon.ledger.book import SqlLedger
from greenserve.carbon.ledger.tenancy import TenancyStore
from greenserve.carbon.tenancy import Tenancy
from greenserve.ports import Clock

log = logging.getLogger("greenserve.tenancy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fresh:
    """The ledger's word at one moment: who may do what, each budget's use by its id, and the newest watched request
    that is held (None: none yet)."""

    tenancy: Tenancy
    used: Mapping[str, int]
    confirmed: str | None


class TenancyReader:
    """Reads a ledger for `Admission.refresh`; may run beside the event loop."""

    def __init__(self, ledger: SqlLedger, clock: Clock) -> None:
        self._ledger, self._clock = ledger, clock
        self._store = TenancyStore(ledger, clock)
        self._tenancy: Tenancy | None = None
        self._passed: set[str] = set()

    def read(self, watched: Sequence[str]) -> Fresh:
        """Everything at one moment; `watched` is `Admission.watched`. LedgerUnavailable where it cannot be read."""
        # Before the balances: what is held now is in balances that are read later.
        confirmed = next(filter(self._ledger.holds_usage, watched), None)
        if self._tenancy is None or self._store.revision() != self._tenancy.revision:
            self._tenancy = self._store.snapshot()
        budgets = [budget for attached in self._tenancy.budgets.values() for budget in attached]
        now_us = self._clock.unix_us()
        used = self._ledger.balances(budgets, now_us) if budgets else {}
        for budget in budgets:
            self._tell(budget, used[budget.budget_id], now_us)
        return Fresh(tenancy=self._tenancy, used=used, confirmed=confirmed)

    def _tell(self, budget: Budget, used: int, now_us: int) -> None:
        """Log once when a budget passes its threshold, and again after it was below it."""
        limit = budget.limit_at(now_us)
        if used * 100 < limit * budget.at_pct:
            self._passed.discard(budget.budget_id)
        elif budget.budget_id not in self._passed:
            self._passed.add(budget.budget_id)
            log.warning(
                "budget %s has passed %d %%: %s of %s used (mode %s)",
                budget.budget_id,
                budget.at_pct,
                format_amount(budget.unit, used),
                format_amount(budget.unit, limit),
                budget.mode,
            )
