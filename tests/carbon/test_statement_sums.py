"""Statements from the ledger's hourly sums, against the fold of its entries."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenserve.canonical import canonical_json
from greenserve.carbon.entries import PLATFORM, UsageLine, settled_entry, unmetered_entry, usage_entry
from greenserve.carbon.ledger.hour_closing import HourCloser
from greenserve.carbon.ledger.sqlite import SqliteLedger
from greenserve.carbon.ledger.stating import from_sums, stated
from greenserve.carbon.statement import EVERYBODY, Scope, build_statement
from greenserve.carbon.statement_sums import NeedsEntries
from greenserve.carbon.tenancy_entries import change_entry
from greenserve.carbon.terms import Baseline, Hardware, Instrument, Market, Residual, Terms
from greenserve.records import Entry, IntensityReading, Usage
from tests.carbon.statements import AT_US, HOUR_US, interval

Lines = Callable[..., UsageLine]
MARKET = Market(
    instruments=(
        Instrument(
            instrument_id="wind", region="north", start_us=AT_US, end_us=AT_US + 2 * HOUR_US, energy_uj=90_000,
            mg_per_kwh=0, evidence_sha256="0" * 64,
        ),
    ),
    residuals=(Residual(region="north", mg_per_kwh=500_000, source="a table"),),
    sha256="1" * 64,
)  # fmt: skip
SUITED = (Terms(), Terms(market=MARKET))


def a_reading(basis: str, level: int | None, mg_per_kwh: int, provider: str = "a provider") -> IntensityReading:
    return IntensityReading(
        zone="SE", start_us=AT_US, end_us=AT_US + HOUR_US, mg_per_kwh=mg_per_kwh, basis=basis,  # type: ignore[arg-type]
        kind="average", origin="observed", provider=provider, retrieved_us=AT_US, level=level,
        u_grid_bp=None if level is None else 500 * (level + 1),
    )  # fmt: skip


READINGS = (
    None,
    a_reading("lifecycle", None, 31_000),
    a_reading("direct", 1, 20_000, "synthetic"),
    replace(a_reading("lifecycle", 0, 40_000), counterpart=a_reading("direct", 2, 30_000)),
    replace(a_reading("direct", 0, 35_000), counterpart=a_reading("lifecycle", 3, 50_000, "another")),
)
requests = st.fixed_dictionaries(
    {
        "tenant": st.sampled_from(["acme", "acme", "globex", PLATFORM]),
        "key_id": st.sampled_from(["k1", "k2", None]),
        "variant": st.sampled_from(["fp32", None]),
        "region": st.sampled_from(["north", "south", None]),
        "tokens_in": st.sampled_from([None, 0, 12]),
        "pue_milli": st.sampled_from([1_120, 1_333, None]),
        "reason": st.sampled_from([None, "budget", "carbon"]),
        "code": st.sampled_from([None, "timeout"]),
        "cache": st.sampled_from(["miss", "hit"]),
        "charged": st.sampled_from([True, True, False]),
        "emulated": st.booleans(),
        "flags": st.sampled_from([(), ("fallback",)]),
        "intensity": st.sampled_from(READINGS),
        "metered": st.sampled_from([True, True, True, False]),
        "late_h": st.sampled_from([0, 0, 1]),
    }
)
steps = st.lists(
    st.tuples(st.just("ask"), requests)
    | st.tuples(st.just("settle"), st.sampled_from([1, 54_603, 10**7, None, "unmetered"]))
    | st.tuples(st.just("close"), st.sampled_from([{}, {"load": 7}, {"gap": 5, "pending_after": 2}]))
    | st.tuples(st.just("hour"), st.none())
    | st.tuples(st.just("budget"), st.sampled_from([PLATFORM, "acme", "globex"])),
    max_size=40,
)


def entries_of(drawn: list[tuple[str, Any]], a_line: Lines) -> list[Entry]:
    """A ledger's entries: hours only go on, lines may end an hour before they are written."""
    hour, made, waiting = -1, list[Entry](), list[Entry]()
    for number, (what, given_) in enumerate(drawn):
        at_us = AT_US + hour * HOUR_US + number
        if what == "hour":
            hour += 1
        elif what == "ask":
            about = dict(given_)
            changes = {} if about.pop("metered") else {"usage": None}
            ended_us = at_us - about.pop("late_h") * HOUR_US
            waiting.append(usage_entry(a_line(ended_us=ended_us, **changes, **about)))
            made.append(waiting[-1])
        elif what == "settle" and waiting:
            first = waiting.pop(0)
            if given_ == "unmetered":
                made.append(unmetered_entry(first.body))
                continue
            usage = None if given_ is None else Usage(
                request_id=first.key, active_uj=given_, held_uj=3, host_uj=4, low_uj=1, high_uj=given_ + 9,
                tier="simulated" if given_ == 1 else "measured", state="settled",
            )  # fmt: skip
            made.append(settled_entry(first.body, usage, ["late"]))
        elif what == "close":
            made.append(interval(number, at_us=at_us, **given_))
        elif what == "budget":
            body = {"revision": number, "at_us": at_us, "removed": False, "unit": "J", "limit": 9, "per": "day"}
            made.append(change_entry("budget", f"b.{given_}", given_, body))
    return made


