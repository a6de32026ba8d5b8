"""Budgets in the ledger: what they attach to must be there, and raises end by themselves."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from greenserve.carbon.budgets import Budget, Raise
from greenserve.carbon.ledger.sqlite import SqliteLedger
from greenserve.carbon.ledger.tenancy import TenancyStore
from greenserve.carbon.tenancy import KeyRules
from greenserve.clock import ManualClock
from greenserve.errors import InvalidRequest, NotFound
from greenserve.records import Tenant
from greenserve.units import NS_PER_S

DAY_US = 86_400_000_000


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def book(tmp_path: Path) -> Iterator[SqliteLedger]:
    opened = SqliteLedger(tmp_path / "ledger.db")
    yield opened
    opened.close()


@pytest.fixture
def store(book: SqliteLedger, clock: ManualClock) -> TenancyStore:
    made = TenancyStore(book, clock)
    made.create_tenant(Tenant(tenant_id="acme", name="Acme", org="umbrella"))
    made.create_tenant(Tenant(tenant_id="globex", name="Globex"))
    return made


def a_budget(**changes: Any) -> Budget:
    whole: dict[str, Any] = {"budget_id": "b", "unit": "J", "limit": 5, "per": "day", "mode": "enforce"}
    return Budget(**(whole | changes))


def test_budgets_of_every_kind_are_read_back_and_keyed_by_whose_use_they_count(store: TenancyStore) -> None:
    """In the snapshot each stands under the name that requests look it up by."""
    _, key = store.create_key("acme", rules=KeyRules(project="web"))
    attached: list[dict[str, str]] = [
        {"tenant": "acme"},
        {"org": "umbrella"},
        {"tenant": "acme", "project": "web"},
        {"tenant": "acme", "key_id": key.key_id},
        {"model": "tiny"},
        {"tenant": "acme", "model": "tiny"},
    ]
    budgets = [a_budget(budget_id=str(place), zone="Asia/Kolkata", **each) for place, each in enumerate(attached)]

    for budget in budgets:
        store.set_budget(budget)

    assert budgets == [record.budget for record in store.budgets()]
    assert {budget.subject: (budget,) for budget in budgets} == dict(store.snapshot().budgets)
    assert ["0", "2", "3", "5"] == [record.budget.budget_id for record in store.budgets("acme")]


@pytest.mark.parametrize(
    ("attached", "words"),
    [
        ({"tenant": "nobody"}, "no tenant 'nobody'"),
        ({"org": "nobody"}, "no org 'nobody'; there are: umbrella"),
        ({"tenant": "acme", "project": "shop"}, "no project 'shop'; there are: web"),
        ({"tenant": "globex", "project": "web"}, "no project 'web'; there are: none"),
        ({"tenant": "acme", "key_id": "nokey"}, "has no key 'nokey'"),
    ],
)
def test_what_a_budget_attaches_to_must_be_there(store: TenancyStore, attached: dict[str, str], words: str) -> None:
    """A misspelt name would never be hit; the message says which there are."""
    store.create_key("acme", rules=KeyRules(project="web"))

    with pytest.raises(NotFound, match=words):
        store.set_budget(a_budget(**attached))

    assert [] == store.budgets()


def test_the_key_of_another_tenant_is_none_of_this_ones(store: TenancyStore) -> None:
    """A budget on it would count under the wrong name."""
    _, key = store.create_key("globex")

    with pytest.raises(NotFound, match="tenant acme has no key"):
        store.set_budget(a_budget(tenant="acme", key_id=key.key_id))


def test_an_id_stays_with_what_it_attaches_to(store: TenancyStore) -> None:
    """Setting it for something else is refused; its history would mean two things."""
    store.set_budget(a_budget(tenant="acme"))

    with pytest.raises(InvalidRequest, match="a budget of acme; choose another id"):
        store.set_budget(a_budget(tenant="globex"))


def test_a_raise_lasts_until_its_window_ends_unless_told_otherwise(store: TenancyStore, clock: ManualClock) -> None:
    """The clock stands at midnight: a whole day; later raises drop those that have ended."""
    store.set_budget(a_budget(tenant="acme"))
    now_us = clock.unix_us()

    store.raise_budget("b", 2)
    store.raise_budget("b", 3, until_us=now_us + 3 * DAY_US)
    raised = store.budget("b").budget
    clock.advance(duration_ns=2 * 86_400 * NS_PER_S)
    later = store.raise_budget("b", 4).budget

    assert [10, 8, 5] == [raised.limit_at(now_us + days * DAY_US) for days in (0, 1, 3)]
    assert (Raise(amount=3, until_us=now_us + 3 * DAY_US), Raise(amount=4, until_us=now_us + 3 * DAY_US)) == (
        later.raises
    )


def test_setting_a_budget_again_keeps_what_was_raised(store: TenancyStore, book: SqliteLedger) -> None:
    """Until it is removed; the entries tell each step, and the ledger verifies."""
    store.set_budget(a_budget(tenant="acme"))
    store.raise_budget("b", 2)

    kept = store.set_budget(a_budget(tenant="acme", at_pct=50)).budget
    store.remove_budget("b")
    anew = store.set_budget(a_budget(tenant="acme")).budget

    assert (1, 50, 0) == (len(kept.raises), kept.at_pct, len(anew.raises))
    raises = [entry.body.get("raises") for _, entry in book.entries() if entry.kind == "budget"]
    assert [False, True, True, True, False] == [bool(one) for one in raises]
    assert [] == book.verify()


def test_raises_that_mean_nothing_are_refused(store: TenancyStore, clock: ManualClock) -> None:
    """Where no window ends one must say until when; not into the past, not nothing, not beyond 2^53."""
    store.set_budget(a_budget(tenant="acme"))
    store.set_budget(a_budget(budget_id="r", tenant="acme", per="rolling:24h"))

    with pytest.raises(InvalidRequest, match="say until when"):
        store.raise_budget("r", 1)
    with pytest.raises(InvalidRequest, match="would have ended"):
        store.raise_budget("b", 1, until_us=clock.unix_us())
    for amount in (0, -1, 2**53 - 5):
        with pytest.raises(InvalidRequest, match="1 or more"):
            store.raise_budget("b", amount)
    with pytest.raises(NotFound, match="budget ls"):
        store.raise_budget("none", 1)
    assert 5 == store.budget("b").budget.limit_at(clock.unix_us())


def test_the_budgets_of_a_closed_tenant_are_out_of_the_snapshot(store: TenancyStore) -> None:
    """Its org's and its models' go on."""
    for budget_id, attached in enumerate([{"tenant": "acme"}, {"org": "umbrella"}, {"model": "tiny"}]):
        store.set_budget(a_budget(budget_id=str(budget_id), **attached))

    store.close_tenant("acme")

    assert {"org/umbrella", "model//tiny"} == set(store.snapshot().budgets)
    assert ["acme"] == [record.tenant.tenant_id for record in store.tenants("umbrella")]
