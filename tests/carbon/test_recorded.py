"""Recorded grid intensity: what a file says, hour by hour, and what it does not."""

import gzip
import zlib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from greenserve.carbon.feeds.recorded import RecordedFeed
from greenserve.configs.make_demo_intensity import demo_csv
from greenserve.errors import ConfigInvalid
from greenserve.records import IntensityReading

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"
HEADER = "timestamp_utc,region,carbon_intensity_gco2e_per_kwh"
HOUR_US = 3_600_000_000


def at_us(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000


def a_file(folder: Path, *rows: str, header: str = HEADER) -> Path:
    file = folder / "series.csv"
    file.write_text("\n".join([header, *rows]) + "\n")
    return file


def test_an_hour_answers_for_all_of_itself(tmp_path: Path) -> None:
    """Any moment of the hour gets the hour's value, with origin, provider and slot."""
    file = a_file(tmp_path, "2024-01-01T05:00:00Z,SE,31.5")
    start_us = at_us("2024-01-01T05:00")
    expected = IntensityReading(
        zone="SE",
        start_us=start_us,
        end_us=start_us + HOUR_US,
        mg_per_kwh=31_500,
        basis="direct",
        kind="average",
        origin="recorded",
        provider="synthetic",
        retrieved_us=7,
        observed_us=start_us,
    )

    feed = RecordedFeed(file, provider="synthetic", basis="direct", retrieved_us=7)

    assert expected == feed.read(zone="SE", at_us=start_us)
    assert expected == feed.read(zone="SE", at_us=start_us + HOUR_US - 1)


@pytest.mark.parametrize(
    ("zone", "at"), [("SE", "2024-01-01T04:59"), ("SE", "2024-01-01T06:00"), ("PL", "2024-01-01T05:00")]
)
def test_outside_the_file_the_intensity_is_unknown(tmp_path: Path, zone: str, at: str) -> None:
    """Another hour or zone gets None, never the nearest value."""
    feed = RecordedFeed(a_file(tmp_path, "2024-01-01T05:00:00Z,SE,31.5"), provider="test")

    assert feed.read(zone=zone, at_us=at_us(at)) is None


def test_a_repeated_week_answers_by_weekday_and_hour(tmp_path: Path) -> None:
    """A Monday 05:00 answers for every Monday 05:00, before and after, in that later slot; a Tuesday stays unknown."""
    file = a_file(tmp_path, "2024-01-01T05:00:00Z,SE,31.5", "2024-01-08T05:00:00Z,SE,40")
    feed = RecordedFeed(file, provider="test", repeat="week")

    later = feed.read(zone="SE", at_us=at_us("2026-11-23T05:30"))

    assert later is not None
    assert (40_000, at_us("2026-11-23T05:00")) == (later.mg_per_kwh, later.start_us)
    first = feed.read(zone="SE", at_us=at_us("2024-01-01T05:00"))
    assert first is not None
    assert 31_500 == first.mg_per_kwh
    assert feed.read(zone="SE", at_us=at_us("2026-11-24T05:30")) is None


def test_a_packed_file_reads_like_a_plain_one(tmp_path: Path) -> None:
    """The name's end decides."""
    plain = a_file(tmp_path, "2024-01-01T05:00:00Z,SE,31.5", "2024-01-01T05:00:00+00:00,PL,700")
    packed = tmp_path / "series.csv.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))

    feeds = [RecordedFeed(file, provider="test", retrieved_us=0) for file in (plain, packed)]

    readings = [feed.read(zone="PL", at_us=at_us("2024-01-01T05:00")) for feed in feeds]
    assert readings[0] is not None
    assert readings[0] == readings[1]
    assert frozenset({"SE", "PL"}) == feeds[1].zones()


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("2024-01-01T05:00:00Z,SE", "not enough values"),
        ("2024-01-01T05:00:00Z,SE,1,2", "too many values"),
        ("2024-01-01T05:00:00,SE,1", "lacks its offset"),
        ("2024-01-01T05:30:00Z,SE,1", "not the start of an hour"),
        ("yesterday,SE,1", "Invalid isoformat"),
        ("2024-01-01T05:00:00Z,,1", "region is empty"),
        ("2024-01-01T05:00:00Z,SE,", "not a number"),
        ("2024-01-01T05:00:00Z,SE,nan", "outside 0..2000"),
        ("2024-01-01T05:00:00Z,SE,-5", "outside 0..2000"),
        ("2024-01-01T05:00:00Z,SE,1e9", "outside 0..2000"),
        ("2024-01-01T04:00:00Z,SE,2", "second value for SE"),
    ],
)
def test_a_malformed_row_names_file_and_line(tmp_path: Path, row: str, reason: str) -> None:
    """Nothing is skipped in silence: the third line is at fault here."""
    file = a_file(tmp_path, "2024-01-01T04:00:00Z,SE,1", row)

    with pytest.raises(ConfigInvalid, match=rf"series\.csv line 3: .*{reason}"):
        RecordedFeed(file, provider="test")


