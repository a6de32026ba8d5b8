"""Spools: what was acknowledged is there, and damage is told from a torn tail."""

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from greenserve.carbon.ledger.spool import SpoolReader, SpoolWriter, frame, is_running, start_ticks_of
from greenserve.errors import LedgerUnavailable

SLOW_SYNC_S = 0.2


def bodies_in(path: Path) -> list[bytes]:
    return [found.body for found in SpoolReader(path).frames() if found.sequence]


def only_file(folder: Path) -> Path:
    (path,) = folder.glob("*.spool")
    return path


def test_what_was_appended_is_read_back_in_order(tmp_path: Path) -> None:
    """Groups follow each other; a second reader goes on behind the first one's last frame."""
    writer = SpoolWriter(tmp_path, "gateway")

    writer.append([b"one", b"two"])
    last = list(SpoolReader(only_file(tmp_path)).frames())[-1]
    writer.append([b"three"])

    rest = SpoolReader(only_file(tmp_path), last.end, last.sequence + 1).frames()
    assert [b"one", b"two", b"three"] == bodies_in(only_file(tmp_path))
    assert [(3, b"three")] == [(found.sequence, found.body) for found in rest]
    writer.close()


def test_a_slow_disk_delays_the_acknowledgement_and_loses_nothing(tmp_path: Path) -> None:
    """Each group waits for its own sync of 200 ms, which comes after its bytes; what one group waits, nobody skips."""
    synced: list[list[bytes]] = []

    def slow_sync(descriptor: int) -> None:
        synced.append(bodies_in(only_file(tmp_path)))
        time.sleep(SLOW_SYNC_S)
        os.fdatasync(descriptor)

    writer = SpoolWriter(tmp_path, "gateway", sync=slow_sync)
    start_s = time.monotonic()

    for number in range(3):
        writer.append([b"%d" % number])

    assert 3 * SLOW_SYNC_S <= time.monotonic() - start_s
    assert [[b"0"], [b"0", b"1"], [b"0", b"1", b"2"]] == synced
    writer.close()


def test_a_sync_that_fails_acknowledges_nothing_and_is_never_asked_again(tmp_path: Path) -> None:
    """The group raises; the next one goes into a new file, and is durable there."""
    asked: list[int] = []

    def failing_once(descriptor: int) -> None:
        asked.append(os.fstat(descriptor).st_ino)
        if len(asked) == 2:
            raise OSError(errno.EIO, "Input/output error")

    writer = SpoolWriter(tmp_path, "gateway", sync=failing_once)
    writer.append([b"one"])

    with pytest.raises(LedgerUnavailable, match="Input/output error"):
        writer.append([b"two"])
    writer.append([b"two"])

    assert asked[0] == asked[1] != asked[2]
    newest = max(tmp_path.glob("*.spool"), key=lambda path: int(path.stem.rpartition(".")[2]))
    assert [b"two"] == bodies_in(newest)
    writer.close()


@pytest.mark.parametrize("acknowledged", [0, 1])
def test_a_disk_that_keeps_failing_leaves_no_files(tmp_path: Path, acknowledged: int) -> None:
    """A file of which nothing was acknowledged is removed at once; one that holds an acknowledged line stays."""
    failing: list[bool] = []

    def sync(descriptor: int) -> None:
        if failing:
            raise OSError(errno.EIO, "Input/output error")
        os.fdatasync(descriptor)

    writer = SpoolWriter(tmp_path, "gateway", sync=sync)
    writer.append([b"kept"] * acknowledged)
    failing.append(True)
    for _ in range(30):
        with pytest.raises(LedgerUnavailable, match="Input/output error"):
            writer.append([b"lost"])
    left = list(tmp_path.glob("*.spool"))
    failing.clear()
    writer.append([b"new"])

    assert acknowledged == len(left)
    assert {(b"kept", b"lost"), (b"new",)} >= {tuple(bodies_in(path)) for path in tmp_path.glob("*.spool")}
    assert acknowledged + 1 == len(list(tmp_path.glob("*.spool")))
    writer.close()


def test_a_file_that_its_writer_took_back_reads_as_empty(tmp_path: Path) -> None:
    """Whoever listed the folder before that meets no error."""
    reader = SpoolReader(tmp_path / "gone.spool")

    assert (None, []) == (reader.header(), list(reader.frames()))


