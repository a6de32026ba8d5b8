"""The limit: tokenizer and ONNX Runtime alone in two processes, no server, no accounting."""

import multiprocessing
import time
from pathlib import Path

from benchmarks.closed_loop import text_of
from greenserve.inputs import TextEncoder
from greenserve.manifest import load_manifest
from greenserve.records import Batch, Row
from greenserve.serve.engines.onnx_cpu import engine_for


def _count(arguments: tuple[str, str, int, float, int]) -> int:
    """Texts that one process tokenises and runs in batches within the time."""
    manifest_file, name, batch_size, duration_s, offset = arguments
    manifest = load_manifest(Path(manifest_file))
    pre = manifest.preprocessing
    encoder = TextEncoder(
        tokenizer_file=manifest.path_of(pre.files[0]), max_length=pre.max_length, truncate=pre.truncate
    )
    engine = engine_for(manifest.path_of(manifest.variant(name).files[0]), name)
    engine.load()
    done, number, end_s = 0, offset, 0.0
    warm_until_s = time.monotonic() + 1.0
    while not end_s or time.monotonic() < end_s:
        rows = encoder.encode([text_of(number + index) for index in range(batch_size)])
        number += batch_size
        engine.run(
            Batch(
                batch_id="bare",
                variant=name,
                rows=tuple(Row(request_id="", index=index, token_ids=row) for index, row in enumerate(rows)),
                padded_length=max(map(len, rows)),
            )
        )
        if end_s:
            done += batch_size
        elif time.monotonic() > warm_until_s:
            end_s = time.monotonic() + duration_s
    return done


def bare_per_s(manifest_file: Path, variant: str, *, batch_size: int, duration_s: float, processes: int = 2) -> float:
    """Texts per second of `processes` processes together, in batches of `batch_size`."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(processes) as pool:
        work = [(str(manifest_file), variant, batch_size, duration_s, part * 10**9) for part in range(processes)]
        return sum(pool.map(_count, work)) / duration_s
