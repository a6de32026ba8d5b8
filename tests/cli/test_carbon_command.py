"""`greenserve carbon now|forecast`: values with their origin, and what does not answer."""

from pathlib import Path

import pytest

from tests.cli.conftest import Commands

SILENT = "{kind: electricity-maps, api_key: 'file:none.key', url: 'http://127.0.0.1:1'}"


@pytest.fixture(autouse=True)
def with_a_provider(folder: Path) -> None:
    """A provider without a key, before annual values of two zones."""
    file = folder / "greenserve.yaml"
    annual = "{kind: annual, values: {SE: 31gCO2e/kWh, DE: 342gCO2e/kWh}, year: 2025, source: a test}"
    lines = [
        f"intensity: {{sources: [{SILENT}, {annual}]}}" if "intensity" in line else line
        for line in file.read_text().splitlines()
    ]
    file.write_text("\n".join(lines))


def test_each_value_comes_with_level_width_and_source(greenserve: Commands, folder: Path) -> None:
    """The regions' zones by default; what is unknown says so; who does not answer is told with the remedy."""
    plain, as_json, offline = greenserve("carbon now", "carbon now DE JP-TK --json", "carbon now --offline")

    assert 0 == plain.code
    rows = [line.split() for line in plain.out.splitlines()]
    assert ["zone", "basis", "g/kWh", "+-", "level", "age", "by"] == rows[0]
    assert ["SE", "lifecycle", "31", "40%", "4", "annual"] == rows[1][:6]
    assert ["SE", "direct", "unknown", "-", "5", "unknown"] in [row[:6] for row in rows]
    assert (
        "SE    direct     unknown  -" in " ".join(plain.out.replace("   ", "  ").split("\n")) or "unknown" in plain.out
    )
    assert "electricity-maps: the file none.key holds no key" in plain.err
    document = as_json.document
    assert "greenserve.carbon-now/1" == document["schema"]
    assert (342_000, "annual", 4, 4_000) == tuple(
        document["zones"]["DE"]["lifecycle"][name] for name in ("mg_per_kwh", "origin", "level", "u_grid_bp")
    )
    assert [None, None] == [document["zones"]["JP-TK"][basis] for basis in ("lifecycle", "direct")]
    assert {"electricity-maps"} == {state["source"] for state in document["sources"]}
    assert 0 == offline.code
    assert max(map(len, plain.out.splitlines())) <= 80


def test_a_forecast_goes_hour_by_hour(greenserve: Commands) -> None:
    """As far as is asked for, and no further than a week."""
    hours, wrong, far = greenserve(
        "carbon forecast SE --within 3h --json", "carbon forecast SE --within soon", "carbon forecast SE --within 8d"
    )

    assert [31_000] * 4 == [one["reading"]["mg_per_kwh"] for one in hours.document["forecast"]]
    assert (2, 2) == (wrong.code, far.code)
    assert "--within is 8d; over 0 and up to 7d is allowed" in far.err


def test_a_zone_that_nobody_knows_is_an_error_with_the_nearest(greenserve: Commands) -> None:
    """A zone that exists but has no value is unknown; one that does not exist is a mistake."""
    typo, far = greenserve("carbon now SEE", "carbon forecast MARS-ONE --json")

    assert (4, 4) == (typo.code, far.code)
    assert "zone is 'SEE': no grid zone" in typo.err
    assert "did you mean" in typo.err


def test_the_best_window_stands_beside_starting_now(greenserve: Commands) -> None:
    """Of a flat year both are the same; what is drawn gives grams; a window that does not fit is refused."""
    plain, as_json, long, unknown = greenserve(
        "carbon best-window --zone SE --duration 2h --power-w 500",
        "carbon best-window --zone SE --duration 2h --json",
        "carbon best-window --zone SE --duration 2d",
        "carbon best-window --zone JP-TK --duration 2h",
    )

    assert (0, ["best", "now"]) == (plain.code, [line.split()[0] for line in plain.out.splitlines()[1:]])
    assert ["31.0", "40%", "31"] == plain.out.splitlines()[1].split()[2:]
    assert max(map(len, plain.out.splitlines())) <= 80
    assert (31_000, None) == (as_json.document["best"]["mean_mg_per_kwh"], as_json.document["best"]["emissions_g"])
    assert (2, True) == (long.code, "must fit into --within 24h" in long.err)
    assert (2, True) == (unknown.code, "no source expects 2h in a row" in unknown.err)