def test_other_columns_are_refused(tmp_path: Path) -> None:
    """A column in another unit must not be taken for g/kWh."""
    file = a_file(tmp_path, "2024-01-01T04:00:00Z,SE,1", header="timestamp_utc,region,lb_per_mwh")

    with pytest.raises(ConfigInvalid, match="line 1: the columns are 'timestamp_utc,region,lb_per_mwh'"):
        RecordedFeed(file, provider="test")


def test_an_empty_or_unreadable_file_is_refused(tmp_path: Path) -> None:
    """Missing, without rows, not text, torn gzip: said at the start."""
    broken = tmp_path / "broken.csv.gz"
    broken.write_bytes(b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03" + zlib.compress(b"no raw deflate"))
    binary = tmp_path / "binary.csv"
    binary.write_bytes(b"\xff\xfe\x00")

    with pytest.raises(ConfigInvalid, match="holds no rows"):
        RecordedFeed(a_file(tmp_path), provider="test")
    for file in (tmp_path / "none.csv", broken, binary):
        with pytest.raises(ConfigInvalid, match="cannot be read as a CSV file"):
            RecordedFeed(file, provider="test")


def test_the_demo_series_is_what_its_script_makes() -> None:
    """Nobody edits synthetic numbers by hand: same seed, same bytes."""
    assert demo_csv().encode() == (ROOT / "configs" / "demo-intensity.csv").read_bytes()


def test_the_demo_zones_change_places_around_a_sunny_noon() -> None:
    """SOUTH is cleaner at noon of sunny days, NORTH at every other time, so routing has something to decide."""
    feed = RecordedFeed(ROOT / "configs" / "demo-intensity.csv", provider="synthetic", repeat="week")

    def greener_south(at: str) -> bool:
        north, south = (feed.read(zone=zone, at_us=at_us(at)) for zone in ("DEMO-NORTH", "DEMO-SOUTH"))
        assert north is not None
        assert south is not None
        return south.mg_per_kwh < north.mg_per_kwh

    hours = [f"2026-06-{day:02}T{hour:02}:30" for day in range(1, 8) for hour in range(24)]
    assert {11, 12, 13, 14} == {int(at[11:13]) for at in hours if greener_south(at)}
    assert 20 == sum(map(greener_south, hours))
    assert not any(greener_south(at) for at in hours if at.startswith(("2026-06-03", "2026-06-06")))


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "zones"),
    [
        ("carbon_intensity_em_lca_2022.csv.gz", 18),
        ("carbon_intensity_us_eia_2022.csv.gz", 8),
        ("carbon_intensity_eu_entsoe_2019.csv.gz", 9),
    ],
)
def test_real_series_are_read_whole(name: str, zones: int) -> None:
    """Every zone of the evaluation data answers at every hour of its year."""
    file = DATA / name
    if not file.is_file():
        pytest.skip(f"{file} is absent; put the evaluation data there to run this")
    feed = RecordedFeed(file, provider="evaluation data")
    year_start_us = at_us(f"{name[-11:-7]}-01-01T00:00")

    assert zones == len(feed.zones())
    for zone in feed.zones():
        assert all(feed.read(zone=zone, at_us=year_start_us + hour * HOUR_US) for hour in range(0, 8_760, 73))
