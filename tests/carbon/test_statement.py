"""Statements: folds of entries that reconcile, add over periods and read the same in all formats."""

import csv
import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from html.parser import HTMLParser

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from greenserve.canonical import canonical_json
from greenserve.carbon.emissions import emissions_ng, facility_uj
from greenserve.carbon.entries import UsageLine, unmetered_entry, usage_entry
from greenserve.carbon.formats import csv as csv_format
from greenserve.carbon.formats import html as html_format
from greenserve.carbon.formats import json as json_format
from greenserve.carbon.statement import Scope, build_statement
from greenserve.errors import LedgerUnavailable
from greenserve.records import Entry
from tests.carbon.statements import AT_US, DAY_US, HOUR_US, interval, member, settled, statement_of, totals

Lines = Callable[..., UsageLine]


@pytest.fixture
def day(a_line: Lines) -> list[Entry]:
    """Two requests of acme, one of globex, one lost; one of acme's is still provisional; one interval."""
    mine, other, lost = (
        usage_entry(a_line()), usage_entry(a_line(tenant="globex")), usage_entry(a_line(charged=False)),
    )  # fmt: skip
    open_one = usage_entry(a_line(cache="hit", outcome="error", intensity=None, variant=None))
    closed = interval(
        0, at_us=AT_US + 5, active=70_000, waste=9_000, idle=500, background=40, foreign=3, pending_after=7
    )
    return [mine, other, lost, open_one, settled(mine, 50_000), settled(other, 20_000), settled(lost, 9_000), closed]


def test_settled_energy_takes_the_place_of_the_estimate(day: list[Entry]) -> None:
    """50,000 settled and 61,903 provisional uJ, each counted once; another tenant's and lost energy not at all."""
    found = totals(statement_of(day))

    assert (2, 1, 1, 1) == tuple(found[name] for name in ("requests", "requests_ok", "requests_error", "cache_hit"))
    assert ("0.111903", "0.125331") == (found["energy_joules"], found["facility_joules"])
    assert (1, "0.061903") == (found["provisional_requests"], found["provisional_joules"])
    assert "modelled" == found["tier"]
    assert 1 == statement_of(day).document["not_charged_requests"]


def test_unknown_intensity_is_left_out_and_its_joules_are_told(day: list[Entry]) -> None:
    """The sum says what it does not cover; a column without any source is null, not zero."""
    found = totals(statement_of(day))

    assert ("0.000000482", "0.061903") == (found["loc_lifecycle_gco2e"], found["loc_lifecycle_uncovered_joules"])
    assert (None, "0.111903") == (found["loc_direct_gco2e"], found["loc_direct_uncovered_joules"])
    assert (None, None) == (found["market_gco2e"], found["embodied_gco2e"])


def test_the_node_reconciles_to_the_microjoule(day: list[Entry]) -> None:
    """Metered = this tenant + others + platform + idle + background + foreign + gap + pending, difference 0."""
    node, own = (member(statement_of(day), name) for name in ("reconciliation", "reconciliation_of_tenant"))

    assert {
        "metered_joules": "0.079550",
        "this_tenant_joules": "0.050000",
        "other_tenants_joules": "0.020000",
        "platform_joules": "0.009000",
        "idle_joules": "0.000500",
        "background_joules": "0.000040",
        "foreign_joules": "0.000003",
        "pending_after_joules": "0.000007",
        "difference_joules": "0.000000",
    }.items() <= node.items()
    assert ("0.111903", "0.000000") == (own["total_joules"], own["difference_joules"])


def test_a_request_that_settles_in_the_next_period_is_bridged(a_line: Lines) -> None:
    """The request counts where it ended, its interval where it closed, and both statements say so."""
    first = usage_entry(a_line(ended_us=AT_US + DAY_US - 1))
    entries = [first, settled(first, 50_000), interval(0, at_us=AT_US + DAY_US + 1, active=50_000)]

    before = member(statement_of(entries), "reconciliation_of_tenant")
    after = member(
        statement_of(entries, start_us=AT_US + DAY_US, end_us=AT_US + 2 * DAY_US), "reconciliation_of_tenant"
    )

    assert ("0.050000", "0.050000", "0.000000") == (
        before["total_joules"], before["reconciled_in_other_periods_joules"], before["difference_joules"],
    )  # fmt: skip
    assert ("0.000000", "-0.050000", "0.000000") == (
        after["total_joules"], after["of_requests_of_other_periods_joules"], after["difference_joules"],
    )  # fmt: skip


def test_unmetered_requests_stand_on_their_own_line(a_line: Lines) -> None:
    """Their estimate is in the total, outside the reconciliation, and named."""
    first, unknown = usage_entry(a_line()), usage_entry(a_line(usage=None))
    statement = statement_of([first, unmetered_entry(first.body), unknown, unmetered_entry(unknown.body)])
    found = totals(statement)

    assert (1, "0.061903", 1) == tuple(
        found[name] for name in ("unreconciled_requests", "unreconciled_joules", "unmetered_requests")
    )
    assert "0.000000" == member(statement, "reconciliation_of_tenant")["difference_joules"]
    assert {"unmetered": 2} == member(statement, "data_quality")["requests_by_flag"]