def both(book: SqliteLedger, **changes: Any) -> tuple[bytes, bytes]:
    """The document from sums and from entries, canonical."""
    whole: dict[str, Any] = {
        "tenant": "acme", "start_us": AT_US, "end_us": AT_US + HOUR_US, "issuer": "i", "software": "s",
        "size": book.head().size, "chain": "0" * 64,
    }  # fmt: skip
    terms = changes.pop("terms", Terms())
    scope = Scope(**(whole | changes), terms=terms.members())
    folded = build_statement(book.entries(), scope)
    return canonical_json(from_sums(book, scope).document), canonical_json(folded.document)


@settings(max_examples=60, deadline=None)
@given(steps, st.sampled_from(["acme", EVERYBODY]), st.sampled_from(SUITED), st.sampled_from([1, 2]), st.booleans())
def test_sums_give_the_same_bytes_as_entries(
    a_line: Lines, drawn: list[tuple[str, Any]], tenant: str, terms: Terms, hours: int, shut: bool
) -> None:
    """Whatever was asked, settled late or never, in whichever hour its interval closed, with hours closed or open."""
    with TemporaryDirectory() as folder:
        book = SqliteLedger(Path(folder) / "ledger.db")
        closer, hour = HourCloser(book), -1
        for entry in entries_of(drawn, a_line):
            book.append([entry])
            if entry.kind == "device_interval" and entry.hour > hour:
                # As a writer does it: the hours before this one are closed behind their last interval.
                hour = entry.hour
                closer.fall_behind()
                book.append(closer.due((hour * HOUR_US) + 600_000_000))
        if shut:
            closer.fall_behind()
            book.append(closer.due(AT_US + 99 * HOUR_US))

        from_rows, from_lines = both(book, tenant=tenant, terms=terms, end_us=AT_US + hours * HOUR_US)

        assert from_lines == from_rows
        assert not [one for one in book.verify() if "rollup" in one or "hour" in one]
        book.close()


@pytest.fixture
def book(tmp_path: Path) -> Any:
    with_lines = SqliteLedger(tmp_path / "ledger.db")
    yield with_lines
    with_lines.close()


@pytest.mark.parametrize(
    "changes",
    [
        {"end_us": AT_US + HOUR_US // 2},
        {"terms": Terms(hardware=(Hardware(device="cpu", name="c", embodied_g=1, life_s=1, share_ppm=1, source="s"),))},
        {
            "terms": Terms(
                baselines=(
                    Baseline(
                        name="b",
                        about="a",
                        model="sentiment",
                        request_uj=1,
                        half_width_bp=1,
                        mg_per_kwh=None,
                        source="s",
                    ),
                )
            )
        },
        {"size": 0},
    ],
)
def test_what_sums_do_not_hold_is_folded_from_entries(book: SqliteLedger, a_line: Lines, changes: Any) -> None:
    """Half hours, shares and baselines rounded per request, an earlier end of the ledger: refused."""
    book.append([usage_entry(a_line())])

    with pytest.raises(NeedsEntries):
        both(book, **changes)


def test_lines_of_before_are_folded_from_entries(book: SqliteLedger, a_line: Lines) -> None:
    """A row whose lines carry no facts verifies as it is, and the statement is the same by the other way."""
    entry = usage_entry(a_line())
    old = {name: value for name, value in entry.body.items() if name != "ci_other"}
    book.append([replace(entry, body=old)])
    scope = Scope(
        tenant="acme", start_us=AT_US, end_us=AT_US + HOUR_US, issuer="i", software="s", size=1, chain="0" * 64
    )

    with pytest.raises(NeedsEntries, match="older version"):
        from_sums(book, scope)
    assert build_statement(book.entries(), scope).document == stated(book, scope).document
    assert [] == book.verify()
    assert b"facts" not in book.rollup_rows("acme", 0, 10**6)[0][1].to_json()


@pytest.mark.parametrize("tenant", ["acme", "globex", EVERYBODY])
@pytest.mark.parametrize("hour", [-1, 0, 1, 2])
def test_lines_that_close_in_another_hour_are_found_at_the_edges(
    book: SqliteLedger, a_line: Lines, tenant: str, hour: int
) -> None:
    """Each request settles an hour after it ended, the last one behind the last interval; every hour reconciles."""
    firsts = [usage_entry(a_line(ended_us=AT_US + number * HOUR_US)) for number in (-1, 0, 1)]
    book.append(firsts)
    for number, first in enumerate(firsts):
        usage = Usage(
            request_id=first.key, active_uj=10 + number, held_uj=0, host_uj=0, low_uj=1, high_uj=20, tier="measured",
            state="settled",
        )  # fmt: skip
        book.append([settled_entry(first.body, usage)])
        if number < 2:
            book.append([interval(number, at_us=AT_US + number * HOUR_US, active=10 + number)])

    start_us = AT_US + hour * HOUR_US
    from_rows, from_lines = both(book, tenant=tenant, start_us=start_us, end_us=start_us + HOUR_US)

    assert from_lines == from_rows
