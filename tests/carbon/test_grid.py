"""From a configuration to readings: live providers over real sockets, one asker per node, and every fallback."""

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from greenserve.carbon.feeds.build import grid_from
from greenserve.carbon.feeds.grid import Grid
from greenserve.carbon.feeds.store import store_file
from greenserve.clock import ManualClock
from greenserve.config import Config
from greenserve.errors import ConfigInvalid
from tests.carbon.grid_server import DAY_US, HOUR_US, NOW_US, Answer, Asked, GridServer, a_clock, a_grid_server

EM = "/v3/carbon-intensity/"
ANNUAL = {"kind": "annual", "values": {"DE": "342gCO2e/kWh", "GB": "216gCO2e/kWh"}, "year": 2024, "source": "a table"}
PUE = {"value": 1.0, "source": "a test"}


def a_config(folder: Path, *sources: dict[str, Any], zones: tuple[str, ...] = ("DE",), **intensity: Any) -> Config:
    """Regions in these zones, the first of them here, with these sources."""
    sections: dict[str, Any] = {
        "version": 1,
        "models": [{"name": "tiny", "manifest": folder / "manifest.json"}],
        "regions": [
            {"name": f"r{place}", "zone": zone, "emulated": place > 0, "pue": PUE} for place, zone in enumerate(zones)
        ],
        "intensity": {"sources": sources, **intensity},
        "ledger": {"url": f"sqlite:///{folder / 'ledger.db'}"},
    }
    return Config(**sections)


def em_source(server: GridServer, folder: Path, **changes: Any) -> dict[str, Any]:
    """Electricity Maps on loopback, its key in a file."""
    (folder / "em.key").write_text("t0ken\n")
    return {"kind": "electricity-maps", "api_key": f"file:{folder / 'em.key'}", "url": server.url} | changes


def says_hourly(server: GridServer, value: str = "216", *, at: str = "2026-03-06T20:00:00Z") -> None:
    """Its latest value, at the basis that is asked for; no forecast and no past."""

    def latest(asked: Asked) -> Answer:
        basis = asked.query["emissionFactorType"][0]
        return Answer(
            f'{{"zone": "DE", "carbonIntensity": {value}, "datetime": "{at}", "isEstimated": false, '
            f'"emissionFactorType": "{basis}"}}'
        )

    server.says[EM + "latest"] = latest
    server.says[EM + "forecast"] = Answer({"zone": "DE", "forecast": []})
    server.says[EM + "past-range"] = Answer({"zone": "DE", "data": []})


@pytest.fixture
async def server() -> AsyncIterator[GridServer]:
    """The providers."""
    async with a_grid_server() as running:
        yield running


@pytest.fixture
def clock() -> ManualClock:
    return a_clock()


def a_grid(config: Config, clock: ManualClock) -> Grid:
    """Without proxies, chance or pauses."""

    async def no_pause(seconds: float) -> None:
        await asyncio.sleep(0)

    return grid_from(config, clock=clock, trust_env=False, draw=lambda: 0.5, pause=no_pause)


def level_of(grid: Grid, clock: ManualClock) -> tuple[int | None, int] | None:
    """Level and value of DE now."""
    reading = grid.chain.read(zone="DE", at_us=clock.unix_us())
    return None if reading is None else (reading.level, reading.mg_per_kwh)


async def test_a_live_value_comes_in_beside_the_questions_and_falls_back_when_it_ends(
    server: GridServer, clock: ManualClock, tmp_path: Path
) -> None:
    """Before the first answer the year stands; then live; silent for an hour: last good; six hours: the year again."""
    says_hourly(server)
    grid = a_grid(a_config(tmp_path, em_source(server, tmp_path), ANNUAL), clock)

    seen = [level_of(grid, clock)]
    await grid.turn()
    seen.append(level_of(grid, clock))
    server.says.clear()
    for hours in (1, 6, 7 * 24 - 7):
        clock.advance(duration_ns=hours * 3_600 * 10**9)
        await grid.turn()
        seen.append(level_of(grid, clock))
    await grid.close()

    assert [(4, 342_000), (0, 216_000), (1, 216_000), (4, 342_000), (3, 216_000)] == seen


@pytest.mark.parametrize(
    "value", ["null", "NaN", "-5", "1e9", "Infinity", '"green"'], ids=["null", "NaN", "minus", "1e9", "inf", "word"]
)
@pytest.mark.parametrize("annual", [True, False])
async def test_nonsense_is_the_next_level_and_never_zero_grams(
    server: GridServer, clock: ManualClock, tmp_path: Path, value: str, annual: bool
) -> None:
    """Invariant 17: the year stands in, and without one the intensity is unknown."""
    says_hourly(server, value)
    sources = [em_source(server, tmp_path), *([ANNUAL] if annual else [])]
    grid = a_grid(a_config(tmp_path, *sources), clock)

    await grid.turn()
    await grid.close()

    assert ((4, 342_000) if annual else None) == level_of(grid, clock)


