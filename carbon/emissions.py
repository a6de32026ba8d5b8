"""Emissions of metered energy: one function per step, integers, rounded half to even."""

from collections.abc import Iterable

from greenserve.records import IntensityReading
from greenserve.units import J_PER_KWH, MILLI


def facility_uj(it_uj: int, pue_milli: int) -> int:
    """E9: energy at the site's meter [uJ] for IT energy [uJ], by the site's PUE [1/1000, at least 1000]."""
    if it_uj < 0 or pue_milli < MILLI:
        raise ValueError(f"needs energy >= 0 uJ and a PUE >= 1.000, got {it_uj} uJ and {pue_milli}/1000")
    return _half_even(it_uj * pue_milli, MILLI)


def emissions_ng(facility_uj: int, mg_per_kwh: int) -> int:
    """E11: emissions [ng CO2e] of facility energy [uJ] at a grid intensity [mg/kWh]."""
    if facility_uj < 0 or mg_per_kwh < 0:
        raise ValueError(f"needs energy and intensity >= 0, got {facility_uj} uJ and {mg_per_kwh} mg/kWh")
    # uJ x mg/kWh = 1e-6 J x 1e6 ng / (3.6e6 J): the powers of ten cancel, the joules of a kWh stay.
    return _half_even(facility_uj * mg_per_kwh, J_PER_KWH)


def site_and_emissions(
    it_uj: int, pue_milli: int, own_mg: int | None, other_mg: int | None
) -> tuple[int, int | None, int | None]:
    """E9 and then E11 at two intensities [mg/kWh]: site energy [uJ] and emissions [ng]; None for an unknown intensity.

    As `facility_uj` and `emissions_ng`, in one step for who derives millions of lines.
    """
    if it_uj < 0 or pue_milli < MILLI or (own_mg or 0) < 0 or (other_mg or 0) < 0:
        raise ValueError(
            f"needs energy >= 0 uJ, PUE >= 1.000, mg/kWh >= 0, got {it_uj}, {pue_milli}, {own_mg}, {other_mg}"
        )
    site_uj, rest = divmod(it_uj * pue_milli, MILLI)
    if rest > MILLI // 2 or (rest == MILLI // 2 and site_uj & 1):
        site_uj += 1
    own_ng = None if own_mg is None else _half_even(site_uj * own_mg, J_PER_KWH)
    return site_uj, own_ng, None if other_mg is None else _half_even(site_uj * other_mg, J_PER_KWH)


def accounted_ng(facility_uj: int, intensity: IntensityReading | None) -> int | None:
    """E11 at a reading's intensity [ng CO2e]; None where the intensity is unknown, never 0.

    ValueError for a marginal intensity: it may steer routing, but it accounts for nothing.
    """
    if intensity is None:
        return None
    if intensity.kind != "average":
        raise ValueError(f"accounts take average intensity, got {intensity.kind} for {intensity.zone}")
    return emissions_ng(facility_uj, intensity.mg_per_kwh)


def summed_ng(lines: Iterable[tuple[int, IntensityReading | None]]) -> tuple[int | None, int]:
    """E11 over the lines of a request: (emissions [ng CO2e], facility energy [uJ] that they do not cover).

    Each line is (facility energy [uJ], the reading of its slot). The sum adds rounded lines, so that a tenant derives
    it from its lines alone; None where no line is covered (0 for no lines). A revised reading changes this, no energy.
    """
    figures = [(energy_uj, accounted_ng(energy_uj, reading)) for energy_uj, reading in lines]
    known = [own_ng for _, own_ng in figures if own_ng is not None]
    uncovered_uj = sum(energy_uj for energy_uj, own_ng in figures if own_ng is None)
    return (sum(known) if known or not figures else None), uncovered_uj


def _half_even(numerator: int, denominator: int) -> int:
    """The quotient rounded to the nearest integer, halves to the even one."""
    quotient, remainder = divmod(numerator, denominator)
    twice = 2 * remainder
    return quotient + 1 if twice > denominator or (twice == denominator and quotient & 1) else quotient
