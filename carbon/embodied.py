"""Emissions of making the hardware, spread over its life (method: E10). A column of its own, never routed by."""

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from greenserve.units import MILLI, NG_PER_G, NS_PER_S

S_PER_YEAR = 365 * 86_400
"""A year of accounting: 365 days. With it, 164 kg over 4 years and an eighth of 5,700 kg over 5 give 5,818,747 ng/s."""
HALF_WIDTH_BP = 5_000
"""Product footprints are good to a half of their value (90 %) [1/100 %]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Hardware that a device is charged for: `grams` CO2e to make it, of which `per` devices share one, its life."""

    name: str
    grams: int
    life_years: int
    per: int = 1

    def __post_init__(self) -> None:
        if self.grams < 0 or min(self.life_years, self.per) < 1:
            raise ValueError(f"a part has grams >= 0, a life of at least a year and at least one device, got {self!r}")


def rate_ng_per_s(parts: Iterable[Part]) -> int:
    """The device's embodied rate [ng CO2e/s], rounded half to even once over all parts."""
    grams = (Fraction(part.grams, part.per * part.life_years) for part in parts)
    return round(sum(grams, Fraction(0)) * NG_PER_G / S_PER_YEAR)


def embodied_ng(device_ns: int, share_milli: int, rate_ng_per_s: int | None) -> int | None:
    """E10: embodied emissions [ng] of holding `share_milli` [1/1000] of a device for `device_ns`, rounded down.

    None where the device's rate is unknown, never 0.
    """
    if device_ns < 0 or not 0 <= share_milli <= MILLI:
        raise ValueError(f"needs a time >= 0 ns and a share of 0..1000 thousandths, got {device_ns} and {share_milli}")
    if rate_ng_per_s is None:
        return None
    if rate_ng_per_s < 0:
        raise ValueError(f"making hardware emits >= 0 ng/s, got {rate_ng_per_s}")
    return device_ns * share_milli * rate_ng_per_s // (MILLI * NS_PER_S)


def unused_ng(device_ns: int, rate_ng_per_s: int | None, held_ng: Iterable[int]) -> int | None:
    """What is left of the device's embodied emissions [ng] over `device_ns` after its spans: it goes with idle.

    None where the rate is unknown. 0 where the spans' shares overbook the device.
    """
    whole_ng = embodied_ng(device_ns, MILLI, rate_ng_per_s)
    return None if whole_ng is None else max(0, whole_ng - sum(held_ng))
