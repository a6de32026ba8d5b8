"""Energy that no request caused, priced for the operator at the mean of the same hour's requests."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from greenserve.carbon.entries import it_uj
from greenserve.carbon.folded import Unassigned
from greenserve.carbon.reconciliation import pools_of
from greenserve.carbon.tally import Tally

BASES = ("loc_direct_ng", "loc_lifecycle_ng")


class Pooled:
    """State: sums by hour, changed by `add`, `add_sums` and `close` alone."""

    def __init__(self) -> None:
        self._pools: Counter[int] = Counter()
        self._it: Counter[int] = Counter()
        self._facility: Counter[int] = Counter()
        self._priced: dict[str, Counter[int]] = {basis: Counter() for basis in BASES}
        self._ng: dict[str, Counter[int]] = {basis: Counter() for basis in BASES}

    def add(self, body: Mapping[str, Any], hour: int) -> None:
        """Take a request of any tenant: its hour's PUE and intensity price the energy beside it."""
        energy_uj = it_uj(body)
        if energy_uj is None or body["facility_uj"] is None:
            return
        self._it[hour] += energy_uj
        self._facility[hour] += body["facility_uj"]
        for basis in BASES:
            if body[basis] is not None:
                self._priced[basis][hour] += energy_uj
                self._ng[basis][hour] += body[basis]

    def add_sums(self, tally: Tally, hour: int) -> None:
        """Take all requests of an hour's row."""
        self._it[hour] += tally.energy_uj - tally.facility_unknown_uj
        self._facility[hour] += tally.facility_uj
        for basis in BASES:
            self._priced[basis][hour] += tally.energy_uj - getattr(tally, f"{basis.removesuffix('_ng')}_uncovered_uj")
            self._ng[basis][hour] += getattr(tally, basis)

    def close(self, body: Mapping[str, Any], hour: int) -> None:
        """Take a device's interval."""
        self._pools[hour] += sum(pools_of(body).values())

    def unassigned(self) -> Unassigned:
        """The sums; an hour without a priced request is left out of the emissions and told in `uncovered_uj`."""
        facility_uj = unknown_uj = uncovered_uj = 0
        totals: dict[str, int | None] = dict.fromkeys(BASES)
        for hour, pool_uj in self._pools.items():
            if self._it[hour]:
                facility_uj += pool_uj * self._facility[hour] // self._it[hour]
            else:
                unknown_uj += pool_uj
            if not self._priced["loc_lifecycle_ng"][hour]:
                uncovered_uj += pool_uj
            for basis in BASES:
                priced_uj = self._priced[basis][hour]
                if priced_uj:
                    totals[basis] = (totals[basis] or 0) + pool_uj * self._ng[basis][hour] // priced_uj
        return Unassigned(
            energy_uj=self._pools.total(),
            facility_uj=facility_uj,
            facility_unknown_uj=unknown_uj,
            direct_ng=totals["loc_direct_ng"],
            lifecycle_ng=totals["loc_lifecycle_ng"],
            uncovered_uj=uncovered_uj,
        )
