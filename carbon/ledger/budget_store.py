"""Budgets in the ledger: set, raised, removed; each change is one transaction with its entry."""

from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, select

from greenserve.carbon.budgets import LARGEST, Budget, Raise, iso, window
from greenserve.carbon.ledger import schema
from greenserve.carbon.ledger import tenancy_rows as rows
from greenserve.carbon.ledger.book import SqlLedger
from greenserve.carbon.tenancy import BudgetRecord
from greenserve.errors import InvalidRequest, RevisionConflict
from greenserve.ports import Clock


class BudgetStore:
    """Changes and reads budgets. State: the ledger's file alone."""

    def __init__(self, ledger: SqlLedger, clock: Clock, actor: str | None = None) -> None:
        """`actor` is who changes something, as entries say it (`key:ID`, `cli:USER`); None: they do not."""
        self._ledger, self._clock, self._actor = ledger, clock, actor

    def budgets(self, tenant_id: str | None = None) -> list[BudgetRecord]:
        """Budgets in force, of one tenant (its projects, keys and models too) or of all."""
        query = rows.BUDGETS_IN_FORCE.order_by(schema.budget.c.budget_id)
        with self._ledger.reading() as connection:
            if tenant_id is not None:
                rows.find_tenant(connection, tenant_id)
                query = query.where(schema.budget.c.tenant_id == tenant_id)
            return [_budget_record(row) for row in connection.execute(query).all()]

    def budget(self, budget_id: str) -> BudgetRecord:
        """One budget in force; NotFound."""
        with self._ledger.reading() as connection:
            return _budget_record(rows.find_budget(connection, budget_id))

    def set_budget(self, budget: Budget, *, if_revision: int | None = None) -> BudgetRecord:
        """Add a budget, or replace the one with its id; raises of the latter that are in force stay."""
        now_us = self._clock.unix_us()
        table = schema.budget
        with self._ledger.writing() as connection:
            rows.check_attachment(connection, budget)
            row = connection.execute(select(table).where(table.c.budget_id == budget.budget_id)).one_or_none()
            if row is None:
                if if_revision is not None:
                    raise RevisionConflict(f"there is no budget {budget.budget_id}, so no revision {if_revision} of it")
                connection.execute(
                    table.insert().values(budget_id=budget.budget_id, revision=0, **rows.budget_values(budget))
                )
                rows.record_change(connection, rows.budget_entry(budget, 0, now_us, removed=False), self._actor)
                return BudgetRecord(budget=budget)
            rows.expect(row, if_revision, f"budget {budget.budget_id}")
            before = rows.budget_of(row)
            if before.subject != budget.subject:
                raise InvalidRequest(f"the id {budget.budget_id} is a budget of {before.owner}; choose another id")
            if row.removed_us is None:
                budget = replace(budget, raises=_in_force(before, now_us))
            return self._change_budget(connection, row, budget, now_us)

    def raise_budget(
        self, budget_id: str, amount: int, *, until_us: int | None = None, if_revision: int | None = None
    ) -> BudgetRecord:
        """Add `amount` (ledger integer of its unit) to a limit until `until_us` [us UTC]; None: its window's end."""
        now_us = self._clock.unix_us()
        with self._ledger.writing() as connection:
            row = rows.find_budget(connection, budget_id)
            rows.expect(row, if_revision, f"budget {budget_id}")
            budget = rows.budget_of(row)
            ends_us = window(budget, now_us).end_us if until_us is None else until_us
            if ends_us is None:
                raise InvalidRequest(f"a {budget.per} window has no end: say until when {budget_id} is raised")
            if ends_us <= now_us:
                raise InvalidRequest(f"the raise would have ended at {iso(ends_us)}, before now ({iso(now_us)})")
            if not 0 < amount <= LARGEST - budget.limit_at(now_us):
                raise InvalidRequest(f"a raise adds 1 or more, and up to 2^53 in all, got {amount}")
            raises = (*_in_force(budget, now_us), Raise(amount=amount, until_us=ends_us))
            return self._change_budget(connection, row, replace(budget, raises=raises), now_us)

    def remove_budget(self, budget_id: str, *, if_revision: int | None = None) -> BudgetRecord:
        """Take a budget out of force; its history stays."""
        now_us = self._clock.unix_us()
        with self._ledger.writing() as connection:
            row = rows.find_budget(connection, budget_id)
            rows.expect(row, if_revision, f"budget {budget_id}")
            return self._change_budget(connection, row, rows.budget_of(row), now_us, removed=True)

    def _change_budget(
        self, connection: Connection, row: Any, budget: Budget, now_us: int, *, removed: bool = False
    ) -> BudgetRecord:
        values = rows.budget_values(budget) | {"removed_us": now_us if removed else None}
        revision = rows.update_row(connection, schema.budget, budget.budget_id, row.revision, values)
        rows.record_change(connection, rows.budget_entry(budget, revision, now_us, removed=removed), self._actor)
        return BudgetRecord(budget=budget, revision=revision)


def _in_force(budget: Budget, now_us: int) -> tuple[Raise, ...]:
    return tuple(one for one in budget.raises if now_us < one.until_us)


def _budget_record(row: Any) -> BudgetRecord:
    return BudgetRecord(budget=rows.budget_of(row), revision=row.revision)
