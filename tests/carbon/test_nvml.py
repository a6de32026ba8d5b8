"""One call a tick, each field's own return code, the driver's times, boards and their faults."""

from typing import Any

import pynvml
import pytest

from greenserve.carbon.meters.nvml import FieldReader, list_boards, parent_of, power_samples, process_ids, start
from greenserve.clock import ManualClock
from greenserve.errors import MeterUnavailable
from tests.fake_nvml import COUNTER, POWER, FakeBoard, FakeInstance, FakeNvml


def a_reader(board: FakeBoard, clock: ManualClock, *, call_ns: int = 0, scope: int = 0) -> tuple[FieldReader, FakeNvml]:
    nvml = FakeNvml(board, clock=clock, call_ns=call_ns)
    boards, _ = list_boards(nvml)
    return FieldReader(nvml, boards[0], clock=clock, scope=scope), nvml


def test_a_tick_is_one_call_for_counter_and_power() -> None:
    """Two fields in one call; nothing else is asked in the sampler."""
    reader, nvml = a_reader(FakeBoard(counter_mj=5_000, power_mw=71_000), ManualClock())
    nvml.calls.clear()

    sample = reader.sample()

    assert (5_000, 71_000, ()) == (sample.counter_mj, sample.power_mw, sample.faults)
    assert {"fields": 1} == nvml.calls
    assert {0} == nvml.scopes


@pytest.mark.parametrize(("failing", "named"), [(COUNTER, "energy counter"), (POWER, "instant power")])
def test_a_field_that_fails_is_unknown_and_named(failing: int, named: str) -> None:
    """The call succeeds as a whole though one field does not: its value is never taken."""
    reader, _ = a_reader(FakeBoard(fails={failing: pynvml.NVML_ERROR_NOT_SUPPORTED}), ManualClock())

    sample = reader.sample()

    values = {COUNTER: sample.counter_mj, POWER: sample.power_mw}
    assert values.pop(failing) is None
    assert None not in values.values()
    assert 1 == len(sample.faults)
    assert named in sample.faults[0]
    assert "Not Supported" in sample.faults[0]


def test_the_drivers_time_is_taken_as_monotonic_time() -> None:
    """A value 30 ms old is dated 30 ms back."""
    clock = ManualClock()
    board = FakeBoard(timestamp_us=clock.unix_us() - 30_000)
    reader, _ = a_reader(board, clock, call_ns=200_000)

    sample = reader.sample()

    assert abs(clock.monotonic_ns() - 30_200_000 + 200_000 - sample.counter_at_ns) <= 200_000


@pytest.mark.parametrize("timestamp_us", [0, 1, 2**60])
def test_a_time_without_sense_gives_way_to_the_middle_of_the_call(timestamp_us: int) -> None:
    """Some boards date nothing."""
    reader, _ = a_reader(FakeBoard(timestamp_us=timestamp_us), ManualClock(), call_ns=100_000)

    sample = reader.sample()

    assert sample.at_ns == sample.counter_at_ns == sample.power_at_ns


class SteppedClock(ManualClock):
    """A manual clock whose civil time can be set."""

    step_us = 0

    def unix_us(self) -> int:
        return super().unix_us() + self.step_us


def test_a_step_of_the_civil_clock_is_counted_and_dates_nothing() -> None:
    """The driver's time of before the step would be wrong by it."""
    clock = SteppedClock()
    reader, _ = a_reader(FakeBoard(), clock)
    reader.sample()
    clock.step_us = -400_000

    sample = reader.sample()

    assert (1, 400_000_000) == (reader.steps, reader.last_step_ns)
    assert sample.at_ns == sample.counter_at_ns
    reader.sample()
    assert 1 == reader.steps


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (pynvml.NVML_ERROR_NO_PERMISSION, "give this user access"),
        (pynvml.NVML_ERROR_GPU_IS_LOST, "restart the machine"),
        (pynvml.NVML_ERROR_UNKNOWN, "cannot be read"),
    ],
)
def test_a_call_that_fails_says_what_to_do(code: int, advice: str) -> None:
    """Never a zero."""
    board = FakeBoard()
    reader, _ = a_reader(board, ManualClock())
    board.lost = code

    with pytest.raises(MeterUnavailable, match=advice):
        reader.sample()


def test_the_scope_is_passed_on() -> None:
    """A superchip's module is asked by its scope."""
    reader, nvml = a_reader(FakeBoard(), ManualClock(), scope=1)

    reader.sample()

    assert {1} == nvml.scopes


def test_boards_are_listed_with_what_they_tell() -> None:
    """One lost board hides no other, and an unknown limit is unknown."""
    lost = FakeBoard(uuid="GPU-lost", lost=pynvml.NVML_ERROR_GPU_IS_LOST)
    nvml = FakeNvml(FakeBoard(mig=True), lost, FakeBoard(uuid="GPU-2", limit_mw=None, mig=None), clock=ManualClock())

    boards, faults = list_boards(nvml)

    assert [("GPU-0000", 300_000, True), ("GPU-2", None, None)] == [
        (board.uuid, board.power_limit_mw, board.mig) for board in boards
    ]
    assert [("gpu 1", "it cannot be opened (GPU is lost)")] == list(faults)


def test_no_driver_and_no_board_are_said() -> None:
    """The two commonest reasons have messages of their own."""
    with pytest.raises(MeterUnavailable, match=r"NVML does not start .*needs an NVIDIA driver"):
        start(FakeNvml(clock=ManualClock(), starts=False))
    with pytest.raises(MeterUnavailable, match="lists no board"):
        list_boards(FakeNvml(clock=ManualClock()))


def test_the_board_of_an_instance_is_its_parent() -> None:
    """A MIG instance has no counter of its own."""
    board = FakeBoard(mig=True)
    nvml: Any = FakeNvml(board, clock=ManualClock())

    assert parent_of(nvml, FakeInstance(board)) is board
    assert parent_of(nvml, board) is board


def test_samples_come_in_order_and_only_new_ones() -> None:
    """The buffer is not sorted on every driver; nothing new is no fault."""
    board = FakeBoard(samples=[(30, 3), (10, 1), (20, 2)])
    nvml = FakeNvml(board, clock=ManualClock())
    (opened,), _ = list_boards(nvml)

    assert [(20, 2), (30, 3)] == power_samples(nvml, opened, 10)
    assert [] == power_samples(nvml, opened, 30)
    board.samples = None
    with pytest.raises(MeterUnavailable, match="no such sensor"):
        power_samples(nvml, opened, 0)


def test_the_processes_of_a_board_are_their_ids() -> None:
    """Computing and drawing ones."""
    nvml = FakeNvml(FakeBoard(pids=[7, 9]), clock=ManualClock())

    assert frozenset({7, 9}) == process_ids(nvml, list_boards(nvml)[0][0])
