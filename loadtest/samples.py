"""One line per request of a run, as the Locust child hands them back."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from greenserve.records import Tier


class Sample(NamedTuple):
    """One request: when it should have started, how late it was sent, how long it took [s], what it cost (or None)."""

    intended_s: float
    lag_s: float
    service_s: float
    error: str | None
    energy_uj: int | None
    tier: Tier | None
    emissions_ng: int | None
    route: str | None
    cache: str | None

    @property
    def total_s(self) -> float:
        """Time from the intended start to the answer [s]: what a user would have waited."""
        return self.lag_s + self.service_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """A run: its samples by intended start, how many arrivals were dropped, how busy the generator was.

    `complete` is False where the run ended before its schedule did; `cpu_share` is CPU time over
    wall time, None where the run was cut short.
    """

    samples: Sequence[Sample]
    planned: int
    dropped: int
    wall_s: float
    cpu_share: float | None
    complete: bool


def write_recording(recording: Recording, file: Path) -> None:
    """Write a run as one JSON document."""
    file.write_text(json.dumps(asdict(recording)))


def read_recording(file: Path) -> Recording:
    """Read what `write_recording` wrote."""
    document = json.loads(file.read_text())
    document["samples"] = [Sample(*row) for row in document["samples"]]
    return Recording(**document)
