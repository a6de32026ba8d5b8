"""The limit: tokenizer and ONNX Runtime alone in two processes, no server, no accounting."""

import multiprocessing
import time

from benchmarks.closed_loop import text_of
from benchmarks.peers.minilm import MiniLm

WARM_UP_S = 1.0
PART_TEXTS = 10**9


def _count(arguments: tuple[int, float, int]) -> int:
    """Texts that one process tokenises and runs in batches within the time."""
    batch_size, duration_s, number = arguments
    minilm = MiniLm()
    done, end_s = 0, 0.0
    warm_until_s = time.monotonic() + WARM_UP_S
    while not end_s or time.monotonic() < end_s:
        minilm.probabilities([text_of(number + index) for index in range(batch_size)])
        number += batch_size
        if end_s:
            done += batch_size
        elif time.monotonic() > warm_until_s:
            end_s = time.monotonic() + duration_s
    return done


def bare_per_s(*, batch_size: int, duration_s: float, processes: int = 2) -> float:
    """Texts per second of `processes` processes together, in batches of `batch_size`."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(processes) as pool:
        return sum(pool.map(_count, [(batch_size, duration_s, part * PART_TEXTS) for part in range(processes)])) / (
            duration_s
        )


def bare_latencies_s(*, duration_s: float) -> list[float]:
    """Times [s], sorted, of one text after the other in one process: tokenise, run, softmax."""
    minilm, times_s, number = MiniLm(), [], 0
    start_s = time.perf_counter()
    while time.perf_counter() < start_s + WARM_UP_S + duration_s:
        text, number = text_of(number), number + 1
        sent_s = time.perf_counter()
        minilm.probabilities([text])
        if sent_s > start_s + WARM_UP_S:
            times_s.append(time.perf_counter() - sent_s)
    return sorted(times_s)
