"""Trackers as metrics of an MLflow run: the one that is active where the tracker begins, else one of its own."""

import importlib
from typing import Any

from greenserve.carbon.exporters.exporter import scalars
from greenserve.carbon.exporters.noted import end_us, notes
from greenserve.carbon.tracked import CarbonReport
from greenserve.errors import DependencyMissing

PREFIX = "greenserve"
US_PER_MS = 1_000


class MlflowExporter:
    """Logs `greenserve/energy_joules` and so on at each sample, and tier, zone, PUE as tags. State: the run, and what
    the tags were last.

    Make it on the thread whose run is meant: MLflow keeps the active run by thread. A run of its own is called after
    the label, belongs to the experiment that is set and ends with the tracker; the programme's own run stays open.
    DependencyMissing without the extra.
    """

    def __init__(self) -> None:
        try:
            library: Any = importlib.import_module("mlflow")
        except ImportError:
            raise DependencyMissing(
                "exporter mlflow: MLflow is not installed; `pip install 'greenserve[mlflow]'`"
            ) from None
        active = library.active_run()
        self._library = library
        self._client: Any = None
        self._run_id: str | None = None if active is None else active.info.run_id
        self._own = active is None
        self._noted: dict[str, str] = {}
        self._samples = 0

    def __repr__(self) -> str:
        return f"<MlflowExporter run {self._run_id or 'of its own'}, {self._samples} samples>"

    def write(self, report: CarbonReport) -> None:
        """One batch of metrics, and the tags that changed."""
        run_id = self._run(report)
        entities = self._library.entities
        at_ms = end_us(report) // US_PER_MS
        metrics = [
            entities.Metric(key=f"{PREFIX}/{name}", value=value, timestamp=at_ms, step=self._samples)
            for name, value in scalars(report).items()
        ]
        news = {name: value for name, value in notes(report).items() if self._noted.get(name) != value}
        tags = [entities.RunTag(f"{PREFIX}.{name}", value) for name, value in news.items()]
        self._client.log_batch(run_id, metrics=metrics, tags=tags)
        self._noted |= news
        self._samples += 1

    def close(self) -> None:
        """End the run where it is the exporter's own."""
        if self._own and self._run_id is not None:
            self._client.set_terminated(self._run_id)

    def _run(self, report: CarbonReport) -> str:
        if self._client is None:
            self._client = self._library.MlflowClient()
        if self._run_id is None:
            # MLflow alone knows which experiment is set; its context would end the run with this call.
            with self._library.start_run(run_name=report.label) as started:
                self._run_id = str(started.info.run_id)
            self._client.update_run(self._run_id, status="RUNNING")
        return self._run_id
