"""A grid reading as bodies of the ledger hold it."""

from typing import Any

from greenserve.records import IntensityReading


def members_of(reading: IntensityReading) -> dict[str, Any]:
    """What accounts for a line's emissions: value [mg/kWh], slot [us UTC], source, and how good it is."""
    return {
        "basis": reading.basis,
        "end_us": reading.end_us,
        "kind": reading.kind,
        "level": reading.level,
        "mg_per_kwh": reading.mg_per_kwh,
        "model": reading.model,
        "observed_us": reading.observed_us,
        "origin": reading.origin,
        "provider": reading.provider,
        "revision": reading.revision,
        "scope": reading.scope,
        "start_us": reading.start_us,
        "u_grid_bp": reading.u_grid_bp,
        "zone": reading.zone,
    }
