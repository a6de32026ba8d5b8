"""A recorded series as Parquet says what the same CSV says."""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from greenserve.carbon.feeds.recorded import RecordedFeed
from greenserve.errors import ConfigInvalid

pyarrow = pytest.importorskip("pyarrow", reason="needs pyarrow: install the extra `parquet`")
parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow: install the extra `parquet`")
AT = datetime(2026, 3, 6, 20, tzinfo=UTC)
AT_US = round(AT.timestamp()) * 1_000_000


def a_file(folder: Path, **columns: Any) -> Path:
    """One row: DE, 216.5 g/kWh; `columns` replace, None leaves one out."""
    whole = {"timestamp_utc": [AT], "region": ["DE"], "carbon_intensity_gco2e_per_kwh": [216.5]} | columns
    table = pyarrow.table({name: values for name, values in whole.items() if values is not None})
    parquet.write_table(table, folder / "series.parquet")
    return folder / "series.parquet"


@pytest.mark.parametrize(
    "columns",
    [
        {},
        {"timestamp_utc": ["2026-03-06T20:00:00Z"]},
        {"carbon_intensity_gco2e_per_kwh": [Decimal("216.5")]},
        {"further": [1]},
    ],
)
def test_an_hour_is_read_whatever_types_its_columns_have(tmp_path: Path, columns: dict[str, Any]) -> None:
    """Times as times or words, values as floats or decimals, further columns unread."""
    reading = RecordedFeed(a_file(tmp_path, **columns), provider="a test").read(zone="DE", at_us=AT_US)

    assert reading is not None
    assert (216_500, "recorded", AT_US) == (reading.mg_per_kwh, reading.origin, reading.start_us)


@pytest.mark.parametrize(
    ("columns", "word"),
    [
        ({"region": None}, "the columns are"),
        ({"region": [None]}, "line 1: .*the region is empty"),
        ({"carbon_intensity_gco2e_per_kwh": [float("nan")]}, "line 1: .*outside"),
        ({"carbon_intensity_gco2e_per_kwh": [None]}, "line 1: .*not a number"),
        ({"timestamp_utc": [AT.replace(tzinfo=None)]}, "line 1: .*offset from UTC"),
    ],
)
def test_a_fault_names_file_and_row(tmp_path: Path, columns: dict[str, Any], word: str) -> None:
    """Null is no zero, and a time without offset no hour."""
    with pytest.raises(ConfigInvalid, match=rf"series\.parquet.*{word}"):
        RecordedFeed(a_file(tmp_path, **columns), provider="a test")


def test_what_is_no_parquet_is_refused(tmp_path: Path) -> None:
    """Said at the start."""
    (tmp_path / "series.parquet").write_text("timestamp_utc,region\n")

    with pytest.raises(ConfigInvalid, match="cannot be read as a Parquet file"):
        RecordedFeed(tmp_path / "series.parquet", provider="a test")
