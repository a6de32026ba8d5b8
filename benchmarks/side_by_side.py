"""GreenServe, its peers and the bare engine side by side: rounds interleaved, one system alive at a time."""

import random
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import grpc
import httpx

from benchmarks.bare import bare_per_s
from benchmarks.closed_loop import Outcome, unique_texts
from benchmarks.peers.minilm import MiniLm
from benchmarks.system import Entrance, System
from benchmarks.systems import GREENSERVE, SYSTEMS
from benchmarks.table import Sample, lines_of, rows_of

CONNECTIONS = (1, 8, 32, 64)
BARE = "bare ONNX Runtime x2, batch 32"
BARE_SINGLE = "bare ONNX Runtime x2, batch 1"
CLOSE = 1e-3
CANNOT_RUN = (RuntimeError, OSError, subprocess.SubprocessError, httpx.HTTPError, grpc.RpcError)
PROBES = (
    "the new phone is great",
    "the battery is bad today",
    "rain again",
    "my team won but the phone is bad",
)


def side_by_side(*, rounds: int, seconds: float, names: Sequence[str] = ()) -> dict[str, Any]:
    """Drive every system in every round; print the table and return it with its samples and versions.

    `names` limits the systems. A system that can't start or answers wrongly is left out from then on, with the reason.
    """
    chosen = [system for make in SYSTEMS if (system := make()) and (not names or system.name in names)]
    not_run = {system.name: reason for system in chosen if (reason := system.missing())}
    expected = expected_answers()
    samples: list[Sample] = []
    for number in range(rounds):
        samples += bare_samples(number, seconds)
        order = [system for system in chosen if system.name not in not_run]
        random.Random(number).shuffle(order)
        for system in order:
            try:
                samples += samples_of(system, number, seconds, expected)
            except CANNOT_RUN as error:
                not_run[system.name] = f"{type(error).__name__}: {error}"
                print(f"{system.name}: not run: {not_run[system.name]}", flush=True)
    labels = [BARE, BARE_SINGLE, *(label for system in chosen for label in system.labels)]
    rows = rows_of(in_order(samples, labels), greenserve=GREENSERVE, bare=BARE)
    print("\n".join(lines_of(rows, not_run)), flush=True)
    return {
        "rounds": rounds,
        "seconds": seconds,
        "rows": [asdict(row) for row in rows],
        "samples": [asdict(sample) for sample in samples],
        "systems": {
            system.name: {"settings": system.settings, "versions": system.versions()}
            for system in chosen
            if not system.missing()
        },
        "not_run": not_run,
    }


def in_order(samples: Sequence[Sample], labels: Sequence[str]) -> list[Sample]:
    """The samples by connections, then by their labels' place in `labels`, then by round."""
    return sorted(samples, key=lambda one: (one.connections, labels.index(one.label), one.round_number))


def bare_samples(number: int, seconds: float) -> list[Sample]:
    """The engine alone, at batch 32 and 1, as a row for every number of connections."""
    return [
        Sample(
            label=label,
            connections=connections,
            round_number=number,
            per_s=per_s,
            p50_ms=None,
            p99_ms=None,
            failures=0,
        )
        for label, batch_size in ((BARE, 32), (BARE_SINGLE, 1))
        for per_s in (bare_per_s(batch_size=batch_size, duration_s=seconds),)
        for connections in CONNECTIONS
    ]


def samples_of(
    system: System, number: int, seconds: float, expected: Mapping[str, tuple[str, tuple[float, ...]]]
) -> list[Sample]:
    """Start a system, check its answers, drive each entrance at each number of connections, stop it."""
    samples = []
    with system.start() as entrances:
        for entrance in entrances:
            check(entrance, expected)
            for connections in CONNECTIONS:
                texts = unique_texts(1000 * number + connections)
                outcome = entrance.load(texts, connections, seconds)
                samples.append(sample_of(entrance.label, connections, number, outcome))
                print(
                    f"round {number + 1}  {entrance.label:<24} {connections:>3}  {outcome.per_s:>7,.0f}/s"
                    f"  p50 {outcome.quantile_ms(0.5):.1f} ms  failures {samples[-1].failures}",
                    flush=True,
                )
    return samples


def sample_of(label: str, connections: int, number: int, outcome: Outcome) -> Sample:
    """A run's figures; lost connections are failures, and without an answer there is no latency."""
    some = outcome.answers > 0
    return Sample(
        label=label,
        connections=connections,
        round_number=number,
        per_s=outcome.per_s,
        p50_ms=outcome.quantile_ms(0.5) if some else None,
        p99_ms=outcome.quantile_ms(0.99) if some else None,
        failures=outcome.failures + outcome.lost_connections,
    )


def expected_answers() -> dict[str, tuple[str, tuple[float, ...]]]:
    """What the engine itself says about the probe texts, one by one: a batch changes INT8 scales a little."""
    minilm, answers = MiniLm(), {}
    for text in PROBES:
        (found,) = minilm.classify([text])
        answers[text] = (str(found["label"]), tuple(minilm.probabilities([text])[0].tolist()))
    return answers


def check(entrance: Entrance, expected: Mapping[str, tuple[str, tuple[float, ...]]]) -> None:
    """Refuse to measure what answers wrongly; RuntimeError says what was answered and what is right."""
    for text, (label, shares) in expected.items():
        said, given = entrance.ask(text)
        near = len(given) == len(shares) and all(abs(a - b) < CLOSE for a, b in zip(given, shares, strict=True))
        if said != label or not near:
            raise RuntimeError(f"{entrance.label} says {said} {given} to {text!r}; the engine says {label} {shares}")
