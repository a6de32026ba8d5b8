"""Files of series: every process sees all, the dead keep their counters and lose their gauges."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from greenserve.serve.telemetry.publisher import Publisher

CHILD = """
import sys, time
from pathlib import Path
from greenserve.serve.telemetry.publisher import Publisher
publisher = Publisher(Path(sys.argv[1]), "child")
publisher.count("greenserve_refused_total", 3.0, code="overloaded")
publisher.gauge("greenserve_connections", 7.0, protocol="http")
publisher.observe("greenserve_batch_size", 4.0, model="m", variant="v")
publisher.publish()
print("published", flush=True)
time.sleep(60)
"""


def values(publisher: Publisher) -> dict[str, object]:
    """What `/metrics` would show."""
    return {spec.name: value for spec, _, value in publisher.merged(publisher.snapshot())}


def a_child(folder: Path) -> "subprocess.Popen[str]":
    """Another process that has published and lives."""
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(folder)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert "published\n" == child.stdout.readline()
    return child


def kill(child: "subprocess.Popen[str]") -> None:
    """End it without a chance to tidy up."""
    child.send_signal(signal.SIGKILL)
    child.wait(10.0)
    assert child.stdout is not None
    child.stdout.close()


def test_after_kill_9_counters_stay_and_gauges_vanish(tmp_path: Path) -> None:
    """While it lives both count; a second child counts on top of the dead one."""
    mine = Publisher(tmp_path, "mine")
    mine.count("greenserve_refused_total", 1.0, code="overloaded")
    mine.gauge("greenserve_connections", 2.0, protocol="http")
    first = a_child(tmp_path)
    living = values(mine)
    kill(first)

    dead = values(mine)
    second = a_child(tmp_path)
    both = values(mine)
    kill(second)

    assert (4.0, 9.0) == (living["greenserve_refused_total"], living["greenserve_connections"])
    assert (4.0, 2.0) == (dead["greenserve_refused_total"], dead["greenserve_connections"])
    assert (7.0, 9.0) == (both["greenserve_refused_total"], both["greenserve_connections"])
    assert living["greenserve_batch_size"] == dead["greenserve_batch_size"]


def test_files_of_the_dead_become_one(tmp_path: Path) -> None:
    """Restarts do not pile up files, and what the dead counted is counted once, also after a crash in between."""
    for _ in range(2):
        kill(a_child(tmp_path))
    (left,) = tmp_path.glob("child-*.series")
    kept = left.read_bytes()

    mine = Publisher(tmp_path, "mine")
    left.write_bytes(kept)  # as if the one who took it in had died before it removed the file
    mine.take_in_departed()

    assert {"departed.series"} == {path.name for path in tmp_path.glob("*.series")}
    assert 6.0 == values(mine)["greenserve_refused_total"]


def test_a_broken_file_costs_only_itself(tmp_path: Path) -> None:
    """It is left out and named in the log; the rest is shown."""
    mine = Publisher(tmp_path, "mine")
    mine.count("greenserve_refused_total", 1.0, code="overloaded")
    (tmp_path / "broken-1.series").write_bytes(b"{")
    (tmp_path / "odd-1.series").write_bytes(b"[]")

    assert {"greenserve_refused_total": 1.0} == values(mine)


def test_a_process_shows_what_it_published_to_others(tmp_path: Path) -> None:
    """Its own view is of now, the others' of its last file."""
    mine, other = Publisher(tmp_path, "mine"), Publisher(tmp_path, "other")
    mine.count("greenserve_refused_total", 1.0, code="x")
    before = values(other)
    mine.publish()

    assert ({}, 1.0) == (before, values(other)["greenserve_refused_total"])
    assert f"mine-{os.getpid()}.series" in {path.name for path in tmp_path.iterdir()}
