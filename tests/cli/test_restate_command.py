"""`greenserve ledger restate`, from a file, from the feeds' store, and by a PUE."""

import json
from pathlib import Path
from typing import Any

import pytest

from greenserve.carbon.entries import BY_SPANS, unmetered_entry
from greenserve.carbon.feeds.store import ReadingStore
from greenserve.carbon.node_overhead import BY_DIFFERENCE, BY_POWER, NODE
from greenserve.cli.restating import Fault, cause_of_fault
from greenserve.errors import InvalidRequest
from greenserve.records import Entry, IntensityReading
from tests.carbon.statements import AT_US, HOUR_US, interval, settled
from tests.cli.test_ledger_command import a_request, record

HEADER = "timestamp_utc,region,carbon_intensity_gco2e_per_kwh\n"
RANGE = "--from 2026-01-01 --to 2026-01-02 --reason revised"
FILE = ["ledger", "restate", "--intensity", "revised.csv", "--provider", "a table", *RANGE.split()]


def both() -> list[Entry]:
    """A request's provisional and settled line."""
    first = a_request()
    return [first, unmetered_entry(first.body)]


def test_a_file_restates_a_statement_that_verifies_and_replays(folder: Path, greenserve: Any) -> None:
    """Dry run, run, the new version with its reason, verify, replay; the old statement replays too."""
    record(folder, [*both(), *both()])
    (folder / "revised.csv").write_text(HEADER + "2026-01-01T00:00:00Z,SE,62\n2026-01-01T01:00:00Z,SE,70\n")
    greenserve("tenant create acme", "report acme --period 2026-01 -f json -o old.json")

    dry, done, again, verified = greenserve([*FILE, "--dry-run"], FILE, [*FILE, "--json"], "ledger verify")
    reported, old, new = greenserve(
        "report acme --period 2026-01 -f json,html,focus -o out",
        "ledger replay old.json",
        "ledger replay out/acme-2026-01.json",
    )

    statement = json.loads((folder / "out" / "acme-2026-01.json").read_text())
    assert "2 would be written: 1 intensity, 1 restated" in dry.out
    assert "2 written: 1 intensity, 1 restated" in done.out
    assert "0.000001194 -> 0.000002388 gCO2e, difference +0.000001194" in done.out
    assert (0, 0) == (again.document["entries"], again.document["requests"])
    assert [0, 0, 0, 0] == [verified.code, reported.code, old.code, new.code]
    assert (2, "revised") == (statement["version"], statement["restatements"][0]["reason"])
    page = (folder / "out" / "acme-2026-01.html").read_text()
    assert "restated by entries" in page
    assert "revised. 2 requests, entries 6 to 6" in page


def test_the_feeds_store_restates_by_what_was_fetched_again(folder: Path, greenserve: Any) -> None:
    """The value that the provider tells now, where it differs from the line's."""
    record(folder, both())
    store = ReadingStore(folder / "ledger.db.grid")
    reading = IntensityReading(
        zone="SE", start_us=AT_US, end_us=AT_US + HOUR_US, mg_per_kwh=62_000, basis="lifecycle", kind="average",
        origin="observed", provider="a table", retrieved_us=AT_US, revision=3,
    )  # fmt: skip
    store.put("a table", [reading], [], AT_US)
    store.close()

    (done,) = greenserve(f"ledger restate --feeds {RANGE} --json")

    assert (2, 1) == (done.document["entries"], done.document["requests"])
    assert {"loc_lifecycle_ng": 1_194, "loc_direct_ng": None, "facility_uj": 69_331} == done.document["new"]


def test_what_is_missing_or_wrong_is_said(folder: Path, greenserve: Any) -> None:
    """Exit 2, what was given and what to do."""
    record(folder, both())
    (folder / "revised.csv").write_text(HEADER + "2025-01-01T00:00:00Z,SE,62\n")

    refused = greenserve(
        FILE,
        f"ledger restate --intensity revised.csv {RANGE}",
        f"ledger restate --feeds {RANGE}",
        f"ledger restate --pue north=0.9 --source report {RANGE}",
        f"ledger restate --pue north=1.2 {RANGE}",
        "ledger restate --pue north=1.2 --source report --from 2026-01-02 --to 2026-01-01 --reason r",
        f"ledger restate --pue nroth=1.2 --source report {RANGE}",
    )
    (done,) = greenserve(f"ledger restate --pue north=1.4 --source report {RANGE}")

    assert [2] * 7 == [one.code for one in refused]
    wanted = ["check --from and --to", "go together", "keeps its readings", "REGION=VALUE", "--source", "is not after"]
    wanted.append("no region 'nroth'; there are")
    assert all(text in one.err for text, one in zip(wanted, refused, strict=True))
    assert "1 factor, 1 restated" in done.out


