"""Runs across grid slots: pieces, readings and figures of usage lines that are cut."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.carbon.cuts import Later, cut_amounts, cut_faults, intensity_in, overlaps, reading_met, readings_over
from greenserve.carbon.entries import UsageLine, entry_of, settled_body, unmetered_body, usage_body
from greenserve.carbon.ledger.sqlite import SqliteLedger
from greenserve.carbon.receipt import Line, receipt_document
from greenserve.carbon.tally import Tally
from greenserve.records import IntensityReading, Usage
from tests.carbon.statements import AT_US, HOUR_US

Lines = Callable[..., UsageLine]
FIRST = IntensityReading(
    zone="SE", start_us=AT_US, end_us=AT_US + HOUR_US, mg_per_kwh=40_000, basis="lifecycle", kind="average",
    origin="observed", provider="one", retrieved_us=AT_US, scope="consumption", level=0, u_grid_bp=500,
)  # fmt: skip
SECOND = replace(FIRST, start_us=AT_US + HOUR_US, end_us=AT_US + 2 * HOUR_US, mg_per_kwh=400_000, origin="estimated")
EDGE_US = AT_US + HOUR_US


def a_cut_line(a_line: Lines, **changes: Any) -> UsageLine:
    """60 mJ over 400 ns, of which the last 300 lie in the second slot; PUE 1.12."""
    usage = Usage(
        request_id="0197a0b0-0000-7000-8000-000000000001", active_uj=40_000, held_uj=12_000, host_uj=8_000, low_uj=1,
        high_uj=90_000, tier="modelled", state="provisional",
    )  # fmt: skip
    whole: dict[str, Any] = {"intensity": FIRST, "later": (Later(1_100, EDGE_US, SECOND),), "usage": usage}
    return a_line(**(whole | {"start_ns": 1_000, "end_ns": 1_400, "request_id": usage.request_id} | changes))


def settled(first: dict[str, Any], slots: tuple[tuple[int, int, int], ...]) -> dict[str, Any]:
    active, held, host = (sum(piece[place] for piece in slots) for place in range(3))
    usage = Usage(
        request_id=first["request_id"], active_uj=active, held_uj=held, host_uj=host, low_uj=0, high_uj=10**9,
        tier="measured", state="settled",
    )  # fmt: skip
    return settled_body(first, usage, slots=slots)


def test_each_side_meets_the_reading_of_its_slot(a_line: Lines) -> None:
    """15 mJ at 40 g/kWh and 45 mJ at 400 g/kWh, at PUE 1.12: 187 and 5,600 ng; site energy is the sum of both."""
    body = usage_body(a_cut_line(a_line))

    assert ((10_000, 3_000, 2_000), (30_000, 9_000, 6_000)) == body["slots"]
    assert 16_800 + 50_400 == body["facility_uj"]
    assert 187 + 5_600 == body["loc_lifecycle_ng"]
    assert body["loc_direct_ng"] is None


def test_what_is_not_known_of_one_slot_is_not_known_of_the_line(a_line: Lines) -> None:
    """No part of it stands for the whole: null, and its joules are told as uncovered."""
    body, tally = usage_body(a_cut_line(a_line, later=(Later(1_100, EDGE_US, None),))), Tally()
    tally.add(body)

    assert (67_200, None) == (body["facility_uj"], body["loc_lifecycle_ng"])
    assert 60_000 == tally.loc_lifecycle_uncovered_uj
    assert {"observed": 15_000, "unknown": 45_000} == tally.by_origin


def test_a_settled_line_is_cut_by_what_was_metered(a_line: Lines) -> None:
    """10 mJ before the edge and 20 mJ behind it, whatever the estimate was; an unmetered one keeps the estimate."""
    first = usage_body(a_cut_line(a_line))

    later = settled(first, ((10_000, 0, 0), (15_000, 3_000, 2_000)))

    assert (11_200 + 22_400, 124 + 2_489) == (later["facility_uj"], later["loc_lifecycle_ng"])
    assert first["slots"] == unmetered_body(first)["slots"]
    assert first["loc_lifecycle_ng"] == unmetered_body(first)["loc_lifecycle_ng"]
    with pytest.raises(ValueError, match="by piece"):
        settled(first, ())


def test_sums_of_cut_lines_are_those_of_their_pieces(a_line: Lines) -> None:
    """Origins, intensities and grades by the energy of each piece; settling and taking away leave nothing behind."""
    first = usage_body(a_cut_line(a_line))
    later = settled(first, ((10_000, 0, 0), (15_000, 3_000, 2_000)))
    swapped, direct = Tally(), Tally()

    swapped.add(first)
    swapped.replace(first, later)
    direct.add({**first, **later})

    assert {"observed": 10_000, "estimated": 20_000} == swapped.by_origin
    assert {40_000: 11_200, 400_000: 22_400} == swapped.intensities
    assert direct == swapped
    swapped.add({**first, **later}, -1)
    assert Tally() == swapped


def test_the_intensity_that_a_line_met_is_the_mean_of_its_pieces(a_line: Lines) -> None:
    """By energy: a quarter at 40 and three quarters at 400 g/kWh; unknown where a piece is."""
    body = usage_body(a_cut_line(a_line))

    assert 310_000 == intensity_in(body, "lifecycle", 60_000)
    assert intensity_in(body, "direct", 60_000) is None
    assert intensity_in(usage_body(a_cut_line(a_line, later=(Later(1_100, EDGE_US, None),))), "lifecycle", 1) is None


def test_one_reading_for_the_answer_names_its_weakest_source(a_line: Lines) -> None:
    """Mean intensity over all slots, the weakest origin's provider; None where a piece has no such basis."""
    line = a_cut_line(a_line)
    assert line.intensity is not None
    before, behind = line.intensity, line.later[0].reading
    assert behind is not None

    met = reading_met(before, line.later, 310_000)

    assert met is not None
    assert (310_000, "estimated", before.start_us, behind.end_us) == (
        met.mg_per_kwh, met.origin, met.start_us, met.end_us,
    )  # fmt: skip
    assert reading_met(before, line.later, None) is None
    assert reading_met(before, (Later(1_100, EDGE_US, replace(behind, basis="direct")),), 1) is None
    assert reading_met(replace(before, basis="direct"), line.later, 1) is None


