"""A run as JSON and CSV."""

import csv
import json
from io import StringIO
from pathlib import Path

from greenserve.loadtest.plan import Plan
from greenserve.loadtest.report import COLUMNS, csv_of, document_of
from greenserve.loadtest.samples import Recording, Sample, read_recording, write_recording
from greenserve.loadtest.summary import gates_of, summarise

SAMPLES = (
    Sample(0.0, 0.001, 0.005, None, 33_120, "modelled", 1985, "north/int8-dyn", "miss"),
    Sample(0.02, 0.002, 0.006, "503, busy", None, None, None, None, None),
)
RECORDING = Recording(samples=SAMPLES, planned=2, dropped=0, wall_s=1.0, cpu_share=0.2, complete=True)
PLAN = Plan(
    url="http://127.0.0.1:8080",
    model="sentiment",
    key="gs_secret",
    rate_per_s=50.0,
    duration_s=30.0,
    arrivals="poisson",
    seed=3,
    repeat_share=0.0,
    first_text=0,
    max_in_flight=100,
    timeout_s=30.0,
    result_file="result.json",
    parent_pid=1,
)


def test_the_document_holds_the_plan_and_no_key() -> None:
    """Seed and rate to repeat the run; unknown members null; no secret."""
    summary = summarise(RECORDING)

    document = json.loads(json.dumps(document_of(PLAN, summary, gates_of(summary, max_mj=None, max_p95_ms=None))))

    assert 3 == document["plan"]["seed"]
    assert "gs_secret" not in json.dumps(document)
    assert (None, True) == (document["passed"], document["valid"])
    assert document["energy"]["low_mj"] is None


def test_the_csv_has_a_line_per_request_and_empty_unknowns() -> None:
    """An unknown energy is an empty field; an error with a comma stays one field."""
    rows = list(csv.DictReader(StringIO(csv_of(RECORDING))))

    assert list(COLUMNS) == list(rows[0])
    assert ["33120", ""] == [row["energy_uj"] for row in rows]
    assert "503, busy" == rows[1]["error"]
    assert "0.008" == rows[1]["from_intended_s"]


def test_a_recording_survives_its_file(tmp_path: Path) -> None:
    """What the child writes is what the parent reads."""
    write_recording(RECORDING, tmp_path / "result.json")

    read = read_recording(tmp_path / "result.json")
    assert SAMPLES == tuple(read.samples)
    assert RECORDING.cpu_share == read.cpu_share