async def test_a_value_six_hours_old_is_not_live(server: GridServer, clock: ManualClock, tmp_path: Path) -> None:
    """The provider answers, but with the past."""
    says_hourly(server, at="2026-03-06T14:00:00Z")
    grid = a_grid(a_config(tmp_path, em_source(server, tmp_path), ANNUAL), clock)

    await grid.turn()
    await grid.close()

    assert (4, 342_000) == level_of(grid, clock)


async def test_a_missing_key_is_told_and_heard_when_it_comes(
    server: GridServer, clock: ManualClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody is asked without one; the year stands in; put in place later, it is used without a restart."""
    caplog.set_level(logging.WARNING, logger="greenserve.grid")
    says_hourly(server)
    grid = a_grid(a_config(tmp_path, em_source(server, tmp_path), ANNUAL), clock)
    (tmp_path / "em.key").unlink()

    await grid.turn()
    without = level_of(grid, clock), server.paths(), {state.error for state in await grid.states()}
    (tmp_path / "em.key").write_text("t0ken")
    clock.advance(duration_ns=60 * 10**9)
    await grid.turn()
    await grid.close()

    level, paths, errors = without
    assert ((4, 342_000), []) == (level, paths)
    assert [True] == [str(error).endswith("put the key there, alone") for error in errors]
    assert (0, 216_000) == level_of(grid, clock)
    assert "t0ken" not in caplog.text


async def test_one_process_asks_and_the_others_see_what_it_got(
    server: GridServer, clock: ManualClock, tmp_path: Path
) -> None:
    """A provider's limits hold for the node; when the asking process ends, another goes on."""
    says_hourly(server)
    config = a_config(tmp_path, em_source(server, tmp_path), ANNUAL)
    first, second = a_grid(config, clock), a_grid(config, clock)

    await first.turn()
    asked = len(server.asked)
    await second.turn()
    seen, by_first = level_of(second, clock), len(server.asked)
    await first.close()
    clock.advance(duration_ns=600 * 10**9)
    await second.turn()
    await second.close()

    assert asked == by_first > 0
    assert (0, 216_000) == seen
    assert len(server.asked) > by_first


async def test_a_restart_begins_with_what_the_last_run_knew(
    server: GridServer, clock: ManualClock, tmp_path: Path
) -> None:
    """Before anybody is asked again; and no key is in the file."""
    says_hourly(server)
    config = a_config(tmp_path, em_source(server, tmp_path), ANNUAL)
    before = a_grid(config, clock)
    await before.turn()
    await before.close()
    asked = len(server.asked)

    after = a_grid(config, clock)
    known = level_of(after, clock)
    await after.turn()
    await after.close()

    assert (0, 216_000) == known
    assert asked == len(server.asked)
    assert b"t0ken" not in store_file(config).read_bytes()


async def test_a_started_grid_asks_by_itself_until_it_is_closed(server: GridServer, tmp_path: Path) -> None:
    """In a task of its own, on the machine's clock."""
    arrived = asyncio.Event()

    def latest(asked: Asked) -> Answer:
        arrived.set()
        return Answer("later", status=503)

    server.says[EM + "latest"] = latest
    grid = a_grid(a_config(tmp_path, em_source(server, tmp_path), ANNUAL), a_clock())

    grid.start()
    async with asyncio.timeout(10):
        await arrived.wait()
    await grid.close()

    assert not [task for task in asyncio.all_tasks() if task.get_name() == "grid"]


async def test_two_bases_of_one_grid_come_from_where_each_is_known(
    server: GridServer, clock: ManualClock, tmp_path: Path
) -> None:
    """NESO tells direct and a mix; `intensity.basis` says which one routing and answers use."""
    span = "2026-03-06T17:00Z/2026-03-06T20:00Z"
    slot = {"from": "2026-03-06T20:00Z", "to": "2026-03-06T20:30Z"}
    server.says[f"/intensity/{span}"] = Answer({"data": [slot | {"intensity": {"forecast": 200, "actual": 201}}]})
    server.says[f"/generation/{span}"] = Answer({"data": [slot | {"generationmix": [{"fuel": "gas", "perc": 100}]}]})
    config = a_config(
        tmp_path, {"kind": "neso", "url": server.url}, ANNUAL, zones=("GB", "azure:uksouth"), basis="direct"
    )
    grid = a_grid(config, clock)

    await grid.turn()
    await grid.close()

    readings = [grid.chain.read(zone=zone, at_us=NOW_US) for zone in ("GB", "azure:uksouth")]
    lifecycle = grid.chain.read_in(zone="GB", at_us=NOW_US, basis="lifecycle")
    assert [("GB", 201_000, "direct"), ("azure:uksouth", 201_000, "direct")] == [
        (one.zone, one.mg_per_kwh, one.basis) for one in readings if one is not None
    ]
    assert lifecycle is not None
    assert (0, 490_000) == (lifecycle.level, lifecycle.mg_per_kwh)


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def test_without_providers_nothing_runs_and_no_file_is_made(clock: ManualClock, tmp_path: Path) -> None:
    """Recorded and annual values need nobody."""
    config = a_config(tmp_path, ANNUAL)
    grid = a_grid(config, clock)

    grid.start()
    await grid.turn()
    states = await grid.states()
    await grid.close()

    assert [] == states
    assert [] == files_in(tmp_path)


async def test_a_provider_that_knows_none_of_the_zones_is_told_and_not_asked(
    server: GridServer, clock: ManualClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A slip in a zone's name would else look like a grid without data."""
    grid = a_grid(a_config(tmp_path, em_source(server, tmp_path), ANNUAL, zones=("ZZ-HERE",)), clock)
    await grid.turn()
    await grid.close()

    assert "electricity-maps knows none of ['ZZ-HERE'] and is not asked; give it codes" in caplog.text
    assert [] == server.asked


async def test_a_zone_of_a_sources_own_list_needs_a_code(
    server: GridServer, clock: ManualClock, tmp_path: Path
) -> None:
    """The message shows what to write; with the code it is asked for by that."""
    source = em_source(server, tmp_path, zones=["MINE"])
    with pytest.raises(ConfigInvalid, match=r"electricity-maps has no code for zone MINE; write `codes: \{MINE"):
        a_grid(a_config(tmp_path, source), clock)

    grid = a_grid(a_config(tmp_path, source | {"codes": {"MINE": "XX-1"}}), clock)
    await grid.turn()
    await grid.close()

    assert {"XX-1"} == {one.query["zone"][0] for one in server.asked}


@pytest.mark.parametrize(
    ("header", "row", "zone", "expected"),
    [
        ("zone,year,gco2e_per_kwh", "DE,2023,380.5", "DE", (380_500, "a file 2023")),
        ("iso3,country,year,gco2e_per_kwh", "DEU,Germany,2023,380.5", "gcp:europe-west3", (380_500, "a file 2023")),
        (
            "provider,region,gco2e_per_kwh,year",
            "gcp,europe-west3,275.82,2024",
            "gcp:europe-west3",
            (275_820, "a file 2024"),
        ),
    ],
)
def test_a_years_table_is_read_in_each_of_its_shapes(
    clock: ManualClock, tmp_path: Path, header: str, row: str, zone: str, expected: tuple[int, str]
) -> None:
    """By zone, by country, by cloud region; rows without a name or year are passed over, the newest year counts."""
    file = tmp_path / "annual.csv"
    file.write_text(f"{header}\n{row}\n{',' * header.count(',')}\n")
    grid = a_grid(a_config(tmp_path, {"kind": "annual", "file": file, "source": "a file"}), clock)

    reading = grid.chain.read(zone=zone, at_us=NOW_US)

    assert reading is not None
    assert expected == (reading.mg_per_kwh, reading.provider)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("zone,value\nDE,1\n", "line 1: the columns are"),
        ("zone,year,gco2e_per_kwh\nDE,2023,-1\n", "line 2: gco2e_per_kwh is '-1'"),
        ("zone,year,gco2e_per_kwh\nDE,2023,\n", "line 2: gco2e_per_kwh is ''"),
        ("zone,year,gco2e_per_kwh\nDE,1066,5\n", "line 2: the year is '1066'"),
        ("zone,year,gco2e_per_kwh\n", "holds no row"),
    ],
)
def test_a_faulty_years_table_is_refused(clock: ManualClock, tmp_path: Path, text: str, word: str) -> None:
    """The message names file, line and value."""
    file = tmp_path / "annual.csv"
    file.write_text(text)

    with pytest.raises(ConfigInvalid, match=word):
        a_grid(a_config(tmp_path, {"kind": "annual", "file": file, "source": "a file"}), clock)


async def test_hours_of_a_week_ago_are_asked_for_once_a_day(
    server: GridServer, clock: ManualClock, tmp_path: Path
) -> None:
    """So a value that was restated is met: it gets the next revision, and the store has it."""
    config = a_config(tmp_path, em_source(server, tmp_path), ANNUAL)
    grid = a_grid(config, clock)
    values = iter([200, 230])

    def past(asked: Asked) -> Answer:
        if asked.query["emissionFactorType"] == ["direct"]:
            return Answer({"zone": "DE", "data": []})
        row = {"carbonIntensity": next(values), "datetime": "2026-03-06T10:00:00Z", "isEstimated": False}
        return Answer({"zone": "DE", "data": [row]})

    says_hourly(server)
    server.says[EM + "past-range"] = past
    await grid.turn()
    clock.advance(duration_ns=DAY_US * 1_000)
    await grid.turn()
    await grid.close()

    reading = grid.chain.read_in(zone="DE", at_us=NOW_US - 10 * HOUR_US + 1, basis="lifecycle")
    assert reading is not None
    assert (230_000, 1) == (reading.mg_per_kwh, reading.revision)
