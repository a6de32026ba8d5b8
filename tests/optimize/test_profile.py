"""Windows over the grid."""

from pathlib import Path

import numpy as np
import pytest

from greenserve.inputs import TextEncoder
from greenserve.optimize.plan import Preset
from greenserve.optimize.profile import load_engine, profile_grid, profile_texts
from greenserve.ports import Arrays
from greenserve.records import Batch, Span

GRID = ((1, 8), (4, 8))


class TimedEngine:
    """Takes a made-up millisecond per row; its CPU works `busy` of it. The first `disturbed` runs work half of it."""

    def __init__(self, *, disturbed: int = 0) -> None:
        self._disturbed = disturbed
        self.runs = 0
        self.loaded = False

    def load(self) -> None:
        """Remembered."""
        self.loaded = True

    def run(self, batch: Batch) -> tuple[Arrays, Span]:
        """Time that no clock has seen."""
        self.runs += 1
        wall_ns = 1_000_000 * len(batch.rows)
        cpu_ns = wall_ns // 2 if self.runs <= self._disturbed else wall_ns
        span = Span(
            batch_id=batch.batch_id,
            variant=batch.variant,
            device="cpu",
            start_ns=0,
            end_ns=wall_ns,
            cpu_ns=cpu_ns,
            lengths=tuple(len(row) for row in batch.rows),
            padded_length=batch.padded_length,
        )
        return {"logits": np.zeros((len(batch.rows), 2), dtype=np.float32)}, span

    def describe(self) -> dict[str, object]:
        """Its kind."""
        return {"kind": "timed"}


def preset_of(*, windows: int = 2) -> Preset:
    """Windows of 10 ms."""
    return Preset(
        name="test",
        sizes=(1, 1, 1),
        batches=(1, 4),
        lengths=(8,),
        windows=windows,
        window_s=0.01,
        bootstrap=10,
    )


def test_every_cell_gets_its_windows_with_enough_runs() -> None:
    """10 ms hold ten runs of one row; the p95 cell gets 60 runs in all."""
    engine = TimedEngine()

    cells = profile_grid({"a": engine}, grid=GRID, preset=preset_of(), vocab=9, seed=0, p95_cell=(1, 8))["a"]

    assert [(cell.batch, cell.length) for cell in cells] == [(1, 8), (4, 8)]
    assert [len(cell.run_s) for cell in cells] == [60, 6]
    assert [cell.p50_s for cell in cells] == [0.001, 0.004]
    assert not any(cell.noisy for cell in cells)


def test_a_disturbed_window_is_run_again() -> None:
    """The window in which the CPU was elsewhere is in no figure."""
    engine = TimedEngine(disturbed=5)

    (cell,) = profile_grid(
        {"a": engine}, grid=((1, 8),), preset=preset_of(windows=1), vocab=9, seed=0, p95_cell=(1, 128)
    )["a"]

    assert pytest.approx(cell.energy_j(1.0).value) == 0.001
    assert not cell.noisy


def test_a_cell_that_stays_disturbed_is_noisy_and_ends() -> None:
    """Three windows are thrown away, the fourth is kept with its flag."""
    engine = TimedEngine(disturbed=1_000_000)

    (cell,) = profile_grid(
        {"a": engine}, grid=((1, 8),), preset=preset_of(windows=1), vocab=9, seed=0, p95_cell=(1, 128)
    )["a"]

    assert cell.noisy
    assert engine.runs == 4 * (10 + 1)


def test_loading_runs_once_and_costs_time(tmp_path: Path) -> None:
    """The first run belongs to loading: kernels are picked and memory is taken there."""
    made: list[tuple[Path, str]] = []
    engine = TimedEngine()

    def engine_for(file: Path, variant: str) -> TimedEngine:
        made.append((file, variant))
        return engine

    loaded = load_engine(engine_for, tmp_path / "model.onnx", "a")

    assert [(tmp_path / "model.onnx", "a")] == made
    assert (engine.loaded, engine.runs) == (True, 1)
    assert loaded.load_s > 0


def test_the_tokenizer_costs_more_for_longer_texts(tiny_model: Path) -> None:
    """Coefficients over [1, characters] are not negative, and something is measured."""
    encoder = TextEncoder(tokenizer_file=tiny_model / "tokenizer.json", max_length=64, truncate="end")

    cost = profile_texts(encoder, [" ".join(["w7"] * (1 + index % 40)) for index in range(400)])

    assert min(*cost.t_s, *cost.cpu_s) >= 0
    assert cost.mean_cpu_s > 0
    assert cost.t_s[1] > 0
