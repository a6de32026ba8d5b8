"""What a command sees of the grid: readings of zones with level and age, and how asking the providers stands."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from greenserve.carbon.feeds.build import grid_of
from greenserve.carbon.feeds.chain import Expected
from greenserve.carbon.feeds.grid import Grid
from greenserve.carbon.feeds.levels import UNKNOWN, WORDS
from greenserve.carbon.feeds.store import ErrandState, store_file
from greenserve.clock import SystemClock
from greenserve.config import Config
from greenserve.records import Basis, IntensityReading
from greenserve.units import MG_PER_G, US_PER_S

BASES: tuple[Basis, ...] = ("lifecycle", "direct")


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a command found: per zone and basis a reading, the marginal signal, a forecast; and how asking stands."""

    now_us: int
    current: Mapping[str, Mapping[Basis, IntensityReading | None]]
    marginal: Mapping[str, IntensityReading | None]
    forecast: Mapping[str, Sequence[Expected]]
    states: Sequence[ErrandState]


async def see(
    config: Config, zones: Sequence[str], *, offline: bool, horizon_s: float, store: Path | None = None
) -> Seen:
    """The grid as the configuration's sources show it now; `offline` asks no provider: what is stored counts.

    `store` replaces the file beside the configuration's ledger. Raises ConfigInvalid as `grid_of` does.
    """
    # What the log of a gateway would say is told below the table, once per provider.
    logging.getLogger("greenserve.grid").addHandler(logging.NullHandler())
    clock = SystemClock()
    wanted = [*dict.fromkeys([*(region.zone for region in config.regions), *zones])]
    file = store_file(config) if store is None else store
    grid = grid_of(config.intensity, wanted=wanted, store=file, clock=clock, only_stored=offline)
    try:
        if not offline:
            await grid.turn()
        now_us = clock.unix_us()
        return Seen(
            now_us=now_us,
            current={zone: {basis: _read(grid, zone, now_us, basis) for basis in BASES} for zone in zones},
            marginal={zone: grid.marginal.read(zone=zone, at_us=now_us) for zone in zones},
            forecast={
                zone: grid.chain.forecast(zone=zone, start_us=now_us, end_us=now_us + round(horizon_s * US_PER_S))
                for zone in zones
            },
            states=await grid.states(),
        )
    finally:
        await grid.close()


def _read(grid: Grid, zone: str, now_us: int, basis: Basis) -> IntensityReading | None:
    return grid.chain.read_in(zone=zone, at_us=now_us, basis=basis)


def cells(reading: IntensityReading | None, now_us: int | None = None) -> tuple[str, str, str, str, str]:
    """A reading for a table: g/kWh, half width, level, age at `now_us` [us UTC] (or when it was seen), and by whom."""
    if reading is None or reading.level is None or reading.u_grid_bp is None:
        return "unknown", "-", f"{UNKNOWN} {WORDS[UNKNOWN]}", "-", "no source knows this zone and time in this basis"
    seen_us = reading.retrieved_us if reading.observed_us is None else reading.observed_us
    when = stamp(seen_us) if now_us is None else words_of_age(max(0, now_us - seen_us) // US_PER_S)
    by = [reading.provider, reading.origin, *([reading.scope] if reading.scope else [])]
    by += [reading.model] if reading.model else []
    return (
        f"{reading.mg_per_kwh / MG_PER_G:g}",
        f"{reading.u_grid_bp / 100:g}%",
        f"{reading.level} {WORDS[reading.level]}",
        when,
        ", ".join(by),
    )


def words_of_age(seconds: int) -> str:
    """An age [s] in its largest unit that it has two of."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def stamp(at_us: int) -> str:
    """A moment [us UTC] to the minute."""
    return f"{datetime.fromtimestamp(at_us // US_PER_S, tz=UTC):%Y-%m-%dT%H:%MZ}"