def test_the_header_names_a_living_writer(tmp_path: Path) -> None:
    """Process id and start time: a recycled id is not the writer."""
    writer = SpoolWriter(tmp_path, "gateway")
    writer.append([b"one"])

    header = SpoolReader(only_file(tmp_path)).header()

    assert header is not None
    assert (os.getpid(), start_ticks_of(os.getpid()), True) == (header.pid, header.start_ticks, is_running(header))
    writer.close()


def test_files_rotate_and_a_closed_writer_goes_on_in_a_new_one(tmp_path: Path) -> None:
    """A file ends at 16 MiB; every record is in exactly one file."""
    writer = SpoolWriter(tmp_path, "gateway")
    body = b"x" * 2**20

    for _ in range(17):
        writer.append([body])

    sizes = sorted(len(bodies_in(path)) for path in tmp_path.glob("*.spool"))
    assert [1, 16] == sizes
    writer.close()


def test_a_full_spool_refuses_and_recovers(tmp_path: Path) -> None:
    """At its bound nothing is acknowledged; when the ledger has taken the older files, appending works again."""
    writer = SpoolWriter(tmp_path, "gateway", max_bytes=2**20)
    for _ in range(4):
        writer.append([b"x" * 2**18])

    with pytest.raises(LedgerUnavailable, match="has not taken") as refused:
        writer.append([b"y"])
    assert 1 == refused.value.retry_after_s
    *taken, last = sorted(tmp_path.glob("*.spool"))
    for path in taken:
        path.unlink()

    writer.append([b"y"])

    assert [b"y"] == bodies_in(max(tmp_path.glob("*.spool")))
    assert 2 == len(list(tmp_path.glob("*.spool")))
    assert last.exists()
    writer.close()


def test_a_failing_disk_is_an_error_and_never_the_same_file_again(tmp_path: Path) -> None:
    """Where the write fails no answer may leave; the next try uses a new file."""
    folder = tmp_path / "spool"
    writer = SpoolWriter(folder, "gateway")
    writer.append([b"kept"])
    writer.close()
    kept = only_file(folder)
    moved = folder.rename(tmp_path / "gone")

    with pytest.raises(LedgerUnavailable, match="cannot take the record"):
        writer.append([b"lost"])
    moved.rename(folder)
    writer.append([b"new"])

    assert [b"kept"] == bodies_in(kept)
    assert {(b"kept",), (b"new",)} == {tuple(bodies_in(path)) for path in folder.glob("*.spool")}
    writer.close()


@pytest.mark.parametrize("place", [0, 5, 9, 17])
def test_damage_before_good_frames_is_named(tmp_path: Path, place: int) -> None:
    """A flipped byte in the middle (length, checksum, sequence or body) is an alarm with the offset, not a tail."""
    writer = SpoolWriter(tmp_path, "gateway")
    writer.append([b"first", b"second", b"third"])
    path = only_file(tmp_path)
    start = next(found.end for found in SpoolReader(path).frames() if found.body == b"first")
    data = bytearray(path.read_bytes())
    data[start + place] ^= 0xFF
    path.write_bytes(data)

    with pytest.raises(LedgerUnavailable, match=f"byte {start} is damaged"):
        list(SpoolReader(path).frames())
    writer.close()


def test_a_tail_of_zeros_is_torn_not_damaged(tmp_path: Path) -> None:
    """A power cut may leave a grown file without its data; zeros are no frame."""
    path = tmp_path / "a.spool"
    path.write_bytes(frame(0, b"{}") + frame(1, b"kept") + bytes(4096))

    assert [b"kept"] == bodies_in(path)


def test_a_dead_writers_file_is_told_apart(tmp_path: Path) -> None:
    """The header outlives the process that wrote it."""
    program = (
        "import sys; from pathlib import Path; from greenserve.carbon.ledger.spool import SpoolWriter\n"
        "SpoolWriter(Path(sys.argv[1]), 'gateway').append([b'left behind'])"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True, timeout=60)

    header = SpoolReader(only_file(tmp_path)).header()

    assert header is not None
    assert not is_running(header)
    assert [b"left behind"] == bodies_in(only_file(tmp_path))


@pytest.mark.parametrize("name", ["", "a/b", "../x", "a.b"])
def test_a_spools_name_stays_in_its_folder(tmp_path: Path, name: str) -> None:
    """Names become file names."""
    with pytest.raises(ValueError, match="letters, digits"):
        SpoolWriter(tmp_path, name)
