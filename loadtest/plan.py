"""What a load test does: the document that the command hands to its Locust child."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Where, what and how fast. `repeat_share` 0..1 of the texts come from a small set, so that a cache can answer;
    `first_text` is the index of the first other one; `parent_pid` ends the child when its parent is gone."""

    url: str
    model: str
    key: str | None
    rate_per_s: float
    duration_s: float
    arrivals: str
    seed: int
    repeat_share: float
    first_text: int
    max_in_flight: int
    timeout_s: float
    result_file: str
    parent_pid: int

    def public(self) -> dict[str, object]:
        """What a report may show: everything that another run needs, but no key and no paths of this one."""
        hidden = {"key", "result_file", "parent_pid"}
        return {name: value for name, value in asdict(self).items() if name not in hidden}


def write_plan(plan: Plan, file: Path) -> None:
    """Write a plan; the file holds a key, so only its owner may read it."""
    file.touch(mode=0o600)
    file.write_text(json.dumps(asdict(plan)))


def read_plan(file: Path) -> Plan:
    """Read what `write_plan` wrote."""
    return Plan(**json.loads(file.read_text()))
