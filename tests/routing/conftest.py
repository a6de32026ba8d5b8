"""The published example: profile C, three regions, one hour's grid."""

import pytest

from greenserve.records import IntensityReading
from greenserve.routing.records import Arc, Objective, PoolState, Snapshot

# Variant: quality, then seconds per batch, per request, per request and token.
PROFILE_C = {
    "large-fp32": (0.910, 0.004, 0.002, 0.00025),
    "large-int8": (0.906, 0.0025, 0.0012, 0.00012),
    "half-int8": (0.893, 0.0015, 0.0006, 0.00006),
    "quarter-int8": (0.872, 0.001, 0.0003, 0.00003),
    "static": (0.820, 0.0002, 0.00002, 0.0000005),
}
# Region: g/kWh, PUE in thousandths, round trip [s].
GRID = {"de": (478, 1200, 0.0), "gb": (222, 1100, 0.013), "es": (219, 1150, 0.027)}
WATTS = 30.0


@pytest.fixture(scope="session")
def profile_c() -> Snapshot:
    """All variants of profile C in `de` (home), `gb` and `es`, with the standard class's objective."""
    arcs = [
        Arc(
            region=region,
            zone=region.upper(),
            variant=variant,
            quality=quality,
            theta=(fixed, row, token, 0.0),
            eta=(WATTS * fixed, WATTS * row, WATTS * token, 0.0),
            q99=1.0,
            max_batch=16,
            pue_milli=pue_milli,
            pool=region,
            rtt_s=rtt_s,
            tier="modelled",
        )
        for region, (_, pue_milli, rtt_s) in GRID.items()
        for variant, (quality, fixed, row, token) in PROFILE_C.items()
    ]
    return Snapshot(
        model="sentiment",
        version=1,
        home="de",
        arcs=tuple(arcs),
        readings={region.upper(): _reading(region, grams) for region, (grams, _, _) in GRID.items()},
        objective=Objective(latency_s=0.25, quality_floor=0.86, quality_mean=0.890, policy="min-carbon"),
        reference_length=64,
        digest="0" * 64,
    )


@pytest.fixture(scope="session")
def busy_pools() -> dict[str, PoolState]:
    """The queues of the example: backlogs and prices per region, batches of four."""
    return {
        "de": PoolState(backlog_s=0.012, batch_expected=4.0, mu_g_per_s=0.0),
        "gb": PoolState(backlog_s=0.009, batch_expected=4.0, mu_g_per_s=150e-6),
        "es": PoolState(backlog_s=0.030, batch_expected=4.0, mu_g_per_s=110e-6),
    }


def _reading(region: str, grams: int) -> IntensityReading:
    return IntensityReading(
        zone=region.upper(),
        start_us=0,
        end_us=3_600_000_000,
        mg_per_kwh=grams * 1000,
        basis="lifecycle",
        kind="average",
        origin="recorded",
        provider="example",
        retrieved_us=0,
    )
