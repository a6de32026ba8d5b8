"""A divided board: its counter shared over the instances to the microjoule, by how busy they are, with its evidence."""

import pynvml
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.carbon.meters.characterise import Characterisation
from greenserve.carbon.meters.mig import Instance, MigWatch, list_instances
from greenserve.carbon.meters.node import NodeMeter
from greenserve.carbon.meters.nvml import list_boards
from greenserve.carbon.meters.pick import Machine, PickedNode, pick_node
from greenserve.clock import ManualClock
from greenserve.errors import MeterUnavailable
from tests.carbon.test_boards import a_characterisation
from tests.fake_nvml import FakeBoard, FakeInstance, FakeNvml

MS = 1_000_000


def divided(*slices: int, gpm: bool = True) -> FakeBoard:
    """A board with an instance of so many slices each, in GPU instances 1, 2, ..."""
    board = FakeBoard(mig=True, gpm=gpm)
    board.instances = [
        FakeInstance(board, uuid=f"MIG-{place}", gpu_instance=place, slices=count)
        for place, count in enumerate(slices, 1)
    ]
    return board


def picked(board: FakeBoard, clock: ManualClock, *known: Characterisation) -> tuple[PickedNode, FakeNvml]:
    nvml = FakeNvml(board, clock=clock)
    return pick_node(["nvml"], clock=clock, machine=Machine(nvml=lambda: nvml), boards=known), nvml


def energies(node: PickedNode) -> dict[str, int]:
    return {one.device: one.meter.read().energy_uj for one in node.devices}


def looked(node: PickedNode, clock: ManualClock) -> None:
    """A second of activity."""
    for _ in range(2):
        for watch in node.mig:
            watch.look()
        clock.advance(duration_ns=1_000 * MS)


def test_each_instance_is_a_device_with_its_own_identity() -> None:
    """Board (the rest), then instances; what they are is in their description."""
    node, _ = picked(divided(3, 2), ManualClock())

    assert ["GPU-0000", "MIG-1", "MIG-2"] == [one.device for one in node.devices]
    assert {"MIG-1": "GPU-0000", "MIG-2": "GPU-0000"} == node.instances
    described = node.devices[2].meter.describe()
    assert ("MIG-2", "GPU-0000", 2, 2) == tuple(
        described[name] for name in ("device", "mig_parent", "mig_gpu_instance", "mig_slices")
    )
    assert {"MIG-1": 3, "MIG-2": 2} == node.devices[0].meter.describe()["mig_instances"]


def test_the_counter_goes_by_activity_times_slices() -> None:
    """3 slices at 20 % and 2 at 90 %: 60 to 180 of what the board counted."""
    clock, board = ManualClock(), divided(3, 2)
    board.instances[0].busy_pct, board.instances[1].busy_pct = 20.0, 90.0
    node, _ = picked(board, clock)
    energies(node)
    looked(node, clock)

    board.counter_mj += 24_000

    assert {"GPU-0000": 0, "MIG-1": 6_000_000, "MIG-2": 18_000_000} == energies(node)
    assert {"measured_raw"} == {one.meter.read().tier for one in node.devices}
    assert 15 == node.devices[1].meter.describe()["half_width_pct"]


def test_without_activity_it_goes_by_slices_and_is_modelled() -> None:
    """Older boards tell none: +-80 %, and the fault says why."""
    clock, board = ManualClock(), divided(3, 1, gpm=False)
    node, _ = picked(board, clock)
    energies(node)
    looked(node, clock)

    board.counter_mj += 8_000

    assert {"GPU-0000": 0, "MIG-1": 6_000_000, "MIG-2": 2_000_000} == energies(node)
    assert ["measured_raw", "modelled", "modelled"] == [one.meter.read().tier for one in node.devices]
    described = node.devices[1].meter.describe()
    assert (80, "slices") == (described["half_width_pct"], described["mig_shared_by"])
    assert "this board has no GPM metrics (Hopper and newer have)" == node.mig[0].fault


def test_static_energy_goes_by_slices_and_that_of_free_slices_to_the_board() -> None:
    """7 slices of which 3 are in use: 60 W over 0.1 s are 6 J, 4/7 of them the board's own."""
    clock, board = ManualClock(), divided(2, 1, gpm=False)
    node, _ = picked(board, clock, a_characterisation())
    energies(node)
    clock.advance(duration_ns=100 * MS)
    board.counter_mj += 13_000

    statics = {one.device: one.meter.read().static_uj for one in node.devices}

    assert {"GPU-0000": 3_428_571, "MIG-1": 1_714_286, "MIG-2": 857_143} == statics
    assert 13_000_000 == sum(energies(node).values())


