"""The limit: tokenizer and ONNX Runtime alone in two processes, no server, no accounting."""

import multiprocessing
import time
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Barrier

from benchmarks.closed_loop import text_of
from benchmarks.peers.minilm import MiniLm

WARM_UP_S = 1.0
PART_TEXTS = 10**9


def _count(batch_size: int, duration_s: float, number: int, together: Barrier, done: "SimpleQueue[int]") -> None:
    """Put on `done` how many texts one process tokenises and runs in batches within the time, all starting together."""
    minilm = MiniLm()

    def run(for_s: float) -> int:
        nonlocal number
        count, end_s = 0, time.monotonic() + for_s
        while time.monotonic() < end_s:
            minilm.probabilities([text_of(number + index) for index in range(batch_size)])
            number += batch_size
            count += batch_size
        return count

    together.wait()
    run(WARM_UP_S)
    together.wait()
    done.put(run(duration_s))


def bare_per_s(*, batch_size: int, duration_s: float, processes: int = 2) -> float:
    """Texts per second of `processes` processes together, in batches of `batch_size`.

    All measure the same time: cores that share execution units are faster while their neighbour waits.
    """
    context = multiprocessing.get_context("spawn")
    together, done = context.Barrier(processes), context.SimpleQueue()
    workers = [
        context.Process(target=_count, args=(batch_size, duration_s, part * PART_TEXTS, together, done))
        for part in range(processes)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if failed := [worker.exitcode for worker in workers if worker.exitcode]:
        raise RuntimeError(f"{len(failed)} of {processes} processes of the bare engine ended with {failed[0]}")
    texts: int = sum(done.get() for _ in workers)
    return texts / duration_s


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