def test_a_fault_of_a_meter_is_restated(folder: Path, greenserve: Any) -> None:
    """By device and factor; what is missing or wrong is said, with the devices that there are."""
    first = a_request()
    record(folder, [first, settled(first, 60_000), interval(0, at_us=AT_US, active=60_000)])
    energy = f"ledger restate --energy cpu=1.1 --code meter_fault --source calibration {RANGE}"

    dry, done, again, verified = greenserve(f"{energy} --dry-run", energy, f"{energy} --json", "ledger verify")
    refused = greenserve(
        f"ledger restate --energy gpu7=1.1 --source s {RANGE}",
        f"ledger restate --energy cpu=1,1 --source s {RANGE}",
        f"ledger restate --energy cpu=1.1 {RANGE}",
        f"ledger restate --pue north=1.2 --source s --model sentiment {RANGE}",
    )

    assert "2 would be written: 1 factor, 1 restated" in dry.out
    assert "energy       0.060000 -> 0.066000 J of requests; intervals stay as they were read" in done.out
    assert (0, 0) == (again.document["entries"], verified.code)
    assert [2, 2, 2, 2] == [one.code for one in refused]
    assert "no device 'gpu7'; the ledger's devices are cpu" in refused[0].err
    assert "a factor is a decimal such as 1.07" in refused[1].err.replace("\n", " ")
    assert "--energy needs --source TEXT" in refused[2].err
    assert "--model, --variant and --tier go with --energy" in refused[3].err


DEVICES = {"cpu": None, "GPU-1": BY_SPANS, NODE: BY_DIFFERENCE}


def a_fault(given: str) -> Fault:
    return Fault(given=given, code="meter_fault", source="calibration", model=None, variant=None, tier=None)


@pytest.mark.parametrize("settled_by", [BY_DIFFERENCE, BY_POWER])
def test_the_overhead_of_a_node_is_not_restated_as_requests_energy(settled_by: str) -> None:
    """No request has a part of it: a factor on it would scale every request of the CPU."""
    with pytest.raises(InvalidRequest, match=r"node=2: .*no request has energy of it; allowed are GPU-1, cpu$"):
        cause_of_fault(a_fault("node=2"), {**DEVICES, NODE: settled_by}, AT_US, AT_US + HOUR_US)


@pytest.mark.parametrize(("device", "by_cpu_time"), [("cpu", True), ("GPU-1", False)])
def test_only_a_device_settled_by_cpu_time_concerns_lines_without_devices(device: str, by_cpu_time: bool) -> None:
    """Lines that name no device ran on the CPU alone."""
    cause = cause_of_fault(a_fault(f"{device}=2"), DEVICES, AT_US, AT_US + HOUR_US)

    assert (device, by_cpu_time) == (cause["device"], cause["by_cpu_time"])


def test_faults_of_the_options_come_first(folder: Path, greenserve: Any) -> None:
    """What can be given is named where nothing is; a missing source before a device that is not there; a file is given
    with the command."""
    record(folder, both())

    bare, sourceless, nowhere = greenserve(
        f"ledger restate {RANGE}",
        f"ledger restate --energy nope=1.1 {RANGE}",
        f"ledger restate --intensity nope.csv --provider x {RANGE}",
    )

    assert [2, 2, 2] == [one.code for one in (bare, sourceless, nowhere)]
    for option in ("--intensity FILE", "--feeds", "--pue REGION=VALUE", "--energy DEVICE=FACTOR"):
        assert option in " ".join(bare.err.split())
    assert "--energy needs --source TEXT" in sourceless.err
    assert "--intensity: " in nowhere.err