@given(
    st.lists(st.tuples(st.integers(0, 10**7), st.integers(0, 100), st.integers(0, 100)), min_size=1, max_size=12),
    st.booleans(),
)
def test_instances_and_rest_sum_to_the_board(steps: list[tuple[int, int, int]], gpm: bool) -> None:
    """Whatever the counter and the activities do: not a microjoule more or less."""
    clock, board = ManualClock(), divided(4, 1, gpm=gpm)
    node, _ = picked(board, clock, a_characterisation())
    energies(node)
    begun_mj = board.counter_mj
    for step_mj, first_pct, second_pct in steps:
        board.instances[0].busy_pct, board.instances[1].busy_pct = float(first_pct), float(second_pct)
        looked(node, clock)
        board.counter_mj += step_mj
        found = energies(node)

    assert (board.counter_mj - begun_mj) * 1_000 == sum(found.values())
    assert min(found.values()) >= 0


def test_one_call_of_the_driver_serves_all_instances() -> None:
    """The sampler costs what it costs for a whole board, and asks for no handle."""
    clock, board = ManualClock(), divided(1, 1, 1, 1)
    node, nvml = picked(board, clock)
    energies(node)
    clock.advance(duration_ns=50 * MS)
    before = dict(nvml.calls)

    energies(node)

    assert (1, 0) == (nvml.calls["fields"] - before["fields"], nvml.calls["mig"] - before["mig"])


def test_a_driver_reload_is_a_gap_of_every_instance() -> None:
    """The counter falls: no instance pays for what nobody counted, and each opens a segment."""
    clock, board = ManualClock(), divided(3, 4, gpm=False)
    nodes, _ = picked(board, clock)
    node = NodeMeter(nodes.devices, clock=clock)
    for counter_mj in (1_000_000, 1_007_000, 50, 7_050):
        board.counter_mj = counter_mj
        node.step()
        clock.advance(duration_ns=100 * MS)

    rows = node.take("MIG-1")

    assert [(3_000_000, 0), (3_000_000, 1)] == [(row.energy_uj, row.segment) for row in rows if not row.is_gap]
    assert 1 == sum(row.is_gap for row in rows)


def test_activity_that_is_old_or_no_number_counts_as_unknown() -> None:
    """A stopped watch must not go on sharing by what was five seconds ago, nor by NaN."""
    clock, board = ManualClock(), divided(3, 4)
    nodes, _ = picked(board, clock)
    (watch,) = nodes.mig
    looked(nodes, clock)
    fresh = watch.activity()
    clock.advance(duration_ns=5_000 * MS)
    old = watch.activity()
    board.instances[0].busy_pct = float("nan")
    looked(nodes, clock)

    assert ({"MIG-1": 0, "MIG-2": 0}, None, None) == (fresh, old, watch.activity())


def test_samples_of_the_driver_are_given_back() -> None:
    """One is kept for each GPU instance while it watches, none after."""
    clock, board = ManualClock(), divided(3, 4)
    nodes, nvml = picked(board, clock)
    looked(nodes, clock)
    looked(nodes, clock)

    kept = nvml.calls["gpm alloc"] - nvml.calls["gpm free"]
    nodes.mig[0].stop()

    assert (2, 0) == (kept, nvml.calls["gpm alloc"] - nvml.calls["gpm free"])


def test_a_watch_starts_again_after_a_stop() -> None:
    """Blocks of a profiler begin and end."""
    clock, board = ManualClock(), divided(7)
    nodes, nvml = picked(board, clock)
    for _ in range(2):
        nodes.mig[0].start()
        nodes.mig[0].stop()

    assert 2 == nvml.calls["gpm"]


@pytest.mark.parametrize(
    ("board", "words"),
    [
        (divided(), "it has no instance; its energy is the board's"),
        (FakeBoard(mig=True, fails={pynvml.NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION: 3}, samples=[(1, 1)]),
         "only a board with an energy counter is shared"),
    ],
)  # fmt: skip
def test_a_divided_board_that_cannot_be_shared_stays_one_device_and_says_why(board: FakeBoard, words: str) -> None:
    """No instance is invented."""
    node, _ = picked(board, ManualClock())

    assert (["GPU-0000"], ()) == ([one.device for one in node.devices], node.mig)
    assert any(words in reason for _, reason in node.rejected)


def test_instances_that_the_driver_does_not_list_are_a_fault_with_its_words() -> None:
    """A lost board, say."""
    board = divided(1)
    nvml = FakeNvml(board, clock=ManualClock())
    (opened,), _ = list_boards(nvml)
    board.lost = pynvml.NVML_ERROR_GPU_IS_LOST

    with pytest.raises(MeterUnavailable, match=r"its instances cannot be listed .*GPU is lost"):
        list_instances(nvml, opened)


def test_a_watch_whose_driver_fails_says_so_and_knows_nothing() -> None:
    """The fault is kept for `greenserve meters list`."""
    clock, board = ManualClock(), divided(7)
    nvml = FakeNvml(board, clock=clock)
    (opened,), _ = list_boards(nvml)
    instances = (Instance(uuid="MIG-1", board="GPU-0000", gpu_instance=1, slices=7),)
    watch = MigWatch(nvml, opened, instances, clock=clock)
    board.lost = pynvml.NVML_ERROR_GPU_IS_LOST

    watch.look()

    assert (None, "GPU is lost") == (watch.activity(), watch.fault)
