"""What admission reads of the ledger: balances, changes, and what is held, in an order that never makes room twice."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from greenserve.carbon.budgets import Budget
from greenserve.carbon.entries import UsageLine, usage_entry
from greenserve.carbon.ledger.sqlite import SqliteLedger
from greenserve.carbon.ledger.tenancy import TenancyStore
from greenserve.carbon.tenancy import KeyRules
from greenserve.clock import ManualClock
from greenserve.errors import BudgetExhausted, LedgerUnavailable
from greenserve.records import Admitted, Tenant
from greenserve.serve.admission import Admission
from greenserve.serve.tenancy_reader import TenancyReader
from tests.serve.admitting import HUGE, finish
from tests.serve.building import a_request

CLOCK = ManualClock()


@pytest.fixture
def book(tmp_path: Path) -> Iterator[SqliteLedger]:
    opened = SqliteLedger(tmp_path / "ledger.db")
    yield opened
    opened.close()


@pytest.fixture
def store(book: SqliteLedger) -> TenancyStore:
    made = TenancyStore(book, CLOCK)
    made.create_tenant(Tenant(tenant_id="acme", name="Acme", org="umbrella"))
    return made


def a_budget(**changes: Any) -> Budget:
    whole: dict[str, Any] = {"budget_id": "b", "unit": "requests", "limit": 4, "per": "day", "mode": "enforce"}
    return Budget(**(whole | changes))


def recorded(book: SqliteLedger, admitted: Admitted) -> None:
    """The writer takes the request's line in."""
    request = admitted.request
    line = UsageLine(
        request_id=request.request_id, tenant="acme", key_id=admitted.key_id, model=request.model, run_id="r",
        ended_us=CLOCK.unix_us(), start_ns=0, end_ns=1, outcome="ok", protocol="http", cache="miss", rows=1, usage=None,
        intensity=None, pue_milli=None, org=admitted.tenant.org, project=admitted.project,
    )  # fmt: skip
    book.append([usage_entry(line)])


class Door:
    """An admission that reads a ledger, and a key of acme."""

    def __init__(self, book: SqliteLedger, key: str) -> None:
        self.admission = Admission(auth="required", defaults=HUGE, replicas=1, timeout_s=10.0, clock=CLOCK)
        self._reader, self._key = TenancyReader(book, CLOCK), key
        self.read()

    def read(self) -> None:
        """As a gateway does twice a second."""
        fresh = self._reader.read(self.admission.watched)
        self.admission.refresh(fresh.tenancy, fresh.used, confirmed=fresh.confirmed)

    def admit(self) -> Admitted:
        """One request of two tokens."""
        return self.admission.admit(self.admission.authenticate(self._key), a_request(), upper=lambda: (0, 0))


@pytest.mark.parametrize(
    "attached", [{"tenant": "acme"}, {"org": "umbrella"}, {"tenant": "acme", "project": "web"}, {"model": "tiny"}]
)
def test_a_budget_counts_each_request_once_from_reservation_to_ledger(
    book: SqliteLedger, store: TenancyStore, attached: dict[str, str]
) -> None:
    """Four are let in and no more, however the reader and the writer take turns."""
    key, _ = store.create_key("acme", rules=KeyRules(project="web"))
    store.set_budget(a_budget(**attached))
    door = Door(book, key)
    for _ in range(4):
        admitted = door.admit()
        finish(door.admission, admitted)
        door.read()
        recorded(book, admitted)
        door.read()

    for _ in range(5):
        door.read()
        with pytest.raises(BudgetExhausted):
            door.admit()

    assert 4 == book.used(a_budget(**attached), CLOCK.unix_us())


def test_what_the_ledger_holds_is_not_promised_any_more(book: SqliteLedger, store: TenancyStore) -> None:
    """Else one request would count twice: three of four are used, one fits."""
    key, _ = store.create_key("acme")
    store.set_budget(a_budget(tenant="acme"))
    door = Door(book, key)
    for _ in range(3):
        admitted = door.admit()
        finish(door.admission, admitted)
        recorded(book, admitted)
    for _ in range(3):
        door.read()

    door.admit()

    with pytest.raises(BudgetExhausted):
        door.admit()


def test_changes_are_seen_at_the_next_look(book: SqliteLedger, store: TenancyStore) -> None:
    """A budget that is set, raised, removed."""
    key, _ = store.create_key("acme")
    door = Door(book, key)
    store.set_budget(a_budget(tenant="acme", limit=1))
    door.read()
    door.admit()
    with pytest.raises(BudgetExhausted):
        door.admit()

    store.raise_budget("b", 1)
    door.read()
    door.admit()
    with pytest.raises(BudgetExhausted):
        door.admit()
    store.remove_budget("b")
    door.read()

    for _ in range(9):
        door.admit()


def test_a_passed_threshold_is_told_once(
    book: SqliteLedger, store: TenancyStore, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever operates this learns it from the log, not with every look."""
    key, _ = store.create_key("acme")
    store.set_budget(a_budget(tenant="acme", mode="warn", at_pct=50))
    door = Door(book, key)
    for _ in range(3):
        recorded(book, door.admit())
        with caplog.at_level(logging.WARNING):
            door.read()

    assert ["budget b has passed 50 %: 2 requests of 4 requests used (mode warn)"] == caplog.messages


def test_a_ledger_that_cannot_be_read_is_told(book: SqliteLedger, store: TenancyStore) -> None:
    """The reader raises; whoever asked keeps what it read last."""
    reader = TenancyReader(book, CLOCK)
    reader.read(())
    with book.writing() as connection:
        connection.exec_driver_sql("DROP TABLE tenancy")

    with pytest.raises(LedgerUnavailable):
        reader.read(())
