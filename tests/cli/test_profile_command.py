"""`greenserve carbon profile`: hour by month, best and worst, several zones side by side, CSV and SVG."""

import csv
from datetime import UTC, datetime, timedelta
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.cli.conftest import Commands

REAL = Path(__file__).parents[3] / "shared" / "data" / "carbon_intensity_em_lca_2022.csv.gz"


def write_series(file: Path) -> None:
    """Two zones, hourly, all of 2024: DE is at its best at noon, SE flat; and one hour of the next year."""
    start = datetime(2024, 1, 1, tzinfo=UTC)
    lines = ["timestamp_utc,region,carbon_intensity_gco2e_per_kwh"]
    for place in range(366 * 24 + 1):
        moment = start + timedelta(hours=place)
        lines.append(f"{moment:%Y-%m-%dT%H:00:00Z},DE,{400 + 10 * abs(moment.hour - 12) + moment.month}")
        lines.append(f"{moment:%Y-%m-%dT%H:00:00Z},SE,25")
    file.write_text("\n".join(lines) + "\n")


def test_a_year_is_shown_with_its_best_and_worst(greenserve: Commands, folder: Path) -> None:
    """The year that is known best; the hours of another clock; what is written is not written over."""
    write_series(folder / "year.csv")

    plain, both, as_json, again = greenserve(
        "carbon profile DE --from year.csv -o de.svg -o de.csv",
        "carbon profile DE SE gcp:europe-west3 --from year.csv",
        "carbon profile DE --from year.csv --tz Asia/Tokyo --json",
        "carbon profile DE --from year.csv -o de.csv",
    )

    assert 0 == plain.code, plain.err
    rows = [line.split() for line in plain.out.splitlines()]
    assert ["12", "401", "402"] == rows[13][:3]
    assert ["best", "hours", "12h", "407,"] == rows[27][:4]
    assert ["worst", "hours", "00h", "527,"] == rows[28][:4]
    assert ["best", "months", "Jan"] == rows[29][:3]
    assert "100.0% of the year known" in plain.err
    assert "recorded, year.csv, lifecycle" in plain.err
    assert max(map(len, [*plain.out.splitlines(), *both.out.splitlines()])) <= 80
    assert ["hour", "DE", "SE", "gcp:europe-west3"] == both.out.splitlines()[0].split()
    assert "of DE" in both.err
    (document,) = as_json.document["profiles"]
    assert ("Asia/Tokyo", [21, 20, 22]) == (as_json.document["time_zone"], document["best_hours"])
    assert 2024 == document["year"]
    cells = list(csv.DictReader((folder / "de.csv").read_text().splitlines()))
    noon_in_december = cells[12 * 12 + 11]
    assert ("12", "12", "412.000", "31") == tuple(
        noon_in_december[name] for name in ("hour", "month", "mean_gco2e_per_kwh", "known_hours")
    )
    assert 24 * 12 == len(cells)
    assert "{http://www.w3.org/2000/svg}svg" == ElementTree.fromstring((folder / "de.svg").read_text()).tag
    assert (2, True) == (again.code, "de.csv" in again.err)


def test_the_configurations_series_is_the_default(greenserve: Commands, folder: Path) -> None:
    """What is not there is said with what is; nothing is guessed."""
    write_series(folder / "year.csv")
    text = (folder / "greenserve.yaml").read_text()
    (folder / "other.yaml").write_text(text.replace("sources: [", "sources: [{kind: recorded, file: year.csv}, "))

    own, none, year, zone, clock, basis, target = greenserve(
        "carbon profile SE --year 2024 -c other.yaml",
        "carbon profile SE",
        "carbon profile SE --year 2023 -c other.yaml",
        "carbon profile DEE --from year.csv",
        "carbon profile DE --from year.csv --tz Mars/Base",
        "carbon profile DE --from year.csv --basis marginal",
        "carbon profile DE --from year.csv -o de.png",
    )

    assert (0, True) == (own.code, "recorded, recorded, lifecycle" in own.err), own.err
    assert {2} == {one.code for one in (none, year, zone, clock, basis, target)}
    assert "give --from FILE" in none.err
    assert "has no values of SE in it; there are 2024, 2025" in year.err
    assert "there are DE, SE; did you mean DE?" in zone.err
    assert "Europe/Berlin" in clock.err
    assert "allowed are lifecycle and direct" in basis.err
    assert "ends in .csv or .svg" in target.err


@pytest.mark.data
@pytest.mark.skipif(not REAL.is_file(), reason="needs ../shared/data")
def test_a_real_year_has_the_shape_that_the_publisher_tells(greenserve: Commands) -> None:
    """Germany 2022: noon is best, the evening worst; California's is best in its own midday."""
    (found,) = greenserve(["carbon", "profile", "DE", "US-CAL-CISO", "--from", str(REAL), "--json"])

    germany, california = found.document["profiles"]
    assert 11 in germany["best_hours"]
    assert 1.0 == germany["known_us"] / germany["year_us"]
    assert set(california["best_hours"]) <= {18, 19, 20, 21, 22}


def test_a_file_that_is_no_series_is_wrong_usage(greenserve: Commands, folder: Path) -> None:
    """Exit 2: it was given with the command, not in the configuration; the table is whole at 80 columns."""
    write_series(folder / "year.csv")
    (folder / "odd.csv").write_text("a,b\n1,2\n")

    gone, odd, both = greenserve(
        "carbon profile DE --from nope.csv", "carbon profile DE --from odd.csv", "carbon profile DE SE --from year.csv"
    )

    assert [2, 2, 0] == [one.code for one in (gone, odd, both)]
    assert "--from: " in gone.err
    assert "nope.csv" in gone.err
    rows = {line.split()[0]: line for line in both.out.splitlines() if line}
    assert ["worst", "00h", "Dec"] == rows["worst"].split()[:3]
    assert len(rows["worst"]) == len(rows["best"]) == len(rows["12"]) <= 80