def test_the_receipt_tells_slot_by_slot(a_line: Lines) -> None:
    """When each began, its reading, its joules and grams; a line that is not cut has none."""
    own = [
        Line(index=number, salt="", leaf_hash="", body_sha256="", body=usage_body(line))
        for number, line in enumerate([a_cut_line(a_line), a_line()])
    ]

    slots: Any = receipt_document(own[:1], rounded=False)["slots"]

    assert [(None, "40.000", "0.015000"), ("400.000", "0.045000")] == [
        (slots[0]["start"], slots[0]["gco2e_per_kwh"], slots[0]["energy_joules"]),
        (slots[1]["gco2e_per_kwh"], slots[1]["energy_joules"]),
    ]
    assert slots[1]["start"] is not None
    assert [] == receipt_document(own[1:], rounded=False)["slots"]


def test_the_audit_derives_the_pieces_again(tmp_path: Path, a_line: Lines) -> None:
    """A whole line verifies; energy moved over the edge, a later edge and a reading of another time are found."""
    bodies: list[Any] = [
        usage_body(a_cut_line(a_line, request_id=f"0197a0b0-0000-7000-8000-00000000000{number}")) for number in range(4)
    ]
    (before, held, host), (behind, *rest) = bodies[1]["slots"]
    bodies[1]["slots"] = [[before - 1, held, host], [behind + 1, *rest]]
    bodies[2]["ci_later"][0]["from_ns"] = 1_500
    bodies[3]["ci_later"][0]["from_us"] = AT_US
    book = SqliteLedger(tmp_path / "ledger.db")
    book.append([entry_of(body) for body in bodies])

    findings = book.verify()
    book.close()

    assert ["entry 1", "entry 2", "entry 3"] == [finding[:7] for finding in findings]
    assert "by time they are" in findings[0]
    assert "does not hold" in findings[2]


