"""From configured sources to a chain of feeds."""

from pathlib import Path
from typing import Any

from greenserve.carbon.feeds.build import grid_from
from greenserve.clock import ManualClock
from greenserve.config import Config
from greenserve.grid_sections import AnnualSource, RecordedSource

HOUR_US = 3_600_000_000


def test_the_first_source_that_knows_answers_and_stamps_itself(tmp_path: Path) -> None:
    """The recorded hour wins inside its file; outside and for other zones the annual value answers; else None."""
    series = tmp_path / "series.csv"
    series.write_text("timestamp_utc,region,carbon_intensity_gco2e_per_kwh\n1970-01-01T00:00:00Z,DEMO-NORTH,41.5\n")
    recorded = RecordedSource(kind="recorded", file=series, provider="synthetic")
    annual = AnnualSource.model_validate(
        {"kind": "annual", "values": {"DEMO-NORTH": "60gCO2e/kWh", "SE": "31gCO2e/kWh"}, "year": 2025, "source": "desk"}
    )

    sections: dict[str, Any] = {
        "version": 1,
        "models": [{"name": "tiny", "manifest": tmp_path / "manifest.json"}],
        "regions": [{"name": "here", "zone": "DEMO-NORTH", "pue": {"value": 1.0, "source": "a test"}}],
        "intensity": {"sources": [recorded, annual]},
        "ledger": {"url": f"sqlite:///{tmp_path / 'ledger.db'}"},
    }
    feed = grid_from(Config(**sections), clock=ManualClock()).chain

    inside, outside = feed.read(zone="DEMO-NORTH", at_us=0), feed.read(zone="DEMO-NORTH", at_us=HOUR_US)
    assert inside is not None
    assert outside is not None
    assert (41_500, "recorded", "synthetic") == (inside.mg_per_kwh, inside.origin, inside.provider)
    assert (60_000, "annual") == (outside.mg_per_kwh, outside.origin)
    assert feed.read(zone="PL", at_us=0) is None
    assert {"DEMO-NORTH", "SE"} == feed.zones()
