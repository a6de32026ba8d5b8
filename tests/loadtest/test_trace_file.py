"""Recorded arrivals from CSV."""

import gzip
from pathlib import Path

import pytest

from greenserve.errors import InvalidRequest
from greenserve.loadtest.trace_file import read_trace

SHARED = Path(__file__).parents[2].parent / "shared" / "data" / "arrivals_azure_llm_2023_conv.csv.gz"


def test_plain_and_gzip_files_are_read(tmp_path: Path) -> None:
    """The column is found by its name, whatever stands beside it."""
    text = "tokens,offset_s\n12,0.5\n8,1.25\n"
    (tmp_path / "t.csv").write_text(text)
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(text.encode()))

    assert (0.5, 1.25) == read_trace(str(tmp_path / "t.csv")) == read_trace(str(tmp_path / "t.csv.gz"))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("time\n1\n2\n", "needs a column 'offset_s', has time"),
        ("offset_s\n1\nsoon\n", r"t\.csv:3: offset_s is 'soon'"),
        ("offset_s\n1\nnan\n", r"t\.csv:3: offset_s is 'nan'"),
        ("offset_s\n2\n1\n", r"t\.csv:3: offset_s falls"),
        ("offset_s\n1\n", "at least two arrivals at different times, has 1"),
    ],
)
def test_a_faulty_trace_is_refused_with_its_line(tmp_path: Path, text: str, complaint: str) -> None:
    """File and line are named."""
    (tmp_path / "t.csv").write_text(text)

    with pytest.raises(InvalidRequest, match=complaint):
        read_trace(str(tmp_path / "t.csv"))


def test_a_missing_trace_says_what_to_give(tmp_path: Path) -> None:
    """No such file: the message names it."""
    with pytest.raises(InvalidRequest, match=r"absent\.csv: cannot be read"):
        read_trace(str(tmp_path / "absent.csv"))


@pytest.mark.data
def test_a_published_trace_is_read_whole() -> None:
    """The Azure conversation trace: 19,366 arrivals, rising."""
    if not SHARED.is_file():
        pytest.skip("needs ../shared/data/arrivals_azure_llm_2023_conv.csv.gz beside the project")

    offsets = read_trace(str(SHARED))

    assert 10_000 < len(offsets)
    assert 0.0 == offsets[0]
