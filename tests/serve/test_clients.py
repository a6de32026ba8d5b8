"""The simulator of clients that wait for their answers: a crowd, and the one that stays when it has left."""

from itertools import pairwise

import pytest

from greenserve.serve.batching.clients import Client, Served, simulate_clients
from greenserve.serve.batching.queue import Patience
from greenserve.serve.batching.regression import Regression
from greenserve.serve.batching.simulate import Truth
from greenserve.units import NS_PER_S
from tests.serve.batching import JOULES, MS, NOW, SECONDS, a_policy

TRUTH = Truth(seconds=Regression(SECONDS), joules=Regression(JOULES), noise=(1.0, 1.1, 0.9, 1.05, 0.95))
LEAVES = NOW + 3 * NS_PER_S
ENDS = LEAVES + 5 * NS_PER_S


def a_crowd(number: int, *, until_ns: int = LEAVES, pause_ns: int = MS) -> list[Client]:
    """So many clients that send again about a millisecond after their answer."""
    return [
        Client(from_ns=NOW + place * MS // 10, until_ns=until_ns, pause_ns=pause_ns + place * 7_000)
        for place in range(number)
    ]


def after_a_crowd(number: int, *, silent_ns: int = 0, pause_ns: int = MS, rows: int = 1) -> list[Served]:
    """What a lone client meets that comes when `number` others have left."""
    lone = Client(from_ns=LEAVES + silent_ns, until_ns=ENDS, pause_ns=pause_ns, rows=rows)
    served = simulate_clients(a_policy(), "v", [*a_crowd(number), lone], TRUTH)
    return [each for each in served if each.client == number and each.sent_ns > LEAVES + 5 * MS]


@pytest.mark.parametrize("number", [2, 8, 32])
@pytest.mark.parametrize("silent_ns", [0, NS_PER_S])
def test_a_lone_client_after_a_burst_waits_for_nobody(number: int, silent_ns: int) -> None:
    """Under 0.05 s of waiting for company in all, none of it after half a second; it had been 4 s."""
    served = after_a_crowd(number, silent_ns=silent_ns)

    waited_s = [each.waited_s for each in served]
    assert sum(waited_s) < 0.05
    assert max(waited_s) < 0.02
    begins_ns = LEAVES + silent_ns + NS_PER_S // 2
    assert 0.0 == sum(each.waited_s for each in served if each.sent_ns > begins_ns)
    assert len(served) > 1_300


def test_neither_does_one_with_many_rows_nor_one_that_thinks() -> None:
    """Four rows a request; 50 ms from an answer to the next request."""
    many, thinking = after_a_crowd(32, rows=4), after_a_crowd(32, pause_ns=50 * MS)

    assert sum(each.waited_s for each in many) < 0.05
    assert sum(each.waited_s for each in thinking) < 0.05


def test_a_night_of_lone_requests_does_not_make_the_next_crowd_expensive() -> None:
    """One client for a minute, then a burst, then it alone again: it waits no longer than after the burst alone."""
    before = Client(from_ns=NOW - 60 * NS_PER_S, until_ns=NOW, pause_ns=MS)
    lone = Client(from_ns=LEAVES, until_ns=ENDS, pause_ns=MS)

    served = simulate_clients(a_policy(), "v", [before, *a_crowd(32), lone], TRUTH)

    assert sum(each.waited_s for each in served if each.client == 33 and each.sent_ns > LEAVES + 5 * MS) < 0.05


def test_a_crowd_is_batched_all_the_same() -> None:
    """Of 32 clients more than three times as many are answered as of one: batches are large."""
    alone = len(simulate_clients(a_policy(), "v", a_crowd(1), TRUTH))
    together = len(simulate_clients(a_policy(), "v", a_crowd(32), TRUTH))

    assert together > 3 * alone


@pytest.mark.parametrize("patience", ["latency", "balanced", "green"])
def test_each_request_is_sent_launched_and_answered_in_that_order(patience: Patience) -> None:
    """And no client has two on their way; the same arguments give the same outcome."""
    clients = [
        Client(from_ns=NOW, until_ns=NOW + NS_PER_S, pause_ns=pause * MS, rows=1 + pause % 3, patience=patience)
        for pause in range(6)
    ]

    served, again = (simulate_clients(a_policy(), "v", clients, TRUTH) for _ in range(2))

    assert served == again
    assert all(each.sent_ns <= each.launched_ns < each.answered_ns for each in served)
    for place in range(6):
        own = [each for each in served if each.client == place]
        assert own
        assert all(one.answered_ns <= other.sent_ns for one, other in pairwise(own))


def test_a_client_sends_something_and_never_in_the_past() -> None:
    """A client without rows, or with a negative pause, is refused."""
    with pytest.raises(ValueError, match="at least one row"):
        Client(from_ns=0, until_ns=1, pause_ns=0, rows=0)
    with pytest.raises(ValueError, match="pauses for no less"):
        Client(from_ns=0, until_ns=1, pause_ns=-1)
