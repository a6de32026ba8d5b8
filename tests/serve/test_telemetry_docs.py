"""The page about telemetry and the registry of metrics name the same things."""

import re
from pathlib import Path

from greenserve.serve.telemetry.names import METRICS

PAGE = Path(__file__).parents[2] / "docs" / "telemetry.md"


def test_every_metric_is_documented_with_its_labels() -> None:
    """A row names metrics and the labels that all of them have."""
    found: dict[str, tuple[str, ...]] = {}
    for line in PAGE.read_text().splitlines():
        if line.startswith("| `greenserve_"):
            names, labels = line.strip("|").split("|")
            words = tuple(re.sub(r"\(.*?\)", "", labels).replace(" ", "").split(",")) if labels.strip() else ()
            found |= dict.fromkeys(re.findall(r"greenserve_\w+", names), words)

    assert {spec.name: spec.labels for spec in METRICS.values()} == found
