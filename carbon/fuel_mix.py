"""Grid intensity from what the power stations of a zone burn (E13), exact, from a table of factors per fuel."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

LEAST_KNOWN = Fraction(9, 10)
NOT_GENERATION = frozenset({"storage", "imports"})
"""What feeds a grid without producing electricity in it: it was produced elsewhere or at another time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """The intensity of a mix [mg/kWh], the share of its generation whose fuel has a factor, and the others' names."""

    mg_per_kwh: int
    known: Fraction
    unknown_fuels: tuple[str, ...]


def mix_intensity(generated: Mapping[str, Fraction], factors_mg_per_kwh: Mapping[str, int]) -> Mix | None:
    """E13: `sum(max(0, E_f) * factor_f) / sum(max(0, E_f))` over the fuels with a factor, rounded half to even.

    `generated` is energy or mean power by fuel in any one unit; storage and imports are left out, and a negative value
    (a station's own use) counts as none. Fuels without a factor are unknown: None where they make more than a tenth of
    the generation, and where nothing was generated. ValueError for a negative factor.
    """
    if factors_mg_per_kwh and min(factors_mg_per_kwh.values()) < 0:
        raise ValueError(f"a factor is >= 0 mg/kWh, got {dict(factors_mg_per_kwh)}")
    positive = {fuel: amount for fuel, amount in generated.items() if amount > 0 and fuel not in NOT_GENERATION}
    known = {fuel: amount for fuel, amount in positive.items() if fuel in factors_mg_per_kwh}
    everything, covered = sum(positive.values(), Fraction(0)), sum(known.values(), Fraction(0))
    if not covered or covered < LEAST_KNOWN * everything:
        return None
    weighted = sum((amount * factors_mg_per_kwh[fuel] for fuel, amount in known.items()), Fraction(0))
    return Mix(
        mg_per_kwh=round(weighted / covered),
        known=covered / everything,
        unknown_fuels=tuple(sorted(positive.keys() - known.keys())),
    )
