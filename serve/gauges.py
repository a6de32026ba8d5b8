"""What a gateway replica holds at the moment, as telemetry's gauges."""

from greenserve.ports import Clock
from greenserve.records import IntensityReading
from greenserve.serve.gateway import Gateway
from greenserve.serve.placing import Batchers
from greenserve.serve.telemetry.hub import Telemetry
from greenserve.units import MILLI, US_PER_S


class Gauges:
    """Tells telemetry when it is asked to. State: what was told last, so that what is gone is taken back."""

    def __init__(self, *, telemetry: Telemetry, batchers: Batchers, gateway: Gateway, clock: Clock) -> None:
        self._telemetry = telemetry
        self._batchers = batchers
        self._gateway = gateway
        self._clock = clock
        self._grids: dict[str, IntensityReading] = {}
        self._tenants: set[str] = set()
        self._loop_errors = 0
        self._turned_away = 0

    def tell(self, *, http_connections: int) -> None:
        """Say how much there is of everything now."""
        tell = self._telemetry.gauge
        tell("greenserve_connections", http_connections, protocol="http")
        tell("greenserve_deferred_requests", self._gateway.deferral.held)
        for key, items in self._batchers.backlog().items():
            model, _, variant = key.partition("/")
            tell("greenserve_queue_requests", items, model=model, variant=variant)
        for model, state in self._gateway.cache.state().items():
            tell("greenserve_cache_bytes", state.size_bytes, model=model)
        errors = self._batchers.loop_errors
        if errors > self._loop_errors:
            self._telemetry.count("greenserve_batch_loop_errors_total", errors - self._loop_errors)
            self._loop_errors = errors
        away = self._gateway.admission.door.turned_away
        if away > self._turned_away:
            self._telemetry.count("greenserve_refused_total", away - self._turned_away, code="overloaded")
            self._turned_away = away
        left = self._gateway.admission.budgets_left()
        for tenant in self._tenants | left.keys():
            tell("greenserve_budget_remaining_ratio", left.get(tenant), tenant=tenant)
        self._tenants = set(left)
        self._tell_grids()

    def _tell_grids(self) -> None:
        readings = {zone: reading for zone, reading in self._gateway.router.readings.items() if reading is not None}
        for zone, old in self._grids.items():
            fresh = readings.get(zone)
            if fresh is None or _labels(fresh) != _labels(old):
                self._tell_grid(old, None, None)
        for reading in readings.values():
            # A recorded series is as old as its file by intention; what stands in for a live value is not.
            seen_us = None if reading.origin == "recorded" else reading.observed_us
            seen_us = reading.start_us if seen_us is None else seen_us
            age_s = max(0, self._clock.unix_us() - seen_us) / US_PER_S
            self._tell_grid(reading, reading.mg_per_kwh / MILLI, age_s)
        self._grids = readings

    def _tell_grid(self, reading: IntensityReading, grams_per_kwh: float | None, age_s: float | None) -> None:
        labels = _labels(reading)
        self._telemetry.gauge("greenserve_grid_intensity_grams_per_kwh", grams_per_kwh, **labels)
        self._telemetry.gauge("greenserve_grid_intensity_age_seconds", age_s, **labels)


def _labels(reading: IntensityReading) -> dict[str, str]:
    return {"zone": reading.zone, "provider": reading.provider, "origin": reading.origin}
