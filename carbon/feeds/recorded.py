"""Recorded grid intensity: hours of a CSV or Parquet file, stamped `recorded`."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Literal

from greenserve.carbon.feeds.series_rows import COLUMNS, rows_of
from greenserve.errors import ConfigInvalid
from greenserve.records import Basis, IntensityReading
from greenserve.units import US_PER_S, mg_per_kwh_from_g

LARGEST_G_PER_KWH = 2_000
HOUR_US = 3_600 * US_PER_S
HOURS_PER_WEEK = 168
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class RecordedFeed:
    """Hourly values of `file` (CSV, gzip where the name ends in .gz, or Parquet), average intensity of one `basis`.

    Columns: timestamp_utc (start of the hour, ISO 8601 with its offset), region (the zone),
    carbon_intensity_gco2e_per_kwh. An hour without a row is unknown; with `repeat="week"` the newest recorded value of
    the same weekday and hour answers instead. `retrieved_us` defaults to the file's time of change. Raises
    ConfigInvalid that names file, line, what was given and what is allowed.
    """

    def __init__(
        self,
        file: Path,
        *,
        provider: str,
        repeat: Literal["week"] | None = None,
        basis: Basis = "lifecycle",
        retrieved_us: int | None = None,
    ) -> None:
        if repeat not in (None, "week"):
            raise ConfigInvalid(f"repeat is {repeat!r}; allowed is 'week', or leave it out for no repetition")
        self._name = file.name
        self._provider = provider
        self._basis: Basis = basis
        try:
            changed_us = file.stat().st_mtime_ns // 1_000
        except OSError as error:
            raise ConfigInvalid(
                f"{file} cannot be read as a CSV file or Parquet file of grid intensity: {error}"
            ) from None
        self._hours = _hours_by_zone(file)
        self._retrieved_us = changed_us if retrieved_us is None else retrieved_us
        self._week = {zone: _week_of(hours) for zone, hours in self._hours.items()} if repeat else {}

    def __repr__(self) -> str:
        return f"<RecordedFeed {self._name} by {self._provider}: {len(self._hours)} zones, repeats {bool(self._week)}>"

    def read(self, *, zone: str, at_us: int) -> IntensityReading | None:
        """The recorded hour that holds at `at_us` [us since 1970 UTC]; None for an unknown zone or hour."""
        hour = at_us // HOUR_US
        recorded = self._hours.get(zone, {})
        seen = hour if hour in recorded else self._week.get(zone, {}).get(hour % HOURS_PER_WEEK)
        if seen is None:
            return None
        return IntensityReading(
            zone=zone,
            start_us=hour * HOUR_US,
            end_us=(hour + 1) * HOUR_US,
            mg_per_kwh=recorded[seen],
            basis=self._basis,
            kind="average",
            origin="recorded",
            provider=self._provider,
            retrieved_us=self._retrieved_us,
            observed_us=seen * HOUR_US,
        )

    def zones(self) -> frozenset[str]:
        """The zones that the file names."""
        return frozenset(self._hours)

    def series(self, zone: str) -> dict[int, int]:
        """All recorded hours of a zone [mg/kWh] by their start [us since 1970 UTC]; empty for an unknown zone."""
        return {hour * HOUR_US: value for hour, value in self._hours.get(zone, {}).items()}


def _hours_by_zone(file: Path) -> dict[str, dict[int, int]]:
    """Zone to hour (counted from 1970 UTC) to intensity [mg/kWh]."""
    zones: dict[str, dict[int, int]] = {}
    for line, (zone, hour, mg_per_kwh) in _parsed(file):
        hours = zones.setdefault(zone, {})
        if hour in hours:
            raise ConfigInvalid(f"{file} line {line}: a second value for {zone} in the same hour; keep one")
        hours[hour] = mg_per_kwh
    if not zones:
        raise ConfigInvalid(f"{file} holds no rows; it needs at least one hour of one zone")
    return zones


def _parsed(file: Path) -> Iterator[tuple[int, tuple[str, int, int]]]:
    # An hour's text and a value's text recur for many zones and hours: each is read once.
    hours: dict[str, int] = {}
    values: dict[str, int] = {}
    for line, row in rows_of(file):
        try:
            time_text, zone, value_text = row
            if time_text not in hours:
                hours[time_text] = _hour(time_text)
            if value_text not in values:
                values[value_text] = _intensity(value_text)
            if not zone:
                raise ValueError("the region is empty")
        except ValueError as error:
            raise ConfigInvalid(
                f"{file} line {line}: {','.join(row)!r} is not a row of {','.join(COLUMNS)} ({error}); "
                "an unknown hour has no row"
            ) from None
        yield line, (zone, hours[time_text], values[value_text])


def _hour(text: str) -> int:
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError(f"the time {text} lacks its offset from UTC, such as Z")
    hour, rest = divmod(at - EPOCH, timedelta(hours=1))
    if rest:
        raise ValueError(f"the time {text} is not the start of an hour")
    return hour


def _intensity(text: str) -> int:
    try:
        grams = Decimal(text)
    except InvalidOperation:
        raise ValueError(f"the intensity {text!r} is not a number") from None
    if not (grams.is_finite() and 0 <= grams <= LARGEST_G_PER_KWH):
        raise ValueError(f"the intensity {text} is outside 0..{LARGEST_G_PER_KWH} g/kWh")
    return mg_per_kwh_from_g(grams)


def _week_of(hours: dict[int, int]) -> dict[int, int]:
    """The newest recorded hour of each hour of the week (hours since 1970 UTC, modulo 168: one weekday and hour)."""
    return {hour % HOURS_PER_WEEK: hour for hour in sorted(hours)}
