"""What a fault that was found in a meter or a power model makes of settled lines."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenserve.carbon.cuts import LATER, SLOTS
from greenserve.carbon.emissions import emissions_ng, facility_uj
from greenserve.carbon.entries import UsageLine, it_uj, unmetered_entry, usage_entry
from greenserve.carbon.rescaling import PPM, EnergyRevision, energy_body, scale_of
from greenserve.carbon.restating import entered, figures_of_pairs, more_uj, restated_entry, revised, row_of, same_cause
from tests.carbon.restatements import NOW_US, a_reading
from tests.carbon.statements import AT_US, HOUR_US, settled

Lines = Callable[..., UsageLine]
PARTS = ("active_uj", "held_uj", "host_uj")


def a_fault(scale_ppm: int = 1_100_000, **changes: Any) -> Mapping[str, Any]:
    """The cause that a scale of the CPU's energy in the builders' hour is."""
    whole: dict[str, Any] = {
        "device": "cpu", "by_cpu_time": True, "start_us": AT_US, "end_us": AT_US + HOUR_US, "scale_ppm": scale_ppm,
        "code": "meter_fault", "source": "a calibration",
    }  # fmt: skip
    return energy_body(EnergyRevision(**(whole | changes)))


def whole(line: UsageLine, active_uj: int = 60_000, **changes: Any) -> Mapping[str, Any]:
    """A request's settled body merged over its first one."""
    first = usage_entry(line)
    return {**first.body, **settled(first, active_uj).body, **changes}


def on_boards(body: Mapping[str, Any], *parts: tuple[str, int, str]) -> Mapping[str, Any]:
    """The line as one with parts on devices, each with active energy alone."""
    devices = [
        {"device": device, "active_uj": uj, "held_uj": 0, "host_uj": 0, "tier": tier, "batch": None, "theta": None}
        for device, uj, tier in parts
    ]
    return {**body, "devices": devices, "active_uj": sum(uj for _, uj, _ in parts), "held_uj": 0, "host_uj": 0}


@settings(max_examples=100)
@given(st.integers(0, 10**9), st.integers(0, 10 * PPM))
def test_energy_is_scaled_and_carbon_follows(a_line: Lines, active_uj: int, scale_ppm: int) -> None:
    """To the nearest microjoule; site energy by E9, emissions by E11; bounds go along, evidence never gets better."""
    body = whole(a_line(), active_uj)

    new = revised(body, [a_fault(scale_ppm, tier="modelled")])

    assert new is not None
    assert abs(new["active_uj"] * PPM - active_uj * scale_ppm) * 2 <= PPM
    assert facility_uj(it_uj(new) or 0, 1_120) == new["facility_uj"]
    assert emissions_ng(new["facility_uj"], 31_000) == new["loc_lifecycle_ng"]
    assert new["low_uj"] <= (it_uj(new) or 0) <= new["high_uj"]
    assert ("modelled", ["meter_fault"], "restated") == (new["tier"], new["flags"], new["state"])


@pytest.mark.parametrize(
    "cause",
    [
        a_fault(start_us=AT_US + 1),
        a_fault(start_us=AT_US - 1, end_us=AT_US),
        a_fault(by_cpu_time=False, device="gpu0"),
        a_fault(model="another"),
        a_fault(model="sentiment", variant="fp32"),
        a_fault(PPM),
    ],
)
def test_what_does_not_concern_a_line_leaves_it(a_line: Lines, cause: Mapping[str, Any]) -> None:
    """Another time, device, model or variant, or a factor of 1."""
    assert revised(whole(a_line()), [cause]) is None


def test_lines_that_no_meter_settled_stay(a_line: Lines) -> None:
    """An estimate that stood for want of a meter has no fault of one; what nobody pays for has no figure."""
    first = usage_entry(a_line())
    assert revised({**first.body, **unmetered_entry(first.body).body}, [a_fault()]) is None
    assert revised(whole(a_line(), charged=False), [a_fault()]) is None


def test_a_later_scale_stands_alone_and_can_be_taken_back(a_line: Lines) -> None:
    """It starts from what the meter had settled, not from the scale before it."""
    body = whole(a_line())

    once = revised(body, [a_fault(1_500_000)])
    assert once is not None
    twice = revised(once, [a_fault(500_000)])
    assert twice is not None
    back = revised(twice, [a_fault(PPM)])

    assert back is not None
    assert [["meter_fault"], body["flags"]] == [one["flags"] for one in (once, back)]
    assert [90_000, 30_000, 60_000] == [one["active_uj"] for one in (once, twice, back)]
    assert {name: body[name] for name in (*PARTS, "low_uj", "high_uj", "tier", "facility_uj", "loc_lifecycle_ng")} == {
        name: back[name] for name in (*PARTS, "low_uj", "high_uj", "tier", "facility_uj", "loc_lifecycle_ng")
    }
    assert revised(once, [a_fault(1_500_000)]) is None


