"""Time and CPU time of each variant over batch and length, on the engine that serves."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from greenserve.inputs import TextEncoder
from greenserve.optimize.evaluate import run_rows
from greenserve.optimize.fit import Cell, Window, nonnegative_fit
from greenserve.optimize.plan import P95_RUNS, Preset
from greenserve.ports import Engine
from greenserve.units import NS_PER_S, seconds_from_ns

EngineFactory = Callable[[Path, str], Engine]
"""(model file, variant name) -> the engine that serves it, not yet loaded; must be picklable."""

LEAST_RUNS = 2
MOST_DISCARDS = 3
TEXT_GROUPS = 30
TEXTS_PER_GROUP = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """An engine that is ready, and what loading it took: time [s] and CPU time [ns]."""

    engine: Engine
    load_s: float
    load_cpu_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TextCost:
    """Turning one text into tokens over [1, characters]: time `t_s` [s], CPU time `cpu_s` [s]; means per text."""

    t_s: tuple[float, ...]
    cpu_s: tuple[float, ...]
    mean_cpu_s: float


def load_engine(engine_for: EngineFactory, file: Path, variant: str) -> Loaded:
    """The loaded engine of a variant, after one run of one token, which is part of what loading costs."""
    start_ns, start_cpu_ns = time.monotonic_ns(), time.process_time_ns()
    engine = engine_for(file, variant)
    engine.load()
    run_rows(engine, variant=variant, tokens=[[0]], padded_length=1)
    return Loaded(
        engine=engine,
        load_s=seconds_from_ns(time.monotonic_ns() - start_ns),
        load_cpu_ns=time.process_time_ns() - start_cpu_ns,
    )


def profile_grid(
    engines: Mapping[str, Engine],
    *,
    grid: Sequence[tuple[int, int]],
    preset: Preset,
    vocab: int,
    seed: int,
    p95_cell: tuple[int, int],
) -> dict[str, tuple[Cell, ...]]:
    """Windows of every cell and variant in a seeded order, so that neither meets its own hour of the machine.

    A window in which something else held the CPU is run again, at most three times per cell; then it is kept and the
    cell is `noisy`.
    """
    random = np.random.default_rng(seed)
    turns = [(name, cell) for name in engines for cell in grid]
    tokens = {cell: random.integers(0, vocab, cell).tolist() for cell in grid}
    windows: dict[tuple[str, tuple[int, int]], list[Window]] = {turn: [] for turn in turns}
    discards = dict.fromkeys(turns, MOST_DISCARDS)
    noisy = set()
    for _ in range(preset.windows):
        for place in random.permutation(len(turns)):
            name, cell = turn = turns[place]
            least = -(-P95_RUNS // preset.windows) if cell == p95_cell else LEAST_RUNS
            window = _window(engines[name], name, tokens[cell], preset.window_s, least)
            while window.disturbed and discards[turn] > 0:
                discards[turn] -= 1
                window = _window(engines[name], name, tokens[cell], preset.window_s, least)
            if window.disturbed:
                noisy.add(turn)
            windows[turn].append(window)
    return {
        name: tuple(
            Cell(batch=cell[0], length=cell[1], windows=tuple(windows[name, cell]), noisy=(name, cell) in noisy)
            for cell in grid
        )
        for name in engines
    }


def profile_texts(encoder: TextEncoder, texts: Sequence[str]) -> TextCost:
    """What the tokenizer takes per text, one at a time as requests come, over groups of texts of near equal size."""
    chosen = sorted(texts, key=lambda text: (len(text), text))[:: max(1, len(texts) // (TEXT_GROUPS * TEXTS_PER_GROUP))]
    encoder.encode(chosen[:TEXTS_PER_GROUP])
    rows, seconds, cpu_seconds, counted = [], [], [], 0
    for start in range(0, len(chosen), TEXTS_PER_GROUP):
        group = chosen[start : start + TEXTS_PER_GROUP]
        start_ns, start_cpu_ns = time.monotonic_ns(), time.process_time_ns()
        for text in group:
            encoder.encode([text])
        cpu_seconds.append(max(1, time.process_time_ns() - start_cpu_ns) / NS_PER_S)
        seconds.append(max(1, time.monotonic_ns() - start_ns) / NS_PER_S)
        rows.append((float(len(group)), float(sum(map(len, group)))))
        counted += len(group)
    return TextCost(
        t_s=tuple(map(float, nonnegative_fit(rows, seconds))),
        cpu_s=tuple(map(float, nonnegative_fit(rows, cpu_seconds))),
        mean_cpu_s=sum(cpu_seconds) / counted,
    )


def _window(engine: Engine, name: str, tokens: Sequence[Sequence[int]], window_s: float, least_runs: int) -> Window:
    """Runs of one batch until `window_s` has passed, at least `least_runs`; one more before them warms the caches."""
    length = len(tokens[0])
    run_rows(engine, variant=name, tokens=tokens, padded_length=length)
    run_ns: list[int] = []
    cpu_ns = 0
    while sum(run_ns) < window_s * NS_PER_S or len(run_ns) < least_runs:
        _, span = run_rows(engine, variant=name, tokens=tokens, padded_length=length)
        run_ns.append(span.end_ns - span.start_ns)
        cpu_ns += span.cpu_ns
    return Window(run_s=tuple(map(seconds_from_ns, run_ns)), cpu_s=seconds_from_ns(cpu_ns))
