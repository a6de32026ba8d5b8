"""Which lines a revised reading or factor changes, and to what."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenserve.carbon.emissions import emissions_ng, facility_uj
from greenserve.carbon.entries import OTHER_CI, UsageLine
from greenserve.carbon.held_lines import HeldLines
from greenserve.carbon.restating import entered, figures_of, revised
from tests.carbon.restatements import NOW_US, a_pue, a_reading, both
from tests.carbon.statements import AT_US, HOUR_US

Lines = Callable[..., UsageLine]
IT_UJ = 61_903


def whole(line: UsageLine, **changes: Any) -> Mapping[str, Any]:
    """A settled request's body merged over its first one."""
    first, settled = both(line)
    return {**first.body, **settled.body, **changes}


@pytest.mark.parametrize(
    "cause",
    [
        a_reading(31_000),
        a_reading(zone="NO"),
        a_reading(start_us=AT_US + HOUR_US, end_us=AT_US + 2 * HOUR_US),
        a_reading(provider="another"),
        a_pue(1_120),
        a_pue(region="south"),
        a_pue(end_us=AT_US + 1, start_us=AT_US - 1, region="south"),
    ],
)
def test_what_does_not_concern_a_line_leaves_it(a_line: Lines, cause: Mapping[str, Any]) -> None:
    """The same value, another zone, slot, provider or region."""
    assert revised(whole(a_line()), [cause]) is None


def test_a_value_that_stood_in_gives_way_to_any_provider(a_line: Lines) -> None:
    """Last week's or an annual value (level above 0) was there for want of the slot's own."""
    body = whole(a_line())

    new = revised({**body, "ci": {**body["ci"], "level": 4}}, [a_reading(provider="another")])

    assert new is not None
    assert ("another", 0) == (new["ci"]["provider"], new["ci"]["level"])


def test_unknown_intensity_is_filled(a_line: Lines) -> None:
    """A line without any reading gets one, and with it emissions: they were null, never 0."""
    body = whole(a_line(intensity=None))

    new = revised(body, [a_reading()])

    assert new is not None
    assert (None, 1_194) == (body["loc_lifecycle_ng"], new["loc_lifecycle_ng"])


def test_the_other_basis_is_filled_where_lines_tell_it(a_line: Lines) -> None:
    """A direct value beside a lifecycle one; a line of before there were two readings stays as it is."""
    body = whole(a_line())
    older = {name: value for name, value in body.items() if name != OTHER_CI}
    direct = a_reading(10_000, basis="direct")

    new = revised(body, [direct])

    assert new is not None
    assert (597, 193) == (new["loc_lifecycle_ng"], new["loc_direct_ng"])
    assert revised(older, [direct]) is None


def test_lines_that_nobody_pays_or_nothing_metered_stay(a_line: Lines) -> None:
    """They have no figure in any statement that could follow."""
    assert revised(whole(a_line(charged=False)), [a_reading()]) is None
    assert revised(whole(a_line(usage=None)), [a_reading()]) is None


@settings(max_examples=100)
@given(st.integers(0, 2_000_000), st.integers(1_000, 3_000))
def test_carbon_follows_e9_and_e11_and_energy_stays(a_line: Lines, mg_per_kwh: int, pue_milli: int) -> None:
    """Whatever the revised values, in either order; only site energy, emissions, state and what they rest on change."""
    body = whole(a_line())
    causes = [a_reading(mg_per_kwh), a_pue(pue_milli)]

    new, other = revised(body, causes), revised(body, causes[::-1])

    assert new == other
    after = body if new is None else new
    assert facility_uj(IT_UJ, pue_milli) == after["facility_uj"]
    assert emissions_ng(after["facility_uj"], mg_per_kwh) == after["loc_lifecycle_ng"]
    changed = {name for name in after if after[name] != body[name]}
    assert changed <= {"ci", "pue_milli", "facility_uj", "loc_lifecycle_ng", "state"}


def test_unknown_stays_null_in_what_an_entry_says(a_line: Lines) -> None:
    """None of two lines has direct emissions: null, and the joules that it does not cover; lifecycle of one of two."""
    figures = figures_of([whole(a_line()), whole(a_line(intensity=None))])

    assert (None, 2 * IT_UJ) == (figures["loc_direct_ng"], figures["loc_direct_uncovered_uj"])
    assert (597, IT_UJ) == (figures["loc_lifecycle_ng"], figures["loc_lifecycle_uncovered_uj"])


def test_a_fold_that_was_not_told_of_a_row_says_so() -> None:
    """Lines of it went by already: going on would give figures of before."""
    row = {"tenant": "a", "key_id": "", "hour": 1, "model": "m", "variant": "", "region": "", "role": "own"}

    with pytest.raises(ValueError, match="was not announced"):
        HeldLines([]).restate({**row, "causes": []})


def test_readings_count_their_revisions() -> None:
    """Lines were settled with revision 0, so the first restating reading is number 1; a provider's own count stands."""
    numbers = [
        entered(a_reading(revision=told), revision=number, at_us=NOW_US, reason="r").body["reading"]
        for told, number in ((0, 0), (0, 1), (7, 0))
    ]

    assert [1, 2, 7] == [reading["revision"] for reading in numbers]  # type: ignore[index]
