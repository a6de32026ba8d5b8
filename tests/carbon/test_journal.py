"""The interval journal: 48 bytes a row, cut at hours, torn ends, digests, days that go."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from greenserve.carbon.intervals import Row
from greenserve.carbon.meters.journal import (
    DAY_US,
    FLAGS,
    HOUR_US,
    RECORD,
    Journal,
    Written,
    day_file,
    hour_digest,
    packed,
    read_day,
    read_sources,
)
from greenserve.clock import ManualClock
from greenserve.errors import LedgerUnavailable

MIDNIGHT_US = 20_454 * DAY_US
DAY = 20_454
S = 1_000_000_000


def a_row(start_s: float, end_s: float, **changes: Any) -> Row:
    row = Row(
        device="GPU-1/x",
        segment=0,
        start_ns=round(start_s * S),
        end_ns=round(end_s * S),
        energy_uj=1_000,
        static_uj=400,
        tier="measured",
        source="nvml field 83",
        busy_ns=None,
    )
    return replace(row, **changes)


def a_clock() -> ManualClock:
    """Monotonic second 0 is midnight UTC."""
    return ManualClock(monotonic_ns=0, unix_us=MIDNIGHT_US)


def written(folder: Path, *rows: Row, clock: ManualClock | None = None) -> list[Written]:
    journal = Journal(folder, "GPU-1/x", clock=clock or a_clock())
    for row in rows:
        journal.append(row)
    journal.close()
    return list(read_day(folder, "GPU-1/x", DAY))


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    """Energy, flags, tier, source, and the UTC time of the start; unknown stays unknown."""
    known = a_row(1, 2, flags=frozenset({"hole", "foreign"}), busy_ns=77)
    unknown = a_row(2, 3, energy_uj=None, static_uj=None, tier=None, flags=frozenset({"gap", "reset"}))

    rows = written(tmp_path, known, unknown)

    assert [known, unknown] == [one.row for one in rows]
    assert [MIDNIGHT_US + 1_000_000, MIDNIGHT_US + 2_000_000] == [one.start_us for one in rows]
    assert 48 == RECORD.size == len(packed(known))


def test_every_flag_has_its_bit() -> None:
    """A flag without one could not be kept; sixteen fit."""
    assert len(set(FLAGS)) == len(FLAGS) <= 16


def test_a_row_over_the_hour_is_cut_and_its_sum_kept(tmp_path: Path) -> None:
    """A quarter of the time before the hour has a quarter of the energy."""
    rows = written(tmp_path, a_row(3_599, 3_603, energy_uj=1_001, static_uj=401))

    assert [(3_599 * S, 3_600 * S), (3_600 * S, 3_603 * S)] == [(one.row.start_ns, one.row.end_ns) for one in rows]
    assert 1_001 == sum(one.row.energy_uj or 0 for one in rows)
    assert 401 == sum(one.row.static_uj or 0 for one in rows)


def test_a_digest_binds_the_rows_of_its_hour(tmp_path: Path) -> None:
    """The ledger's device hour holds it: one changed byte of a row changes it, other hours do not."""
    first, second = a_row(1, 2), a_row(3_700, 3_701)
    written(tmp_path, first, second)
    hour = MIDNIGHT_US // HOUR_US

    assert hashlib.sha256(packed(first)).hexdigest() == hour_digest(tmp_path, "GPU-1/x", hour)
    assert hashlib.sha256(packed(second)).hexdigest() == hour_digest(tmp_path, "GPU-1/x", hour + 1)
    assert hour_digest(tmp_path, "GPU-1/x", hour + 2) is None
    assert hour_digest(tmp_path, "cpu", hour) is None


@pytest.mark.parametrize("lost", [1, 20, 47])
def test_a_torn_end_is_cut_and_the_rest_goes_on(tmp_path: Path, lost: int) -> None:
    """A crash in the middle of a row costs that row alone."""
    written(tmp_path, a_row(1, 2), a_row(2, 3))
    file = day_file(tmp_path, "GPU-1/x", DAY)
    file.write_bytes(file.read_bytes()[:-lost])
    assert [1 * S] == [one.row.start_ns for one in read_day(tmp_path, "GPU-1/x", DAY)]

    rows = written(tmp_path, a_row(5, 6, segment=1))

    assert [1 * S, 5 * S] == [one.row.start_ns for one in rows]


def test_a_stepped_civil_clock_dates_only_what_follows(tmp_path: Path) -> None:
    """Rows hold monotonic time; the step is noted between them."""
    clock = a_clock()
    journal = Journal(tmp_path, "GPU-1/x", clock=clock)
    journal.append(a_row(1, 2))
    later = ManualClock(monotonic_ns=0, unix_us=MIDNIGHT_US + 5_000_000)
    journal.close()

    rows = written(tmp_path, a_row(2, 3, segment=1), clock=later)

    assert [1_000_000, 7_000_000] == [one.start_us - MIDNIGHT_US for one in rows]


def test_segments_count_on_behind_the_last_writers(tmp_path: Path) -> None:
    """A new process never gives its counter the number of another one's."""
    written(tmp_path, a_row(1, 2), a_row(2, 3, segment=1, source="power samples"))

    journal = Journal(tmp_path, "GPU-1/x", clock=a_clock())

    assert 2 == journal.first_segment
    assert [(0, "nvml field 83"), (1, "power samples")] == list(read_sources(tmp_path, "GPU-1/x"))


def test_days_beyond_the_retention_go(tmp_path: Path) -> None:
    """Only this device's, and only old ones."""
    for name in ("GPU-1%2Fx.20363", "GPU-1%2Fx.20364", "cpu.20000"):
        (tmp_path / f"{name}.intervals").touch()

    written(tmp_path, a_row(1, 2))

    assert ["GPU-1%2Fx.20364.intervals", "GPU-1%2Fx.20454.intervals", "cpu.20000.intervals"] == sorted(
        file.name for file in tmp_path.glob("*.intervals")
    )


def test_a_journal_that_takes_no_row_says_so(tmp_path: Path) -> None:
    """A folder that went away is an error with its name, not a silent loss."""
    folder = tmp_path / "journal"
    journal = Journal(folder, "GPU-1/x", clock=a_clock())
    folder.rmdir()

    with pytest.raises(LedgerUnavailable, match=r"takes no row .*free space"):
        journal.append(a_row(1, 2))
