"""Trackers as curves in Weights & Biases: in the run that is active, else in one of its own."""

import importlib
from typing import Any

from greenserve.carbon.exporters.exporter import scalars
from greenserve.carbon.exporters.noted import end_us, notes
from greenserve.carbon.tracked import CarbonReport
from greenserve.errors import DependencyMissing
from greenserve.units import US_PER_S

PREFIX = "greenserve"
ELAPSED = f"{PREFIX}/elapsed_s"


class WandbExporter:
    """Logs `greenserve/energy_joules` and so on over `greenserve/elapsed_s`. State: the run and how many samples.

    In the programme's own run a sample waits for the programme's next `log` (`commit=False`): its step counter is
    its own, and W&B drops what comes with a step that has passed. So that of two samples between two such calls the
    later stays. A run of the exporter's own has all. DependencyMissing without the extra.
    """

    def __init__(self) -> None:
        try:
            self._library: Any = importlib.import_module("wandb")
        except ImportError:
            raise DependencyMissing(
                "exporter wandb: Weights & Biases is not installed; `pip install 'greenserve[wandb]'`"
            ) from None
        self._run: Any = self._library.run
        self._own = self._run is None
        self._samples = 0

    def __repr__(self) -> str:
        return f"<WandbExporter {'a run of its own' if self._own else 'the active run'}, {self._samples} samples>"

    def write(self, report: CarbonReport) -> None:
        """One row of figures with their tier; what is unknown is not in it."""
        if self._run is None:
            self._run = self._library.init(name=report.label, job_type="greenserve")
        if not self._samples:
            self._run.define_metric(f"{PREFIX}/*", step_metric=ELAPSED)
        elapsed_s = (end_us(report) - report.energy.start_us) / US_PER_S
        row: dict[str, Any] = {f"{PREFIX}/{name}": value for name, value in scalars(report).items()}
        self._run.log(row | {ELAPSED: elapsed_s, f"{PREFIX}/tier": report.tier or "no tier"}, commit=self._own)
        for name, value in notes(report).items():
            self._run.summary[f"{PREFIX}/{name}"] = value
        self._samples += 1

    def close(self) -> None:
        """Finish the run where it is the exporter's own."""
        if self._own and self._run is not None:
            self._run.finish()