def test_pieces_that_do_not_add_up_are_found(a_line: Lines) -> None:
    """On a settled line too, where only the sums can be derived again."""
    first = usage_body(a_cut_line(a_line))
    later = settled(first, ((10_000, 0, 0), (15_000, 3_000, 2_000)))

    assert [] == list(cut_faults(first, later))
    assert 1 == len(list(cut_faults(first, {**later, "slots": [[10_000, 0, 0], [15_000, 3_001, 2_000]]})))
    assert 1 == len(list(cut_faults(first, {**later, "slots": None})))
    assert entry_of(later).body is later


class Series:
    """Hourly readings, the nth with n g/kWh; unknown from `until` on. Notes what it was asked."""

    def __init__(self, until_us: int) -> None:
        self.until_us = until_us
        self.asked: list[int] = []

    def read(self, at_us: int) -> IntensityReading | None:
        self.asked.append(at_us)
        hour = at_us // HOUR_US
        if at_us >= self.until_us:
            return None
        return replace(FIRST, start_us=hour * HOUR_US, end_us=(hour + 1) * HOUR_US, mg_per_kwh=1_000 * hour)


@given(st.integers(0, 10 * HOUR_US), st.integers(0, 5 * HOUR_US), st.integers(0, 9))
def test_readings_follow_one_another_without_a_hole(start_us: int, length_us: int, given_hour: int) -> None:
    """The first holds when the run begins, each next one from the end of the one before, the last at the run's end."""
    series = Series(until_us=100 * HOUR_US)
    held = series.read(given_hour * HOUR_US)
    assert held is not None

    found = readings_over(held, start_us, start_us + length_us, series.read)

    edges = [at_us for at_us, _ in found]
    assert start_us == edges[0]
    for (at_us, reading), next_us in zip(found, [*edges[1:], start_us + max(1, length_us)], strict=True):
        assert reading is not None
        assert reading.start_us <= at_us < next_us <= reading.end_us
        assert next_us == reading.end_us or next_us == start_us + max(1, length_us)


def test_a_run_within_its_slot_asks_nobody() -> None:
    """Only a run that leaves the slot of its decision looks another reading up; unknown lasts to the end of the run."""
    series = Series(until_us=2 * HOUR_US)
    held = replace(FIRST, start_us=HOUR_US, end_us=2 * HOUR_US)

    assert [(HOUR_US, held)] == readings_over(held, HOUR_US, 2 * HOUR_US, series.read)
    assert [] == series.asked
    assert [(HOUR_US, held), (2 * HOUR_US, None)] == readings_over(held, HOUR_US, 9 * HOUR_US, series.read)


def test_a_reading_ends_where_its_counterpart_does() -> None:
    """Both bases of a piece hold all of it."""
    other = replace(FIRST, basis="direct", end_us=AT_US + 5)
    both = replace(FIRST, counterpart=other)

    found = readings_over(both, AT_US, AT_US + 9, lambda at_us: FIRST)

    assert [(AT_US, both), (AT_US + 5, FIRST)] == found


@given(
    st.tuples(*[st.integers(0, 10**12)] * 3),
    st.integers(0, 1_000),
    st.integers(1, 1_000),
    st.lists(st.integers(-100, 2_200), max_size=4),
)
def test_no_microjoule_is_lost_at_an_edge(
    amounts: tuple[int, int, int], start_ns: int, length_ns: int, edges_ns: list[int]
) -> None:
    """Each amount sums to itself, pieces without time get nothing, and the time of all pieces is that of the run."""
    pieces = cut_amounts(amounts, start_ns, start_ns + length_ns, sorted(edges_ns))
    times = overlaps(start_ns, start_ns + length_ns, sorted(edges_ns))

    assert amounts == tuple(sum(piece[place] for piece in pieces) for place in range(3))
    assert length_ns == sum(times)
    assert all(piece == (0, 0, 0) for piece, time_ns in zip(pieces, times, strict=True) if not time_ns)


def test_edges_are_in_order() -> None:
    """Others are a mistake of the caller."""
    with pytest.raises(ValueError, match="in order"):
        cut_amounts((1, 1, 1), 0, 10, (5, 4))
