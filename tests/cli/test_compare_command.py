"""`greenserve compare`: runs of each kind, what may not be compared, and what CI is told."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

from greenserve.carbon.exporters.json_lines import JsonLines
from greenserve.loadtest.plan import Plan
from greenserve.loadtest.report import csv_of, document_of
from greenserve.loadtest.samples import Recording, Sample
from greenserve.loadtest.summary import summarise
from tests.carbon.test_exporters import a_report
from tests.cli.conftest import Commands

PLAN: dict[str, Any] = {
    "url": "http://127.0.0.1:1",
    "model": "sentiment",
    "key": None,
    "rate_per_s": 50.0,
    "duration_s": 10.0,
    "arrivals": "poisson",
    "seed": 0,
    "repeat_share": 0.0,
    "first_text": 0,
    "max_in_flight": 10,
    "timeout_s": 1.0,
    "result_file": "",
    "parent_pid": 0,
}


def write_load_test(
    stem: Path, *, seed: int, mj: float = 20.0, ms: float = 10.0, complete: bool = True, **plan: Any
) -> None:
    """A run of 400 requests around these means, as `loadtest -o` writes it."""
    random = Random(seed)
    samples = [
        Sample(
            intended_s=place / 50,
            lag_s=0.001,
            service_s=ms / 1_000 * random.uniform(0.8, 1.2),
            error=None,
            energy_uj=round(1_000 * mj * random.uniform(0.8, 1.2)),
            tier="modelled",
            emissions_ng=round(100 * mj * random.uniform(0.8, 1.2)),
            route="north/int8-dyn",
            cache="miss",
        )
        for place in range(400)
    ]
    recording = Recording(samples=samples, planned=400, dropped=0, wall_s=8.0, cpu_share=0.1, complete=complete)
    document = document_of(Plan(**(PLAN | plan)), summarise(recording), ())
    stem.with_suffix(".json").write_text(json.dumps({"schema": "greenserve.loadtest/1"} | dict(document)))
    stem.with_suffix(".csv").write_text(csv_of(recording))


def verdicts(metrics: Sequence[dict[str, Any]]) -> dict[str, str]:
    """The verdict of each metric."""
    return {one["metric"]: one["difference"]["verdict"] for one in metrics}


def test_load_tests_are_told_apart_metric_by_metric(greenserve: Commands, folder: Path) -> None:
    """A tenth more joules and a fifth less latency: both are seen, failures are not; the tier stands below."""
    write_load_test(folder / "a", seed=1)
    write_load_test(folder / "b", seed=2, mj=22.0, ms=8.0)

    plain, gate, wide, as_json = greenserve(
        "compare a.json b.json",
        "compare a.json b.json --tolerance 5%",
        "compare a.json b.json --tolerance 15%",
        "compare a.json b.json --json",
    )

    assert 0 == plain.code, plain.err
    assert max(map(len, plain.out.splitlines())) <= 80
    assert "tier of energy: modelled" in plain.out
    found = verdicts(as_json.document["metrics"])
    assert ("worse", "worse", "better", "better", "no evidence") == tuple(
        found[name] for name in ("mJ/request", "mgCO2e/1k", "service p95 ms", "from start p50 ms", "failed %")
    )
    assert "no evidence" == found["service p99 ms"]
    assert (3, 0) == (gate.code, wide.code)
    assert "worse beyond the tolerance: mJ/request" in gate.err


def test_a_run_that_does_not_count_is_evidence_of_nothing(greenserve: Commands, folder: Path) -> None:
    """Exit 7, whatever the figures say; without the samples the latencies have no interval."""
    write_load_test(folder / "a", seed=1)
    write_load_test(folder / "b", seed=2, mj=90.0, complete=False)
    write_load_test(folder / "c", seed=3, mj=90.0)
    (folder / "c.csv").unlink()

    invalid, bare = greenserve("compare a.json b.json --tolerance 0% --json", "compare a.json c.json --json")

    assert 7 == invalid.code
    assert "NOT VALID, so no evidence of anything: B: the run ended before its schedule did" in invalid.err
    document = json.loads(invalid.out)
    assert ({"no evidence"}, None) == (set(verdicts(document["metrics"]).values()), document["passed"])
    found = verdicts(bare.document["metrics"])
    assert ("worse", "no evidence") == (found["mJ/request"], found["service p50 ms"])
    assert "without c.csv beside it" in bare.err


def test_what_was_measured_differently_is_not_compared(greenserve: Commands, folder: Path) -> None:
    """Another rate, another kind, other samples, no run at all: each says what it met and what is allowed."""
    write_load_test(folder / "a", seed=1)
    write_load_test(folder / "b", seed=2, rate_per_s=100.0)
    (folder / "track.json").write_text(
        json.dumps({"schema": "greenserve.carbon-track/1"} | a_report(state="final").as_dict())
    )
    (folder / "other.json").write_text('{"schema": "greenserve.doctor/1"}')
    (folder / "broken.json").write_text('{"schema": "greenserve.loadtest/1"}')
    rows = list(csv.reader((folder / "a.csv").read_text().splitlines()))
    write_load_test(folder / "cut", seed=1)
    (folder / "cut.csv").write_text("\n".join(",".join(row) for row in rows[:-5]) + "\n")

    mixed, allowed, kinds, other, broken, cut, none, tolerance = greenserve(
        "compare a.json b.json",
        "compare a.json b.json --allow-mixed",
        "compare a.json track.json",
        "compare a.json other.json",
        "compare a.json broken.json",
        "compare a.json cut.json",
        "compare a.json none.json",
        "compare a.json a.json --tolerance 2",
    )

    assert {2} == {one.code for one in (mixed, kinds, other, broken, cut, none, tolerance)}
    assert "rate_per_s is 50.0 and 100.0. --allow-mixed compares them all the same" in mixed.err
    assert (0, True) == (allowed.code, "MIXED: rate_per_s is 50.0 and 100.0" in allowed.out)
    assert "of the kind load test, RUN_B of the kind profile" in kinds.err
    assert "has schema 'greenserve.doctor/1'; it must be a load test" in other.err
    assert "broken.json is no whole run: plan is missing; save the run again" in broken.err
    assert "has 395 requests and the run beside it 400" in cut.err
    assert "cannot be read as JSON" in none.err
    assert "2 has no unit; write 2%" in tolerance.err


def test_reports_of_trackers_and_profilers_are_compared(greenserve: Commands, folder: Path) -> None:
    """One run by its meter's interval, repeated ones by their spread; what is unknown is no metric."""
    for name, energy_uj in (("a", 3_600_000_000), ("b", 4_800_000_000)):
        report = a_report(energy_uj, state="final")
        (folder / f"{name}.json").write_text(json.dumps(report.energy.as_dict()))
        lines = JsonLines(folder / f"{name}.jsonl")
        for more in (0, 10_000_000, 20_000_000):
            lines.write(a_report(energy_uj + more))
            lines.write(a_report(energy_uj + more, state="final"))
    (folder / "unknown.json").write_text(json.dumps(a_report(None, state="final").energy.as_dict()))
    (folder / "running.jsonl").write_text((folder / "a.jsonl").read_text().splitlines()[0] + "\n")

    one, many, unknown, running = greenserve(
        "compare a.json b.json --json",
        "compare a.jsonl b.jsonl --json --tolerance 10%",
        "compare a.json unknown.json --allow-mixed --json",
        "compare a.jsonl running.jsonl",
    )

    assert {"energy J": "worse", "seconds": "no evidence"} == verdicts(one.document["metrics"])
    assert ("train, 1 run", "modelled") == (one.document["a"], one.document["metrics"][0]["tier_a"])
    assert 3 == many.code
    repeated = json.loads(many.out)
    assert "train, 3 runs" == repeated["a"]
    assert {"energy J": "worse", "gCO2e": "worse"} == verdicts(repeated["metrics"])
    assert "without what the meter may be off" in many.err
    assert {"seconds": "no evidence"} == verdicts(unknown.document["metrics"])
    assert (2, True) == (running.code, "no run in it has ended" in running.err)


def test_what_is_no_whole_run_is_wrong_usage(greenserve: Commands, folder: Path) -> None:
    """Exit 2 and what a run may be; a member that is missing is named in words."""
    (folder / "empty").mkdir()
    (folder / "lacking.json").write_text(json.dumps({"schema": "greenserve.loadtest/1"}))
    (folder / "odd.json").write_text(
        json.dumps({"schema": "greenserve.loadtest/1", "plan": 3, "energy": 1, "carbon": 1})
    )

    empty, lacking, odd = greenserve(
        "compare empty empty", "compare lacking.json lacking.json", "compare odd.json odd.json"
    )

    assert [2, 2, 2] == [one.code for one in (empty, lacking, odd)]
    assert "empty is a folder without a manifest.json; it must be a load test" in " ".join(empty.err.split())
    assert "lacking.json is no whole run: plan is missing; save the run again" in " ".join(lacking.err.split())
    assert "Error" not in lacking.err + odd.err
