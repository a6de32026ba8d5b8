"""Connections spread evenly over the replicas of a node."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from greenserve.clock import ManualClock
from greenserve.serve.balance import STALE_NS, Board, surplus

held = st.integers(0, 5_000)


@given(held, st.lists(held, max_size=15))
def test_nobody_closes_more_than_lies_above_the_mean(own: int, others: list[int]) -> None:
    """And never more than one in twenty, rounded up: clients are moved, not driven out."""
    everybody = [own, *others]

    closed = surplus(own, everybody)

    assert 0 <= closed <= max(0.0, own - sum(everybody) / len(everybody))
    assert closed <= own / 20 + 1


@given(held, st.integers(1, 16))
def test_equal_replicas_close_nothing(own: int, replicas: int) -> None:
    """Nor does one that is alone."""
    assert 0 == surplus(own, [own] * replicas)


@given(held, st.lists(held, min_size=1, max_size=15))
def test_only_the_fuller_ones_close(own: int, others: list[int]) -> None:
    """A replica below the mean keeps all that it has."""
    everybody = [own, *others]

    assert own > sum(everybody) / len(everybody) or surplus(own, everybody) == 0


def test_a_replica_that_holds_too_many_of_few_closes_one_a_second() -> None:
    """20 and 12 of 32 are too far apart, 7 and 1 of 8 as well; 17 and 15 are chance."""
    assert [1, 1, 0, 0] == [surplus(20, [20, 12]), surplus(7, [7, 1]), surplus(17, [17, 15]), surplus(12, [20, 12])]


def test_replicas_see_what_the_others_hold(tmp_path: Path) -> None:
    """Through one file, until they leave; the last one removes it."""
    clock, path = ManualClock(), tmp_path / "balance"
    first, second = Board(path, clock=clock), Board(path, clock=clock)
    first.report(connections=20, in_flight=4)
    second.report(connections=12, in_flight=0)

    seen = [(each.connections, each.in_flight) for each in first.everybody()]
    surpluses = (first.surplus(20), second.surplus(12))
    first.close()
    left = [each.connections for each in second.everybody()]
    mode = path.stat().st_mode & 0o777
    second.close()

    assert [(20, 4), (12, 0)] == seen
    assert (1, 0) == surpluses
    assert [12] == left
    assert 0o600 == mode
    assert not path.exists()


def test_a_replica_that_died_counts_no_longer(tmp_path: Path) -> None:
    """Its slot goes to the next one: a killed replica writes no farewell."""
    clock, path = ManualClock(), tmp_path / "balance"
    killed, alive = Board(path, clock=clock), Board(path, clock=clock)
    killed.report(connections=50, in_flight=0)
    clock.advance(duration_ns=STALE_NS + 1)
    alive.report(connections=5, in_flight=0)

    heir = Board(path, clock=clock)

    assert [0, 5] == [each.connections for each in heir.everybody()]
    assert "slot 0 of 2 replicas" in repr(heir)
    heir.close()
    alive.close()


def test_what_an_earlier_boot_left_behind_is_nobodys(tmp_path: Path) -> None:
    """The monotonic clock starts again with the machine: a heartbeat from the future is not one."""
    path = tmp_path / "balance"
    before = Board(path, clock=ManualClock(monotonic_ns=10**15))

    after = Board(path, clock=ManualClock(monotonic_ns=10**9))

    assert [0] == [each.connections for each in after.everybody()]
    after.close()
    before.close()
