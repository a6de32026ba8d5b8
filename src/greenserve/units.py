"""Exact conversions between the units of the ledger (integers) and those that people read."""

from decimal import Decimal
from fractions import Fraction
from functools import lru_cache

UJ_PER_J = 1_000_000
NG_PER_G = 1_000_000_000
J_PER_KWH = 3_600_000
NS_PER_S = 1_000_000_000
US_PER_S = 1_000_000
MG_PER_G = 1_000
MILLI = 1_000


def joules_from_uj(energy_uj: int) -> float:
    """Microjoules [uJ] to joules [J], for display and prediction only."""
    return energy_uj / UJ_PER_J


def uj_from_joules(energy_j: float) -> int:
    """Joules [J] to the nearest microjoule [uJ]; half to even."""
    return round(Fraction(energy_j) * UJ_PER_J)


def grams_from_ng(emissions_ng: int) -> float:
    """Nanograms [ng] to grams [g], for display and prediction only."""
    return emissions_ng / NG_PER_G


def ng_from_grams(emissions_g: float) -> int:
    """Grams [g] to the nearest nanogram [ng]; half to even."""
    return round(Fraction(emissions_g) * NG_PER_G)


def seconds_from_ns(duration_ns: int) -> float:
    """Nanoseconds [ns] to seconds [s]."""
    return duration_ns / NS_PER_S


@lru_cache(maxsize=1024)
def ns_from_seconds(duration_s: float) -> int:
    """Seconds [s] to the nearest nanosecond [ns]; half to even."""
    return round(Fraction(duration_s) * NS_PER_S)


def mg_per_kwh_from_g(grams_per_kwh: float | Decimal) -> int:
    """Grid intensity in g/kWh to the ledger's mg/kWh; half to even."""
    return round(Fraction(grams_per_kwh) * MG_PER_G)


def grams_per_joule(mg_per_kwh: int, pue_milli: int) -> float:
    """Grid intensity [mg/kWh] and site PUE [1/1000] to gCO2e per joule of IT energy, for predictions."""
    return mg_per_kwh * pue_milli / (MG_PER_G * MILLI * J_PER_KWH)


def decimal_joules(energy_uj: int) -> str:
    """Microjoules [uJ] as an exact decimal string in joules [J]."""
    return f"{Decimal(energy_uj).scaleb(-6):f}"


def decimal_grams(emissions_ng: int) -> str:
    """Nanograms [ng] as an exact decimal string in grams [g]."""
    return f"{Decimal(emissions_ng).scaleb(-9):f}"


def decimal_kwh(energy_uj: int) -> str:
    """Microjoules [uJ] as a decimal string in kWh, to the 15th place (1 uJ = 2.8e-13 kWh)."""
    return f"{(Decimal(energy_uj) / Decimal(UJ_PER_J * J_PER_KWH)).quantize(Decimal(1).scaleb(-15)):f}"


def two_digits(value: int) -> int:
    """An integer rounded to two significant digits, as shown to callers whose exposure is `rounded`."""
    magnitude = max(0, len(str(abs(value))) - 2)
    return int(round(value, -magnitude))