def test_only_the_part_on_the_device_is_scaled(a_line: Lines) -> None:
    """A request on two boards and the CPU; the weakest evidence of all parts is the request's."""
    body = on_boards(
        whole(a_line()), ("cpu", 1_000, "modelled"), ("gpu0", 3_000, "measured"), ("gpu1", 5_000, "measured")
    )

    new = revised(body, [a_fault(2 * PPM, device="gpu0", by_cpu_time=False, code="model_fault", tier="class_average")])

    assert new is not None
    assert [1_000, 6_000, 5_000] == [part["active_uj"] for part in new["devices"]]
    assert ["modelled", "class_average", "measured"] == [part["tier"] for part in new["devices"]]
    assert (12_000, "class_average", ["model_fault"]) == (it_uj(new), new["tier"], new["flags"])
    assert 9_000 == it_uj(body)


@settings(max_examples=50)
@given(st.lists(st.integers(0, 1_000), min_size=2, max_size=2), st.integers(0, 3 * PPM))
def test_pieces_at_grid_slots_sum_to_the_line(a_line: Lines, pieces: list[int], scale_ppm: int) -> None:
    """A run that was cut keeps its proportions; site energy and emissions are those of its pieces."""
    body = dict(whole(a_line(), sum(pieces)))
    body[LATER] = [{"from_ns": 1, "from_us": AT_US, "ci": {**body["ci"], "mg_per_kwh": 90_000}, "ci_other": None}]
    body[SLOTS] = [[pieces[0], 0, 0], [pieces[1], 0, 0]]

    new = revised(body, [a_fault(scale_ppm)])

    if scale_ppm != PPM:
        assert new is not None
        assert new["active_uj"] == sum(piece[0] for piece in new[SLOTS])
        assert new["facility_uj"] == sum(facility_uj(piece[0], 1_120) for piece in new[SLOTS])


def test_a_fault_and_a_reading_apply_in_any_order(a_line: Lines) -> None:
    """Energy, then E9 and E11 by the newest of both."""
    body, causes = whole(a_line()), [a_fault(), a_reading(62_000)]

    new = revised(body, causes)

    assert new == revised(body, causes[::-1])
    assert new is not None
    assert emissions_ng(facility_uj(66_000, 1_120), 62_000) == new["loc_lifecycle_ng"]


def test_an_entry_tells_energy_only_where_it_changes(a_line: Lines) -> None:
    """Restatements of the grid alone stay what they were, byte for byte."""
    body = whole(a_line())
    new, greener = revised(body, [a_fault()]), revised(body, [a_reading()])
    assert new is not None
    assert greener is not None

    old_figures, new_figures = figures_of_pairs([(body, new)])

    assert (60_000, 66_000) == (old_figures["energy_uj"], new_figures["energy_uj"])
    assert "energy_uj" not in figures_of_pairs([(body, greener)])[0]
    row = row_of(
        {name: body.get(name, "own") for name in ("tenant", "key_id", "hour", "model", "variant", "region", "role")}
    )
    told = [
        restated_entry(row._replace(hour=1), [0], [(body, after)], revision=0, at_us=NOW_US, reason="r", closed=False)
        for after in (new, greener)
    ]
    assert [6_000, 0] == [more_uj(entry.body) for entry in told]


def test_causes_of_a_device_and_window_are_revisions_of_one(a_line: Lines) -> None:
    """Another factor for the same is its next revision; another window or model is a cause of its own."""
    keys = [
        entered(cause, revision=0, at_us=NOW_US, reason="r").key
        for cause in (a_fault(), a_fault(2 * PPM), a_fault(model="m"), a_fault(device="gpu0"))
    ]

    assert [True, False, False] == [key == keys[0] for key in keys[1:]]
    assert same_cause(a_fault(), a_fault(source="another report"))
    assert not same_cause(a_fault(), a_fault(tier="modelled"))


@pytest.mark.parametrize(
    ("text", "ppm"), [("1.07", 1_070_000), ("0", 0), ("2", 2 * PPM), ("0.000001", 1), ("10", 10 * PPM)]
)
def test_a_factor_is_read_exactly(text: str, ppm: int) -> None:
    """Six places, no floats."""
    assert ppm == scale_of(text)


@pytest.mark.parametrize("text", ["", "-1", "1e3", "1.1234567", "10.1", "nan", ".5", "1,07", "1.x"])
def test_what_is_no_factor_is_refused(text: str) -> None:
    """Nothing else is taken for a number."""
    with pytest.raises(ValueError, match="a factor"):
        scale_of(text)


def test_a_revision_outside_its_bounds_is_refused() -> None:
    """A scale in 0..10, a window with an end."""
    for changes in ({"scale_ppm": -1}, {"scale_ppm": 10 * PPM + 1}, {"end_us": AT_US}):
        with pytest.raises(ValueError, match="a scale lies in"):
            a_fault(**changes)
