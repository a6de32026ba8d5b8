"""Trackers as scalars in TensorBoard, beside the curves of the training that they measure."""

import importlib
from pathlib import Path
from typing import Any

from greenserve.carbon.exporters.exporter import scalars
from greenserve.carbon.exporters.noted import end_us, notes, stem_of
from greenserve.carbon.tracked import CarbonReport
from greenserve.errors import DependencyMissing
from greenserve.units import US_PER_S

PREFIX = "greenserve"
FOLDER = "runs"


class TensorBoardExporter:
    """Writes event files under `folder` (default: `runs/LABEL`), one step for each sample. State: the writer, opened
    at the first sample, and the number of samples.

    A tag names the evidence: `greenserve/energy_joules/modelled`; a run whose tier falls goes on under another tag.
    DependencyMissing without the extra.
    """

    def __init__(self, folder: Path | None = None) -> None:
        try:
            self._library: Any = importlib.import_module("tensorboard.summary")
        except ImportError:
            raise DependencyMissing(
                "exporter tensorboard: TensorBoard is not installed; `pip install 'greenserve[tensorboard]'`"
            ) from None
        self._folder = folder
        self._writer: Any = None
        self._samples = 0

    def __repr__(self) -> str:
        return f"<TensorBoardExporter {self._folder or FOLDER}, {self._samples} samples>"

    def write(self, report: CarbonReport) -> None:
        """One point for each figure that is known; flushed, so that a crash keeps it."""
        if self._writer is None:
            self._folder = self._folder or Path(FOLDER, stem_of(report.label))
            self._writer = self._library.Writer(str(self._folder))
        said = "; ".join(f"{name} {value}" for name, value in notes(report).items())
        for name, value in scalars(report).items():
            tag = f"{PREFIX}/{name}/{report.tier or 'no-tier'}"
            wall_time = end_us(report) / US_PER_S
            self._writer.add_scalar(tag, value, self._samples, wall_time=wall_time, description=said)
        self._writer.flush()
        self._samples += 1

    def close(self) -> None:
        """Close the files."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
