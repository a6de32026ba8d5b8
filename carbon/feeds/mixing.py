"""Readings from what each fuel generated, slot by slot (E13), the same way for every provider that tells fuels."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from statistics import median

from greenserve.carbon.factors.tables import FuelFactors
from greenserve.carbon.feeds.fetcher import Fetched
from greenserve.carbon.fuel_mix import mix_intensity
from greenserve.records import Basis, IntensityReading, Origin, Scope

BASES: tuple[Basis, ...] = ("lifecycle", "direct")
Slot = tuple[int, int]
"""Start and end [us UTC]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MixOrigin:
    """Whose mix it is: the provider, our zone, the fuel that each of its codes means, the factors, the answer.

    `origin` is `forecast` for a mix that the provider expects, which then cannot have been made after it was asked for.
    """

    provider: str
    zone: str
    fuels: Mapping[str, str]
    factors: FuelFactors
    fetched: Fetched
    origin: Origin = "observed"
    scope: Scope | None = "production"


def readings_from(slots: Mapping[Slot, Mapping[str, Fraction | None]], about: MixOrigin) -> Iterator[IntensityReading]:
    """A lifecycle and a direct reading for every slot whose mix is known well enough.

    `slots` hold an amount per code of the provider; None is a value that the provider left open. A code that half of
    the slots of the same answer have and this one lacks was not published yet: it counts as unknown with its median,
    so that a slot without its coal is no clean slot.
    """
    usual = _usual(slots)
    for start_us, end_us in sorted(slots):
        by_fuel = _by_fuel(slots[start_us, end_us], usual, about.fuels)
        for basis in BASES:
            mix = mix_intensity(by_fuel, about.factors.of(basis))
            if mix is not None:
                yield IntensityReading(
                    zone=about.zone,
                    start_us=start_us,
                    end_us=end_us,
                    mg_per_kwh=mix.mg_per_kwh,
                    basis=basis,
                    kind="average",
                    origin=about.origin,
                    provider=about.provider,
                    retrieved_us=about.fetched.retrieved_us,
                    scope=about.scope,
                    model=about.factors.name,
                    observed_us=made_us(start_us, about.origin, about.fetched),
                    raw_sha256=about.fetched.sha256,
                )


def made_us(start_us: int, origin: Origin, fetched: Fetched) -> int:
    """When a slot's value was seen [us UTC]; a forecast without a time of its own is no older than the answer."""
    return min(start_us, fetched.retrieved_us) if origin == "forecast" else start_us


def _usual(slots: Mapping[Slot, Mapping[str, Fraction | None]]) -> dict[str, Fraction]:
    known: defaultdict[str, list[Fraction]] = defaultdict(list)
    for amounts in slots.values():
        for code, value in amounts.items():
            if value is not None:
                known[code].append(max(Fraction(0), value))
    return {code: median(values) for code, values in known.items() if 2 * len(values) >= len(slots)}


def _by_fuel(
    amounts: Mapping[str, Fraction | None], usual: Mapping[str, Fraction], fuels: Mapping[str, str]
) -> dict[str, Fraction]:
    total: defaultdict[str, Fraction] = defaultdict(Fraction)
    for code in usual.keys() | amounts.keys():
        fuel, value = fuels.get(code, f"code {code}"), amounts.get(code)
        if value is not None:
            # Each code is cut at zero by itself: a station's own use takes nothing from another's generation.
            total[fuel] += max(Fraction(0), value)
        elif fuel not in {"storage", "imports"}:
            total[f"missing {code}"] += usual.get(code, Fraction(0))
    return dict(total)
