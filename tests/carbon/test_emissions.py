"""E9 and E11: the two roundings between a metered microjoule and a nanogram."""

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.carbon.emissions import accounted_ng, emissions_ng, facility_uj, summed_ng
from greenserve.records import IntensityReading

energies_uj = st.integers(0, 2_000) | st.integers(0, 10**15)
intensities = st.integers(0, 2_000_000)
pues_milli = st.integers(1_000, 3_000)

READING = IntensityReading(
    zone="SE",
    start_us=0,
    end_us=3_600_000_000,
    mg_per_kwh=31_000,
    basis="lifecycle",
    kind="average",
    origin="recorded",
    provider="test",
    retrieved_us=0,
)


def test_a_joule_at_400_grams_per_kwh() -> None:
    """1 J x 400 g/kWh = 111,111 ng."""
    assert 111_111 == emissions_ng(1_000_000, 400_000)


def test_the_request_of_the_method_page() -> None:
    """61,903 uJ at PUE 1.120 is 69,331 uJ at the site; at 31 g/kWh that is 597 ng."""
    assert 69_331 == facility_uj(61_903, 1_120)
    assert 597 == emissions_ng(69_331, 31_000)
    assert 597 == accounted_ng(69_331, READING)


def test_halves_round_to_the_even_neighbour() -> None:
    """500/1000 falls to 0, 1,500/1000 rises to 2: no bias in either direction."""
    assert [2, 4, 8] == [facility_uj(uj, 1_500) for uj in (1, 3, 5)]
    assert [0, 2, 2] == [emissions_ng(uj, 1_800_000) for uj in (1, 3, 5)]


@given(energies_uj, pues_milli, intensities)
def test_each_step_is_linear_before_rounding(it_uj: int, pue_milli: int, mg_per_kwh: int) -> None:
    """The result lies within half a unit of the exact product."""
    assert abs(facility_uj(it_uj, pue_milli) - Fraction(it_uj * pue_milli, 1_000)) <= Fraction(1, 2)
    assert abs(emissions_ng(it_uj, mg_per_kwh) - Fraction(it_uj * mg_per_kwh, 3_600_000)) <= Fraction(1, 2)


@given(st.lists(energies_uj, min_size=1, max_size=10), intensities)
def test_lines_and_their_sum_differ_by_half_a_unit_each_at_most(lines: list[int], mg_per_kwh: int) -> None:
    """Additivity bound of rounding per line."""
    difference = sum(emissions_ng(line, mg_per_kwh) for line in lines) - emissions_ng(sum(lines), mg_per_kwh)

    assert 2 * abs(difference) <= len(lines) + 1


def test_an_unknown_intensity_leaves_the_emissions_unknown() -> None:
    """Never 0 g."""
    assert accounted_ng(1_000_000, None) is None


def test_a_marginal_intensity_accounts_for_nothing() -> None:
    """It may steer routing only."""
    with pytest.raises(ValueError, match="average intensity, got marginal for SE"):
        accounted_ng(1, replace(READING, kind="marginal"))


@pytest.mark.parametrize(("it_uj", "pue_milli"), [(-1, 1_000), (1, 999)])
def test_impossible_energy_and_pue_are_refused(it_uj: int, pue_milli: int) -> None:
    """A site never uses less than its IT."""
    with pytest.raises(ValueError, match=r"PUE >= 1\.000"):
        facility_uj(it_uj, pue_milli)


@pytest.mark.parametrize(("site_uj", "mg_per_kwh"), [(-1, 1), (1, -1)])
def test_negative_energy_and_intensity_are_refused(site_uj: int, mg_per_kwh: int) -> None:
    """Nothing is taken back by a sign."""
    with pytest.raises(ValueError, match=">= 0"):
        emissions_ng(site_uj, mg_per_kwh)


def test_a_request_adds_its_rounded_lines_and_names_what_they_leave_out() -> None:
    """Two slots of 31 g/kWh and one that nobody knows: 597 + 597 ng, 500 uJ not covered; all unknown is unknown."""
    assert (1_194, 500) == summed_ng([(69_331, READING), (69_331, READING), (500, None)])
    assert (None, 500) == summed_ng([(500, None)])
    assert (0, 0) == summed_ng([])


@given(st.lists(energies_uj, max_size=6), intensities, intensities)
def test_a_revised_grid_changes_emissions_only(lines: list[int], before: int, after: int) -> None:
    """The same lines with a newer reading: in proportion, up to the rounding of each line; no energy moves."""
    first, first_left = summed_ng([(uj, replace(READING, mg_per_kwh=before)) for uj in lines])
    second, second_left = summed_ng([(uj, replace(READING, mg_per_kwh=after)) for uj in lines])

    assert first is not None
    assert second is not None
    assert 0 == first_left == second_left
    assert abs(first * after - second * before) <= len(lines) * (before + after)
