"""Annual grid intensity: one value per zone, for when nothing closer to the hour is known."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from greenserve.errors import ConfigInvalid
from greenserve.records import LARGEST_MG_PER_KWH, Basis, IntensityReading
from greenserve.units import US_PER_S

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class AnnualFeed:
    """Average intensity of `year` by zone [mg/kWh] from `source`; it also answers for other years, and says so.

    The provider of a reading names source and year. `retrieved_us` defaults to the end of that year, the earliest time
    at which its value can have been known. `stands_for` says of a zone whose value it has, such as its country's.
    Raises ConfigInvalid for values outside 0..2,000,000 mg/kWh.
    """

    def __init__(
        self,
        values: Mapping[str, int],
        year: int,
        source: str,
        *,
        basis: Basis = "lifecycle",
        retrieved_us: int | None = None,
        stands_for: Mapping[str, str] | None = None,
    ) -> None:
        wrong = {zone: value for zone, value in values.items() if not 0 <= value <= LARGEST_MG_PER_KWH}
        if wrong or not values:
            raise ConfigInvalid(
                f"annual intensity from {source}: {wrong or 'no zone at all'}; "
                f"give each zone a value in 0..{LARGEST_MG_PER_KWH} mg/kWh"
            )
        self._values = dict(values)
        self._provider = f"{source} {year}"
        self._basis: Basis = basis
        self._observed_us = _year_start_us(year)
        self._stands_for = dict(stands_for or {})
        self._retrieved_us = _year_start_us(year + 1) if retrieved_us is None else retrieved_us

    def __repr__(self) -> str:
        return f"<AnnualFeed {self._provider}: {len(self._values)} zones>"

    def read(self, *, zone: str, at_us: int) -> IntensityReading | None:
        """The zone's value, holding over the calendar year (UTC) of `at_us` [us since 1970 UTC]; None if unknown."""
        mg_per_kwh = self._values.get(zone)
        if mg_per_kwh is None:
            return None
        asked_year = (EPOCH + timedelta(microseconds=at_us)).year
        return IntensityReading(
            zone=zone,
            start_us=_year_start_us(asked_year),
            end_us=_year_start_us(asked_year + 1),
            mg_per_kwh=mg_per_kwh,
            basis=self._basis,
            kind="average",
            origin="annual",
            provider=self._provider,
            retrieved_us=self._retrieved_us,
            model=self._stands_for.get(zone),
            observed_us=self._observed_us,
        )

    def zones(self) -> frozenset[str]:
        """The zones of the table."""
        return frozenset(self._values)


def _year_start_us(year: int) -> int:
    return (datetime(year, 1, 1, tzinfo=UTC) - EPOCH) // timedelta(seconds=1) * US_PER_S
