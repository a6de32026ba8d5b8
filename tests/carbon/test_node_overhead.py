"""What a node draws beyond its devices: from meters, from a declared power, or unknown."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.carbon.node_overhead import (
    BELOW_DEVICES,
    UNCOVERED,
    Beyond,
    DeclaredOverhead,
    NodeBalance,
    Stretches,
    declared_over,
)
from greenserve.errors import ConfigInvalid

S = 10**9
steps = st.lists(st.tuples(st.integers(1, 70), st.integers(0, 10**9)), min_size=1, max_size=12)


def balance_of(
    cpu: Sequence[tuple[int, int]], node: Sequence[tuple[int, int]], *, least_ns: int = 1, hole_ns: int = 0
) -> list[Beyond]:
    """All that a node of one CPU closes: stretches by (seconds, uJ), joined; `hole_ns` is missing inside the CPU's."""
    made, found = NodeBalance(["cpu"]), list[Beyond]()
    starts = [0, 0]
    for number in range(max(len(cpu), len(node))):
        if number < len(cpu):
            end = starts[0] + cpu[number][0] * S
            made.device("cpu", (starts[0], end), cpu[number][1], unmetered_ns=hole_ns, tier="modelled")
            starts[0] = end
        if number < len(node):
            end = starts[1] + node[number][0] * S
            made.node((starts[1], end), node[number][1], tier="metered", source="wall")
            starts[1] = end
        if (closed := made.close(least_ns)) is not None:
            found.append(closed)
    return found


def test_the_overhead_is_what_the_devices_do_not_explain() -> None:
    """100 J of a node less 60 J of its CPU over the same 10 s; as good as the weaker of the two meters."""
    (beyond,) = balance_of([(10, 60_000_000)], [(10, 100_000_000)])

    assert (0, 10 * S, 40_000_000) == (beyond.start_ns, beyond.end_ns, beyond.overhead_uj)
    assert ({"cpu": 60_000_000}, 100_000_000) == (beyond.devices, beyond.node_uj)
    assert ("modelled", "wall", ()) == (beyond.tier, beyond.source, beyond.flags)


def test_only_time_that_both_meters_saw_is_compared() -> None:
    """A node meter that lags by 5 s of 10: half of the CPU's stretch now, the other half later, nothing twice."""
    first, second = balance_of([(10, 60_000_001), (10, 0)], [(5, 50_000_000), (15, 150_000_000)])

    assert (30_000_000, 5 * S) == (first.devices["cpu"], first.end_ns)
    assert (30_000_001, 20 * S) == (second.devices["cpu"], second.end_ns)
    assert (20_000_000, 119_999_999) == (first.overhead_uj, second.overhead_uj)


@given(steps, steps)
def test_over_time_overhead_and_devices_are_the_nodes_energy(
    cpu: list[tuple[int, int]], node: list[tuple[int, int]]
) -> None:
    """However the stretches lie: node = devices + overhead - the deficit that is left, each part once, none below 0."""
    found = balance_of(cpu, node)

    total = sum(beyond.node_uj or 0 for beyond in found)
    explained = sum(sum(beyond.devices.values()) for beyond in found)
    overhead = sum(beyond.overhead_uj or 0 for beyond in found)
    left = found[-1].deficit_after_uj if found else 0
    assert total == explained + overhead - left
    assert all(beyond.overhead_uj is None or beyond.overhead_uj >= 0 for beyond in found)
    assert all((beyond.overhead_uj is None) == (beyond.flags == (BELOW_DEVICES,)) for beyond in found)
    assert all(one.end_ns == other.start_ns for one, other in pairwise(found))


def test_a_node_below_its_devices_is_unknown_and_remembered() -> None:
    """A coarse counter that stood still and then jumps: nothing is shown until the jump has paid for the still time."""
    still, jumped, usual = balance_of([(10, 60)] * 3, [(10, 0), (10, 200), (10, 100)])

    assert (None, 60, (BELOW_DEVICES,)) == (still.overhead_uj, still.deficit_after_uj, still.flags)
    assert (80, 60, 0) == (jumped.overhead_uj, jumped.deficit_before_uj, jumped.deficit_after_uj)
    assert 40 == usual.overhead_uj


def test_a_hole_of_a_device_is_no_overhead() -> None:
    """What a device drew while its meter was silent must not show as the fans'."""
    (beyond,) = balance_of([(10, 60_000_000)], [(10, 100_000_000)], hole_ns=1)

    assert (None, (UNCOVERED,)) == (beyond.overhead_uj, beyond.flags)
    assert 10 * S == beyond.members()["unmetered_ns"]


def test_nothing_is_said_before_every_device_has_spoken() -> None:
    """A board without an interval may have drawn anything."""
    made = NodeBalance(["cpu", "GPU-1"])
    made.device("cpu", (0, 10 * S), 60, unmetered_ns=0, tier="modelled")
    made.node((0, 10 * S), 100, tier="metered", source="wall")
    before = made.close(1)
    made.device("GPU-1", (2 * S, 8 * S), 6, unmetered_ns=0, tier="measured")

    after = made.close(1)

    assert before is None
    assert after is not None
    assert (2 * S, 8 * S, {"cpu": 36, "GPU-1": 6}, 60) == (after.start_ns, after.end_ns, after.devices, after.node_uj)


def test_a_hole_before_a_stretch_is_the_holes_alone() -> None:
    """Time between two stretches is not covered; the second one itself is whole."""
    made = Stretches()
    made.take("cpu", 0, 10, 5)
    made.forget(10)
    made.take("cpu", 12, 20, 8, unmetered_ns=2)
    made.take("cpu", 20, 30, 9, unmetered_ns=1)
    made.take("cpu", 5, 8, 1_000)

    assert (8, True) == made.within("cpu", 12, 20)
    assert (8, False) == made.within("cpu", 10, 20)
    assert (9, False) == made.within("cpu", 20, 30)
    assert (0, False) == made.within("gpu", 0, 1)


def test_a_declared_power_gives_power_times_time() -> None:
    """35 W over 20 s are 700 J, modelled, and the source says who declared it."""
    declared = DeclaredOverhead(power_mw=35_000, half_width_pct=20, source="wall meter, 3 November")

    beyond = declared_over(declared, 0, 20 * S)

    assert (700_000_000, "modelled", 35_000) == (beyond.overhead_uj, beyond.tier, beyond.power_mw)
    assert "declared 35 W +-20 %, wall meter, 3 November" == beyond.source
    assert ("power", 700_000_000) == (beyond.members()["settled_by"], beyond.members()["metered_uj"])


@pytest.mark.parametrize("wrong", [{"power_mw": -1}, {"half_width_pct": 0}, {"source": ""}])
def test_a_declaration_without_its_evidence_is_refused(wrong: dict[str, Any]) -> None:
    """No energy figure without who says so."""
    given: dict[str, Any] = {"power_mw": 1, "half_width_pct": 5, "source": "a"}
    with pytest.raises(ConfigInvalid, match=r"energy\.overhead"):
        DeclaredOverhead(**(given | wrong))
