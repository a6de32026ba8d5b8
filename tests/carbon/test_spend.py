"""The sums that budgets are read from: any window's balance is what a look at every line gives."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from greenserve.carbon.budgets import Budget, window
from greenserve.carbon.entries import UsageLine, entry_of, unmetered_entry, usage_entry
from greenserve.carbon.ledger.spend import (
    QUARTER,
    QUARTERS_PER_DAY,
    Places,
    SpendKey,
    balance,
    fold_spend,
    spends_of,
    stretches,
)
from greenserve.carbon.ledger.sqlite import SqliteLedger
from greenserve.carbon.windows import US_PER_QUARTER, Span

AT_US = 1_767_225_600_000_000
DAY_US = 86_400_000_000
Lines = Callable[..., UsageLine]
ATTACHED: list[dict[str, str]] = [
    {"tenant": "acme"},
    {"org": "umbrella"},
    {"tenant": "acme", "project": "web"},
    {"tenant": "acme", "key_id": "k1"},
    {"model": "tiny"},
    {"tenant": "acme", "model": "tiny"},
]


def a_budget(unit: str = "requests", per: str = "day", **changes: str) -> Budget:
    return Budget(budget_id="b", unit=unit, limit=1, per=per, mode="enforce", **changes)  # type: ignore[arg-type]


@pytest.fixture
def book(tmp_path: Path) -> Iterator[SqliteLedger]:
    opened = SqliteLedger(tmp_path / "ledger.db")
    yield opened
    opened.close()


moments = st.integers(AT_US - 3 * DAY_US, AT_US + 3 * DAY_US)


@given(start_us=moments, length=st.integers(1, 400) | st.none())
def test_a_window_is_cut_into_whole_days_and_quarters(start_us: int, length: int | None) -> None:
    """Every quarter of an hour in it is covered once, and no other; only what lies outside whole days by quarters."""
    first = start_us // US_PER_QUARTER
    end = None if length is None else first + length
    span = Span(first * US_PER_QUARTER, None if end is None else end * US_PER_QUARTER)
    last = first + 500 if end is None else end

    covered = [
        quarter
        for grain, low, high in stretches(span)
        for unit in range(low, min(high, last // QUARTERS_PER_DAY + 2 if grain else last))
        for quarter in ([unit] if grain == QUARTER else range(unit * QUARTERS_PER_DAY, (unit + 1) * QUARTERS_PER_DAY))
    ]

    assert list(range(first, last)) == [quarter for quarter in covered if quarter < last]
    assert 2 * QUARTERS_PER_DAY > sum(high - low for grain, low, high in stretches(span) if grain == QUARTER)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    drawn=st.lists(
        st.tuples(
            st.integers(-40, 40),
            st.sampled_from(["acme", "globex"]),
            st.sampled_from([None, "umbrella"]),
            st.sampled_from([None, "web"]),
            st.sampled_from([None, "k1"]),
            st.sampled_from(["tiny", "large"]),
            st.integers(0, 2),
        ),
        max_size=12,
    ),
    per=st.sampled_from(["day", "week", "month", "lifetime", "rolling:1h", "rolling:36h"]),
    attached=st.sampled_from(ATTACHED),
    unit=st.sampled_from(["gCO2e", "J", "requests", "tokens"]),
)
def test_a_balance_is_what_a_look_at_every_line_gives(
    a_line: Lines,
    tmp_path_factory: pytest.TempPathFactory,
    drawn: list[tuple[int, str, str | None, str | None, str | None, str, int]],
    per: str,
    attached: dict[str, str],
    unit: str,
) -> None:
    """For every attachment, window and unit, before and after settling; and the audit derives the same sums."""
    book = SqliteLedger(tmp_path_factory.mktemp("spend") / "ledger.db")
    budget = a_budget(unit, per, **attached)
    start_us, end_us = window(budget, AT_US)
    expected = 0
    for hours, tenant, org, project, key_id, model, settled in drawn:
        line = a_line(
            ended_us=AT_US + hours * 5_400_000_000, tenant=tenant, org=org, project=project, key_id=key_id,
            model=model, tokens_in=7,
        )  # fmt: skip
        first = usage_entry(line)
        book.append([first])
        joules, ng = 61_903, 597
        if settled:
            joules, ng = 1_000 * settled, 10 * settled
            last = dict(unmetered_entry(first.body).body) | {
                "active_uj": joules, "held_uj": 0, "host_uj": 0, "facility_uj": joules * 1120 // 1000,
                "loc_lifecycle_ng": ng,
            }  # fmt: skip
            book.append([replace(unmetered_entry(first.body), body=last)])
        facts = {"tenant": tenant, "org": org, "project": project, "key_id": key_id, "model": model}
        within = start_us <= line.ended_us and (end_us is None or line.ended_us < end_us)
        if within and all(facts[name] == value for name, value in attached.items()):
            expected += {"gCO2e": ng, "J": joules, "requests": 1, "tokens": 7}[unit]

    assert expected == book.used(budget, AT_US)
    assert [] == [finding for finding in book.verify() if "spend" in finding]
    book.close()


def test_settling_adds_and_takes_away_at_the_same_place(a_line: Lines) -> None:
    """The settled line says nothing of key and tokens: it counts where its first line did."""
    first = usage_entry(a_line(tokens_in=9, key_id="k1", project="web"))
    places: Places = {}

    fold_spend(places, first, None)
    fold_spend(places, unmetered_entry(first.body), first.body)

    spends = spends_of(places)
    ever = spends[SpendKey("key/k1", 2, 0)]
    assert (1, 9, 61_903) == (ever.requests, ever.tokens, ever.energy_uj)
    assert 9 == balance("tokens", spends[SpendKey("project/acme/web", 2, 0)])


def test_lines_of_before_orgs_and_projects_count_for_the_rest(a_line: Lines, book: SqliteLedger) -> None:
    """A body without these members is read as having none."""
    body = {name: value for name, value in usage_entry(a_line()).body.items() if name not in ("org", "project")}

    book.append([entry_of(body)])

    assert 1 == book.used(a_budget(tenant="acme"), AT_US)
    assert 0 == book.used(a_budget(tenant="acme", project="web"), AT_US)
    assert [] == book.verify()


def test_a_changed_sum_is_found(a_line: Lines, book: SqliteLedger) -> None:
    """Whoever makes room in a budget by hand is seen by the audit."""
    book.append([usage_entry(a_line())])
    with book.writing() as connection:
        connection.exec_driver_sql("UPDATE spend SET requests = 0 WHERE subject = 'tenant/acme' AND grain = 2")

    assert any("spend" in finding and "tenant/acme" in finding for finding in book.verify())


def test_whether_a_request_is_held_is_known(a_line: Lines, book: SqliteLedger) -> None:
    """By its id, in whatever month it was made."""
    line, other = a_line(), a_line()
    book.append([usage_entry(line)])

    assert (True, False) == (book.holds_usage(line.request_id), book.holds_usage(other.request_id))