def test_watermarks_say_why(a_line: Lines) -> None:
    """A synthetic series, an emulated region and replayed energy never pass unmarked."""
    line = a_line(provider="synthetic (seed 7)", emulated=True)
    assert line.usage is not None
    entry = usage_entry(replace(line, usage=replace(line.usage, tier="simulated")))

    marks = {mark["mark"]: mark["reasons"] for mark in member(statement_of([entry]), "watermarks")}

    assert {"synthetic grid series", "emulated regions", "simulated energy"} == marks.keys()
    assert ["zone SE comes from synthetic (seed 7)"] == marks["synthetic grid series"]


def test_an_empty_period_is_zero_requests_and_no_tier(day: list[Entry]) -> None:
    """Nothing happened is a fact, not an unknown."""
    found = totals(statement_of(day, start_us=AT_US - DAY_US, end_us=AT_US))

    assert (0, "0.000000", None) == (found["requests"], found["energy_joules"], found["tier"])


def test_the_fold_stops_at_the_size_it_names(day: list[Entry]) -> None:
    """Entries that came later change nothing: the statement is for ever the same bytes."""
    scope = Scope(
        tenant="acme", start_us=AT_US, end_us=AT_US + DAY_US, issuer="i", software="s", size=4, chain="0" * 64
    )

    early, late = build_statement(enumerate(day[:4]), scope), build_statement(enumerate(day), scope)

    assert json_format.render(early) == json_format.render(late)


def test_a_settled_line_without_its_first_is_told(day: list[Entry]) -> None:
    """A statement is never folded over a hole."""
    with pytest.raises(LedgerUnavailable, match="ledger verify"):
        statement_of(day[1:])


drawn_lines = st.lists(
    st.tuples(
        st.integers(0, 10**7),  # energy [uJ]
        st.integers(0, 3),  # hours into the day, or beyond it
        st.sampled_from(["int8-dyn", "fp32"]),
        st.integers(0, 800_000),  # intensity [mg/kWh]
        st.booleans(),  # settled
    ),
    max_size=15,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn_lines, st.integers(1, 23))
def test_statements_add_over_periods(
    a_line: Lines, drawn: list[tuple[int, int, str, int, bool]], cut_hour: int
) -> None:
    """Cutting a period anywhere keeps every sum; the total is the sum of the receipts, line by line."""
    entries, energy, carbon = [], 0, 0
    for energy_uj, hours, variant, mg_per_kwh, is_settled in drawn:
        line = a_line(
            active_uj=energy_uj, held_uj=0, host_uj=0, low_uj=0, high_uj=2 * energy_uj, variant=variant,
            mg_per_kwh=mg_per_kwh, ended_us=AT_US + hours * 7 * HOUR_US,
        )  # fmt: skip
        entries.append(usage_entry(line))
        if is_settled:
            entries.append(unmetered_entry(entries[-1].body))
        energy += energy_uj
        carbon += emissions_ng(facility_uj(energy_uj, 1120), mg_per_kwh)
    cut = AT_US + cut_hour * HOUR_US

    whole = totals(statement_of(entries))
    parts = [totals(statement_of(entries, end_us=cut)), totals(statement_of(entries, start_us=cut))]

    for name in ("requests", "energy_joules", "facility_joules"):
        assert Decimal(whole[name]) == sum(Decimal(part[name]) for part in parts)
    assert Decimal(energy).scaleb(-6) == Decimal(whole["energy_joules"])
    assert Decimal(carbon).scaleb(-9) == Decimal(whole["loc_lifecycle_gco2e"] or 0)
    lines = member(statement_of(entries), "breakdown")
    assert Decimal(whole["energy_joules"]) == sum(Decimal(line["energy_joules"]) for line in lines)


class Cells(HTMLParser):
    """The `data-total` cells of a page, and every tag and attribute it uses."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, str] = {}
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self._name: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self._name = dict(attrs).get("data-total")

    def handle_data(self, data: str) -> None:
        if self._name is not None:
            self.found[self._name] = data
            self._name = None


def test_totals_are_equal_in_all_formats(day: list[Entry]) -> None:
    """JSON is canonical, and CSV and HTML parse back to its figures; unknown is the word, nowhere 0."""
    statement = statement_of(day)
    shown = {name: "unknown" if value is None else str(value) for name, value in totals(statement).items()}

    master = json.loads(json_format.render(statement))
    *lines, total = csv.DictReader(io.StringIO(csv_format.render(statement).decode()))
    page = Cells()
    page.feed(html_format.render(statement).decode())

    assert canonical_json(statement.document) + b"\n" == json_format.render(statement)
    assert totals(statement) == master["totals"]
    assert shown == {name: total[name] for name in shown}
    assert shown == page.found
    assert ["breakdown", "breakdown", "total"] == [line["line"] for line in [*lines, total]]
    assert "unknown" == total["market_gco2e"]


def test_the_page_holds_no_script_and_loads_nothing(day: list[Entry], a_line: Lines) -> None:
    """One file: no JavaScript, no link to elsewhere; charts have a text alternative; names are escaped."""
    hostile = usage_entry(a_line(variant="<b>bold</b>"))
    text = html_format.render(statement_of([*day, hostile])).decode()
    page = Cells()
    page.feed(text)

    assert set() == page.tags & {"script", "link", "iframe", "img", "object"}
    assert not [name for name in page.attributes if name.startswith("on") or name in {"src", "href"}]
    assert text.count("<svg") == text.count('role="img"') + text.count('aria-hidden="true"')
    assert 2 == text.count('role="img"') == text.count("<title id=")
    assert "<b>" not in text
    assert "&lt;b&gt;" in text
    assert re.search(r'<html lang="en">', text)
