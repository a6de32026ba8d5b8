"""Nested and parallel blocks: no microjoule twice, none lost."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.carbon.sharing import Block, Sharing, Stretch


def a_stretch(start_ns: int, end_ns: int, *, static_uj: int = 0, active_uj: int = 0, foreign_uj: int = 0) -> Stretch:
    return Stretch(
        device="cpu",
        start_ns=start_ns,
        end_ns=end_ns,
        static_uj=static_uj,
        active_uj=active_uj,
        foreign_uj=foreign_uj,
        tier="measured",
        source="test",
    )


def test_a_nested_block_is_part_of_the_one_around_it() -> None:
    """The outer one includes it; its own energy does not."""
    sharing, outer = Sharing(), Block("outer")
    inner = Block("inner", parent=outer)
    sharing.open(outer, 0)
    sharing.open(inner, 40)
    sharing.close(inner, 70)
    sharing.close(outer, 100)

    sharing.add(a_stretch(0, 100, static_uj=100, active_uj=1_000))

    assert (1_100, 770) == (outer.tallies["cpu"].energy_uj, outer.tallies["cpu"].own_uj)
    assert (330, 330) == (inner.tallies["cpu"].energy_uj, inner.tallies["cpu"].own_uj)
    assert (0, 0) == (outer.tallies["cpu"].shared_ns, inner.tallies["cpu"].shared_ns)


def test_parallel_blocks_share_equally_and_are_told() -> None:
    """Half of the overlap each, with its length; what was before and after is one's own."""
    sharing, first, second = Sharing(), Block("first"), Block("second")
    sharing.open(first, 0)
    sharing.open(second, 50)
    sharing.close(first, 80)

    sharing.add(a_stretch(0, 100, active_uj=1_000, foreign_uj=10))

    assert (650, 30) == (first.tallies["cpu"].energy_uj, first.tallies["cpu"].shared_ns)
    assert (350, 30) == (second.tallies["cpu"].energy_uj, second.tallies["cpu"].shared_ns)


def test_what_nobody_metered_is_no_zero() -> None:
    """Time without energy is left out of the known time."""
    sharing, block = Sharing(), Block("block")
    sharing.open(block, 0)
    unknown = Stretch(
        device="cpu", start_ns=0, end_ns=60, static_uj=None, active_uj=None, foreign_uj=None, tier=None, source="test"
    )
    sharing.add(unknown)
    sharing.add(a_stretch(60, 100, active_uj=7))

    assert (40, 7) == (block.tallies["cpu"].known_ns, block.tallies["cpu"].energy_uj)


@pytest.mark.parametrize("parts", [(1, None, 0), (-1, 0, 0)])
def test_a_stretch_knows_all_or_nothing(parts: tuple[int | None, int | None, int | None]) -> None:
    """A part that is not known, or below zero, is a fault of the caller."""
    with pytest.raises(ValueError, match="stretch"):
        Stretch(
            device="cpu",
            start_ns=0,
            end_ns=1,
            static_uj=parts[0],
            active_uj=parts[1],
            foreign_uj=parts[2],
            tier="measured",
            source="test",
        )


def test_blocks_change_in_the_order_of_time() -> None:
    """A block that opens in the past, or closes without being open, is refused."""
    sharing = Sharing()
    sharing.open(Block("first"), 10)

    with pytest.raises(ValueError, match="got 9 ns after 10 ns"):
        sharing.open(Block("second"), 9)
    with pytest.raises(ValueError, match="'third' is not open"):
        sharing.close(Block("third"), 20)


steps = st.lists(st.tuples(st.integers(0, 40), st.integers(-1, 5), st.booleans()), min_size=1, max_size=12)
cuts = st.lists(st.tuples(st.integers(1, 60), st.integers(0, 50) | st.integers(0, 10**12)), min_size=1, max_size=8)


@given(steps, cuts)
def test_own_energies_sum_to_what_was_metered(steps: list[tuple[int, int, bool]], cuts: list[tuple[int, int]]) -> None:
    """Whatever is nested or parallel: while a block is open every microjoule is somebody's, once."""
    sharing, blocks, at_ns = Sharing(), [Block("whole")], 0
    sharing.open(blocks[0], 0)
    for after_ns, parent, closes in steps:
        at_ns += after_ns
        if closes and len(sharing.present) > 1:
            sharing.close(sharing.present[-1 if parent % 2 else 1], at_ns)
        else:
            around = blocks[parent % len(blocks)] if parent >= 0 else None
            blocks.append(Block("one", parent=around))
            sharing.open(blocks[-1], at_ns)
    edges, total_uj = [0], 0
    for length, _ in cuts:
        edges.append(edges[-1] + length)

    for (start, end), (_, energy_uj) in zip(pairwise(edges), cuts, strict=True):
        sharing.add(a_stretch(start, end, static_uj=energy_uj // 3, active_uj=energy_uj - energy_uj // 3))
        total_uj += energy_uj

    assert total_uj == sum(block.tallies["cpu"].own_uj for block in blocks if block.tallies)
    assert all(tally.own_uj <= tally.energy_uj for block in blocks for tally in block.tallies.values())


def test_what_is_forgotten_changes_no_later_stretch() -> None:
    """Only what lies before goes; who is open stays known."""
    sharing, block = Sharing(), Block("block")
    sharing.open(block, 0)
    sharing.open(Block("other"), 10)
    sharing.close(sharing.present[1], 20)

    sharing.forget(50)
    sharing.add(a_stretch(50, 60, active_uj=5))

    assert 5 == block.tallies["cpu"].own_uj
