"""Exporters to TensorBoard, MLflow and W&B, each against the real library, offline; skipped where it is missing."""

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from greenserve.carbon import CarbonTracker
from greenserve.carbon.exporters.mlflow import MlflowExporter
from greenserve.carbon.exporters.named import exporters_of
from greenserve.carbon.exporters.noted import notes, stem_of
from greenserve.carbon.exporters.tensorboard import TensorBoardExporter
from greenserve.carbon.exporters.wandb import WandbExporter
from greenserve.errors import DependencyMissing
from tests.carbon.test_exporters import a_report

MISSING = {name: importlib.util.find_spec(name) is None for name in ("tensorboard", "mlflow", "wandb")}
KINDS: dict[str, Any] = {"tensorboard": TensorBoardExporter, "mlflow": MlflowExporter, "wandb": WandbExporter}


def needs(name: str) -> pytest.MarkDecorator:
    """Skips with the remedy where the library is not installed."""
    return pytest.mark.skipif(MISSING[name], reason=f"needs {name}: pip install -c constraints.txt '.[{name}]'")


THEIR_OWN = pytest.mark.filterwarnings("ignore")
"""What these libraries are warned of by theirs is not ours to mend."""


@pytest.mark.parametrize("name", KINDS)
def test_without_its_library_an_exporter_says_what_to_install(name: str) -> None:
    """Before anything is measured; with it the name is an exporter."""
    if MISSING[name]:
        with pytest.raises(DependencyMissing, match=re.escape(f"pip install 'greenserve[{name}]'")):
            exporters_of([name], "train")
    else:
        assert isinstance(exporters_of([name], "train")[0], KINDS[name])


def test_words_stand_beside_the_figures() -> None:
    """Tier, PUE with its source, basis; what nobody knows says so."""
    known, unknown = notes(a_report()), notes(a_report(None, known=False))

    assert ("modelled", "lifecycle", "2 (a test)") == (known["tier"], known["basis"], known["pue"])
    assert ("unknown", "unknown") == (unknown["basis"], unknown["origin"])
    assert "fine-tune-1" == stem_of("../fine tune/1")
    assert "run" == stem_of("../")


@needs("tensorboard")
@THEIR_OWN
def test_tensorboard_reads_each_sample_with_its_tier(tmp_path: Path) -> None:
    """Two steps of joules under a tag that names the evidence; unknown grams have no tag."""
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    exporter = TensorBoardExporter(tmp_path)
    exporter.write(a_report(1_800_000_000, known=False))
    exporter.write(a_report(known=False, state="final"))
    exporter.close()

    events = accumulators.EventAccumulator(str(tmp_path)).Reload()
    points = events.Tensors("greenserve/energy_joules/modelled")
    assert [(0, 1_800.0), (1, 3_600.0)] == [(point.step, point.tensor_proto.float_val[0]) for point in points]
    assert not [tag for tag in events.Tags()["tensors"] if "emissions" in tag]
    assert "zone DE" in events.SummaryMetadata("greenserve/energy_joules/modelled").summary_description
    assert "2 samples" in repr(exporter)


@pytest.fixture
def mlflow_store(tmp_path: Path) -> Iterator[Any]:
    """MLflow on a database of its own."""
    mlflow = pytest.importorskip("mlflow")
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")
    yield mlflow
    mlflow.set_tracking_uri(before)


@needs("mlflow")
@THEIR_OWN
def test_mlflow_has_the_figures_in_the_run_that_is_active_or_in_one_of_its_own(mlflow_store: Any) -> None:
    """The programme's run stays open and its own; the exporter's ends; the tag names the last tier."""
    mlflow = mlflow_store
    with mlflow.start_run() as active:
        beside = MlflowExporter()
        beside.write(a_report(1_800_000_000))
        beside.write(a_report(state="final"))
        beside.close()
        client = mlflow.MlflowClient()
        during = client.get_run(active.info.run_id)
    alone = MlflowExporter()
    alone.write(a_report(known=False))
    (own,) = [
        run for run in client.search_runs(["0"], filter_string="status = 'RUNNING'") if run.info.run_name == "train"
    ]
    alone.close()

    assert "RUNNING" == during.info.status
    history = client.get_metric_history(active.info.run_id, "greenserve/energy_joules")
    assert [(0, 1_800.0), (1, 3_600.0)] == [(point.step, point.value) for point in history]
    assert pytest.approx(0.432) == during.data.metrics["greenserve/emissions_grams"]
    assert ("modelled", "final") == (during.data.tags["greenserve.tier"], during.data.tags["greenserve.state"])
    ended = client.get_run(own.info.run_id)
    assert "FINISHED" == ended.info.status
    assert "greenserve/emissions_grams" not in ended.data.metrics
    assert "unknown" == ended.data.tags["greenserve.basis"]
    assert mlflow.active_run() is None


@needs("wandb")
@THEIR_OWN
def test_wandb_has_the_figures_offline_and_the_programmes_steps_stay_its_own(tmp_path: Path) -> None:
    """No sample moves the step of the run that the programme logs to."""
    wandb = pytest.importorskip("wandb")
    run = wandb.init(mode="offline", dir=str(tmp_path), project="a-test", settings=wandb.Settings(silent=True))
    try:
        exporter = WandbExporter()
        before = run.step
        exporter.write(a_report(1_800_000_000))
        exporter.write(a_report(state="final"))
        exporter.close()
        after = run.step
        run.log({"loss": 0.5})
        summary = dict(run.summary)
        assert wandb.run is run
    finally:
        run.finish()

    assert before == after
    assert ("modelled", "DE") == (summary["greenserve/tier"], summary["greenserve/zone"])
    assert (3_600.0, 1.0) == (summary["greenserve/energy_joules"], summary["greenserve/elapsed_s"])
    (record,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    assert b"energy_joules" in record.read_bytes()


@needs("tensorboard")
@THEIR_OWN
def test_a_tracker_feeds_it_by_name(tmp_path: Path) -> None:
    """The whole way: `exporters=[...]`, samples on the tracker's thread, closed at its end."""
    exporter = TensorBoardExporter(tmp_path)
    with CarbonTracker("work", zone="FR", exporters=[exporter]) as tracker:
        pass

    assert not [remark for remark in tracker.report.remarks if "did not take" in remark]
    assert list(tmp_path.glob("events.out.*"))
