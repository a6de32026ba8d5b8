"""What the issuer declares for a statement: hardware, contracts, a baseline. Integers only, with the origin of each."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from greenserve.carbon.entries import US_PER_HOUR

SECONDS_PER_YEAR = 365 * 86_400
PPM = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """Emissions of making a part of `device`: grams CO2e, years of life in seconds, the device's share in ppm."""

    device: str
    name: str
    embodied_g: int
    life_s: int
    share_ppm: int
    source: str

    def __post_init__(self) -> None:
        if self.embodied_g < 0 or self.life_s <= 0 or not 0 < self.share_ppm <= PPM:
            raise ValueError(f"hardware needs grams >= 0, a life > 0 s and a share of 1..{PPM} ppm, got {self!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Instrument:
    """A contract for electricity of one region: `energy_uj` in whole hours [start_us, end_us), mg CO2e per kWh, and
    the SHA-256 of its evidence."""

    instrument_id: str
    region: str
    start_us: int
    end_us: int
    energy_uj: int
    mg_per_kwh: int
    evidence_sha256: str

    def __post_init__(self) -> None:
        if self.start_us % US_PER_HOUR or self.end_us % US_PER_HOUR or self.end_us <= self.start_us:
            raise ValueError(f"instrument {self.instrument_id}: it covers whole hours of UTC, at least one")
        if self.energy_uj < 0 or self.mg_per_kwh < 0:
            raise ValueError(f"instrument {self.instrument_id}: energy and intensity are >= 0")

    def energy_in_hour_uj(self, hour: int) -> int:
        """Its energy in an hour since 1970 UTC [uJ]: an equal part of the whole, 0 outside; the parts sum exactly."""
        first, end = self.start_us // US_PER_HOUR, self.end_us // US_PER_HOUR
        if not first <= hour < end:
            return 0
        place, count = hour - first, end - first
        return self.energy_uj * (place + 1) // count - self.energy_uj * place // count


@dataclass(frozen=True, slots=True, kw_only=True)
class Residual:
    """The residual mix of a region [mg CO2e/kWh]: what no contract covers."""

    region: str
    mg_per_kwh: int
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """The operator's contracts and residual mixes, and the digest of the file that declares them."""

    instruments: tuple[Instrument, ...]
    residuals: tuple[Residual, ...]
    sha256: str

    def residual_of(self, region: str) -> int | None:
        """The residual mix of a region [mg/kWh], None where none is declared."""
        return next((one.mg_per_kwh for one in self.residuals if one.region == region), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """A declared way to answer `model`: `request_uj` IT energy per request +- `half_width_bp` [1/100 %], at a fixed
    intensity [mg/kWh] or, with None, at each request's own."""

    name: str
    about: str
    model: str
    request_uj: int
    half_width_bp: int
    mg_per_kwh: int | None
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """All that is declared. No hardware, no market or no baseline: the figures are null and say why."""

    hardware: tuple[Hardware, ...] = ()
    market: Market | None = None
    baselines: tuple[Baseline, ...] = ()
    pue_sources: Mapping[str, str] | None = None

    def members(self) -> dict[str, Any]:
        """As JSON members, for another process."""
        return asdict(self)

    @classmethod
    def of(cls, members: Mapping[str, Any] | None) -> "Terms":
        """From JSON members."""
        if not members:
            return cls()
        market = members["market"]
        return cls(
            hardware=tuple(Hardware(**one) for one in members["hardware"]),
            market=None
            if market is None
            else Market(
                instruments=tuple(Instrument(**one) for one in market["instruments"]),
                residuals=tuple(Residual(**one) for one in market["residuals"]),
                sha256=market["sha256"],
            ),
            baselines=tuple(Baseline(**one) for one in members["baselines"]),
            pue_sources=members["pue_sources"],
        )
