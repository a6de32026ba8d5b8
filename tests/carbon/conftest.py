"""Builders of usage lines, shared by the tests of the ledger and its readers."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from greenserve.carbon.entries import UsageLine
from greenserve.carbon.ledger.opening import open_ledger
from greenserve.ids import new_request_id
from greenserve.records import IntensityReading, Usage
from tests.carbon.worlds import World

AT_US = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z


def _line(**changes: Any) -> UsageLine:
    request_id = changes.pop("request_id", None) or new_request_id()
    parts = {"active_uj": 54_603, "held_uj": 3_000, "host_uj": 4_300, "low_uj": 40_000, "high_uj": 84_000}
    parts |= {name: changes.pop(name) for name in list(changes) if name in parts}
    intensity: dict[str, Any] = {"zone": "SE", "mg_per_kwh": 31_000, "basis": "lifecycle", "provider": "a table"}
    intensity |= {name: changes.pop(name) for name in list(changes) if name in intensity}
    usage = Usage(request_id=request_id, tier="modelled", state="provisional", **parts)
    reading = IntensityReading(
        start_us=AT_US, end_us=AT_US + 3_600_000_000, kind="average", origin="annual", retrieved_us=AT_US, **intensity
    )
    whole: dict[str, Any] = {
        "request_id": request_id,
        "tenant": "acme",
        "key_id": "0123456789ab",
        "model": "sentiment",
        "run_id": "run-1",
        "ended_us": AT_US,
        "start_ns": 1_000_000_000,
        "end_ns": 1_010_000_000,
        "outcome": "ok",
        "protocol": "http",
        "cache": "miss",
        "rows": 1,
        "tokens_in": 12,
        "usage": usage,
        "intensity": reading,
        "pue_milli": 1120,
        "variant": "int8-dyn",
        "region": "north",
        "zone": intensity["zone"],
        "device": "cpu",
        "cpu_ns": 4_000_000,
        "host_cpu_ns": 500_000,
        "held_ns": 5_000_000,
    }
    return UsageLine(**(whole | changes))


@pytest.fixture(scope="session")
def a_line() -> Callable[..., UsageLine]:
    return _line


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    url = request.getfixturevalue("postgres_urls")() if request.param == "postgres" else ""
    made = World(tmp_path, open_ledger(url, tmp_path / "ledger.db"))
    yield made
    made.spool.close()
    made.book.close()
