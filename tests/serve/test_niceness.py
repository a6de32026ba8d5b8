"""Who goes first: engines are nicer than the event loops of their process."""

import os
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from greenserve.clock import SystemClock
from greenserve.records import Batch, Span
from greenserve.serve.batching.execute import InlineExecutor
from greenserve.serve.engines.onnx import OnnxEngine
from greenserve.serve.models import ServedVariant, load_model
from greenserve.serve.niceness import LAST, STEP, give_way
from greenserve.serve.remote import RemoteExecutor
from greenserve.serve.variant_replica import VariantReplica
from tests.serve.building import Asked, HeldEngine, a_config

NODE = "this machine"


def niceness(thread: int | None = None) -> int:
    """Of a thread, or of the calling one."""
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id() if thread is None else thread)


class NotingEngine(HeldEngine):
    """State: the niceness that it ran with, by run."""

    def __init__(self) -> None:
        super().__init__("fp32", fail_on=None)
        self.ran_with: list[int] = []

    def run(self, batch: Batch) -> tuple[dict[str, npt.NDArray[np.generic]], Span]:
        """As any, and note it."""
        self.ran_with.append(niceness())
        return super().run(batch)


@pytest.fixture
def engine() -> NotingEngine:
    """An engine that notes how it runs."""
    return NotingEngine()


async def test_an_engine_in_the_process_of_a_loop_gives_way_to_it(served: ServedVariant, engine: NotingEngine) -> None:
    """On full cores who waits for an answer, or for a refusal, does not wait for the engine's turn to end."""
    executor = InlineExecutor()
    (ran,) = await executor.start([Asked(replace(served, engine=engine), (3, 0)).flight])
    executor.close()

    assert ran.error is None
    assert [niceness() + STEP] == engine.ran_with


async def test_an_engine_in_a_process_of_its_own_gives_way_to_all_loops(
    served: ServedVariant, tiny_manifest: Path, tmp_path: Path, engine: NotingEngine
) -> None:
    """Its node's gateways have the same cores."""
    settings = a_config(tiny_manifest, tmp_path).models[0]
    replica = VariantReplica(
        load=lambda: load_model(settings, lambda _manifest, _variant: engine, "here", max_items=8),
        node=NODE,
        fingerprint="here",
        clock=SystemClock(),
        retire_s=0.0,
    )
    engine.ran_with.clear()
    executor = RemoteExecutor(replica.run, slots=1, node=NODE, clock=SystemClock())
    (ran,) = await executor.start([Asked(served, (3, 0)).flight])

    assert ran.error is None
    assert [niceness() + STEP] == engine.ran_with


def test_threads_of_an_engines_own_give_way_too(tiny_manifest: Path) -> None:
    """A session of three threads begins two."""
    before = set(map(int, os.listdir("/proc/self/task")))
    OnnxEngine(model_file=tiny_manifest.parent / "fp32" / "model.onnx", variant="fp32", threads=3).load()
    begun = set(map(int, os.listdir("/proc/self/task"))) - before

    assert [niceness() + STEP] * 2 == [niceness(thread) for thread in begun]


@pytest.mark.parametrize("before", [0, 1, LAST - 1, LAST])
def test_there_is_a_last_place(before: int) -> None:
    """A gateway that was started nicely still tells its threads apart, as far as there is room."""

    found: list[int] = []

    def begin() -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), max(niceness(), before))
        give_way()
        found.append(niceness())

    thread = threading.Thread(target=begin)
    thread.start()
    thread.join()

    assert [min(LAST, max(niceness(), before) + STEP)] == found
