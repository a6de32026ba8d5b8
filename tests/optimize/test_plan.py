"""What a run will do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.errors import InvalidRequest
from greenserve.optimize.kinds import CLASSIFICATION
from greenserve.optimize.plan import (
    FAMILIES,
    PRESETS,
    Preset,
    buckets_for,
    expected_seconds,
    grid_for,
    p95_cell,
    plan_variants,
    preset_named,
)


def test_names_say_what_was_done() -> None:
    """Six layers of 384: baseline first, then a fixed order whatever the user's."""
    planned = plan_variants(layers=6, hidden=384, families=("static", "drop", "int8-dyn"))

    assert [one.name for one in planned] == ["fp32", "int8-dyn", "drop3-int8-dyn", "static-256-int8"]
    assert [one.parent for one in planned] == [None, "fp32", "fp32", "fp32"]
    assert planned == plan_variants(layers=6, hidden=384)


@pytest.mark.parametrize("families", [(), ("int4",), ("int8-dyn", "fp32")])
def test_unknown_families_are_refused_with_those_allowed(families: tuple[str, ...]) -> None:
    """The message lists them."""
    with pytest.raises(InvalidRequest, match=", ".join(FAMILIES)):
        plan_variants(layers=6, hidden=384, families=families)


def test_a_single_layer_cannot_be_dropped() -> None:
    """The message says which family to leave out."""
    with pytest.raises(InvalidRequest, match="'drop'"):
        plan_variants(layers=1, hidden=32)


@given(st.integers(1, 512))
def test_buckets_rise_to_the_longest_input(max_length: int) -> None:
    """Every allowed length fits a bucket."""
    buckets = buckets_for(max_length)

    assert max_length == buckets[-1]
    assert list(buckets) == sorted(set(buckets))


@given(st.integers(1, 300), st.sampled_from(list(PRESETS.values())))
def test_the_grid_stays_within_the_model_and_holds_the_p95_cell(max_length: int, preset: Preset) -> None:
    """Lengths beyond the model's are cut to it, and one row of at most 64 tokens is measured."""
    grid = grid_for(preset, max_length=max_length)

    assert max(length for _, length in grid) <= max_length
    assert p95_cell(grid) in grid
    assert len(set(grid)) == len(grid)


def test_an_unknown_preset_is_refused_with_those_allowed() -> None:
    """`full` comes later."""
    with pytest.raises(InvalidRequest, match="demo, standard"):
        preset_named("full")


def test_more_variants_are_expected_to_take_longer() -> None:
    """Every stage has an expected time above zero."""
    few, many = (expected_seconds(PRESETS[CLASSIFICATION, "demo"], families=given) for given in (("drop",), FAMILIES))

    assert sum(few.values()) < sum(many.values())
    assert min(few.values()) > 0
