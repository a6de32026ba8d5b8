"""`greenserve carbon annual|backtest`: what is read is shown, written once, and refused with the remedy."""

from pathlib import Path

from tests.cli.conftest import Commands


def test_a_table_is_shown_and_written_as_ours(greenserve: Commands, folder: Path) -> None:
    """The written file is what `kind: annual` reads; it is not written over."""
    (folder / "iea.csv").write_text("COUNTRY,FLOW,TIME,Value\nDEU,EL,2023,360.5\nDEU,HEAT,2023,9\n")
    mapped = "carbon annual --from iea.csv --map iso3=COUNTRY --map year=TIME --map value=Value --unit kg/MWh"

    plain, again, as_json, unknown, wrong = greenserve(
        f"{mapped} --where FLOW=EL -o own.csv",
        f"{mapped} --where FLOW=EL -o own.csv",
        "carbon annual --from own.csv --json",
        "carbon annual --from iea.csv",
        "carbon annual --from iea.csv --map zone=COUNTRY",
    )

    assert (0, ["DEU", "2023", "360.5"]) == (plain.code, plain.out.splitlines()[1].split())
    assert "1 rows of another kind" in plain.err
    assert "iso3,year,gco2e_per_kwh\nDEU,2023,360.500\n" == (folder / "own.csv").read_text()
    assert (2, True) == (again.code, "own.csv exists" in again.err)
    assert [{"name": "DEU", "year": 2023, "mg_per_kwh": 360_500}] == as_json.document["values"]
    assert (4, True) == (unknown.code, "--map zone=COLUMN" in unknown.err)
    assert (2, True) == (wrong.code, "needed are year, value and one of zone, iso3, eia" in wrong.err)
    assert max(map(len, plain.out.splitlines())) <= 80


def test_a_backtest_shows_its_coverage_and_steers_the_width(greenserve: Commands, folder: Path) -> None:
    """With the file in the configuration the zone's readings have that half width; a short series is refused."""
    hours = [f"2025-{1 + day // 28:02}-{1 + day % 28:02}T{hour:02}:00:00Z" for day in range(84) for hour in range(24)]
    rows = [f"{at},SE,{20 + 3 * (place % 11)}" for place, at in enumerate(hours)]
    header = "timestamp_utc,region,carbon_intensity_gco2e_per_kwh"
    (folder / "year.csv").write_text("\n".join([header, *rows]) + "\n")
    (folder / "short.csv").write_text("\n".join([header, *rows[:50]]) + "\n")
    source = "{kind: recorded, file: year.csv, repeat: week}"
    text = (folder / "greenserve.yaml").read_text()
    lines = [
        f"intensity: {{half_widths: widths.csv, sources: [{source}]}}" if "intensity" in one else one
        for one in text.splitlines()
    ]
    (folder / "other.yaml").write_text("\n".join(lines))

    plain, now, short, unknown, nothing = greenserve(
        "carbon backtest --from year.csv -o widths.csv",
        "carbon now SE --json -c other.yaml",
        "carbon backtest --from short.csv",
        "carbon backtest PL --from year.csv",
        "carbon backtest",
    )

    assert (0, 0) == (plain.code, now.code), plain.err
    assert ["zone", "basis", "level", "age", "+-", "held", "out", "forward", "pairs"] == plain.out.splitlines()[
        0
    ].split()
    assert max(map(len, plain.out.splitlines())) <= 80
    old = now.document["zones"]["SE"]["lifecycle"]
    assert old["level"] == 3
    assert old["u_grid_bp"] not in (None, 3_000)
    assert (2, True) == (short.code, "give a longer series" in short.err)
    assert (2, True) == (unknown.code, "PL: no values of it in year.csv; there are SE" in unknown.err)
    assert (2, True) == (nothing.code, "no provider has told anything yet" in nothing.err)
