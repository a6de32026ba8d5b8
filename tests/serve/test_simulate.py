"""The simulator: nothing is lost in it, the same arguments give the same outcome, and it shows what each rule costs."""

from collections.abc import Callable
from random import Random

import pytest

from greenserve.serve.batching.policy import Run
from greenserve.serve.batching.queue import Patience
from greenserve.serve.batching.regression import Regression
from greenserve.serve.batching.rivals import Cork, Greedy, Rival, ServeBatch, Step, Timer
from greenserve.serve.batching.simulate import Arrival, Outcome, Truth, simulate_policy, simulate_rival
from greenserve.units import NS_PER_S
from tests.serve.batching import JOULES, MS, NOW, SECONDS, a_policy, a_ticket

TRUTH = Truth(seconds=Regression(SECONDS), joules=Regression(JOULES), noise=(1.0, 1.1, 0.9, 1.05, 0.95))
RIVALS: dict[str, Callable[[], Rival]] = {
    "serve_batch": lambda: ServeBatch(size=8, timeout_s=0.005, max_queued=512),
    "greedy": lambda: Greedy(size=32, max_queued=512),
    "timer": lambda: Timer(size=8, timeout_s=0.005, max_queued=512),
    "cork": lambda: Cork(size=32, limit_s=0.2, max_queued=512),
}


def arrivals(*, rate: float, seconds: float, burst: float = 1.0) -> list[Arrival]:
    """A Poisson process whose rate is `burst` times as high in every tenth half second; texts of 8 to 60 tokens."""
    random, now_s, found = Random(3), 0.0, list[Arrival]()
    while now_s < seconds:
        now_s += random.expovariate(rate * (burst if int(now_s * 2) % 10 == 9 else 1.0))
        found.append(Arrival(NOW + int(now_s * NS_PER_S), random.choice((8, 12, 24, 30, 45, 60))))
    return found


def ours(coming: list[Arrival], patience: Patience = "balanced") -> Outcome:
    """The serving policy over these arrivals."""
    return simulate_policy(a_policy(), "v", coming, TRUTH, slo_s=0.2, patience=patience)


@pytest.mark.parametrize("name", RIVALS)
def test_every_row_is_answered_refused_or_dropped(name: str) -> None:
    """By each policy, under overload, and twice the same."""
    coming = arrivals(rate=1_500.0, seconds=2.0)

    first, second = (simulate_rival(RIVALS[name](), coming, TRUTH, slo_s=0.2) for _ in range(2))

    assert len(coming) == first.offered == first.answered + first.refused + first.dropped
    assert (first.answered, first.good + first.late) == (len(first.waits_s), first.answered)
    assert first == second


def test_ours_loses_nothing_either_and_keeps_what_it_admits() -> None:
    """At three times the capacity: under 1 % of what it answers is late, and its times are predicted within 10 %."""
    coming = arrivals(rate=1_500.0, seconds=6.0)

    outcome = ours(coming)

    assert len(coming) == outcome.answered + outcome.refused + outcome.dropped
    assert outcome == ours(coming)
    assert outcome.late < 0.01 * outcome.answered
    assert outcome.misfit is not None
    assert outcome.misfit < 0.10
    assert outcome.over_high is not None
    assert outcome.over_high < 0.02


def test_bursts_cost_others_their_answers_and_us_few() -> None:
    """Bursts of five times the rate: goodput at least 1.3 times that of `@serve.batch` at its best, for less energy."""
    coming = arrivals(rate=330.0, seconds=10.0, burst=5.0)
    searched = [
        simulate_rival(ServeBatch(size=size, timeout_s=wait_s, max_queued=512), coming, TRUTH, slo_s=0.2)
        for size in (8, 16, 32)
        for wait_s in (0.0, 0.005, 0.02)
    ]
    best = max(searched, key=lambda outcome: outcome.good)

    outcome = ours(coming)

    assert outcome.goodput_per_s >= 1.3 * best.goodput_per_s
    assert outcome.j_per_answer is not None
    assert best.j_per_answer is not None
    assert outcome.j_per_answer <= 0.85 * best.j_per_answer


def test_waiting_trades_time_for_joules_as_the_class_says() -> None:
    """At half the capacity: green waits longest for the least energy, latency the other way round."""
    coming = arrivals(rate=250.0, seconds=8.0)

    latency, balanced, green = (ours(coming, patience) for patience in ("latency", "balanced", "green"))

    joules = [outcome.j_per_answer for outcome in (green, balanced, latency)]
    waits = [outcome.wait_s(0.5) for outcome in (latency, balanced, green)]
    assert sorted(joules, key=lambda value: value or 0.0) == joules
    assert sorted(waits, key=lambda value: value or 0.0) == waits
    assert all(outcome.late < 0.005 * outcome.answered for outcome in (latency, balanced, green))


def test_an_outcome_without_answers_has_no_means() -> None:
    """Unknown is not zero."""
    outcome = Outcome(duration_s=1.0)

    means = (outcome.j_per_answer, outcome.j_per_good, outcome.rows_per_batch, outcome.padding, outcome.wait_s(0.5))
    assert (None, None, None, None, None) == means


def run(rival: Rival, *, rows: int, seconds: float) -> None:
    """A batch is done."""
    rival.finished(Run(rows=rows, length=12, seconds=seconds, joules=None), NOW)


def test_serve_batch_closes_batches_before_the_engine_is_free() -> None:
    """Two rows 6 ms apart run one by one, though both wait when the engine becomes free; a full batch closes."""
    rival = RIVALS["serve_batch"]()
    first, second = a_ticket(), a_ticket()
    rival.arrive(first, NOW)
    rival.arrive(second, NOW + 6 * MS)

    steps = [rival.cut(NOW + 50 * MS), rival.cut(NOW + 50 * MS), rival.cut(NOW + 50 * MS)]

    assert [Step((first,)), Step((second,)), Step()] == steps
    for _ in range(8):
        rival.arrive(a_ticket(), NOW + 60 * MS)
    assert 8 == len(rival.cut(NOW + 60 * MS).tickets)


def test_greedy_takes_what_waits_and_timer_waits_from_the_first_row_on() -> None:
    """One row: the one runs it at once, the other 5 ms after the engine became free."""
    greedy, timer = RIVALS["greedy"](), RIVALS["timer"]()
    ticket = a_ticket()
    greedy.arrive(ticket, NOW)
    timer.arrive(ticket, NOW)

    assert Step((ticket,)) == greedy.cut(NOW)
    assert [Step(at_ns=NOW + 15 * MS), Step((ticket,))] == [timer.cut(NOW + 10 * MS), timer.cut(NOW + 15 * MS)]


def test_cork_drops_what_would_come_too_late() -> None:
    """Rows older than the limit less the predicted run are dropped, the others run."""
    cork = Cork(size=8, limit_s=0.2, max_queued=512)
    for rows in (1, 4):
        run(cork, rows=rows, seconds=0.05 + 0.01 * rows)
    old, young = a_ticket(at_ns=NOW), a_ticket(at_ns=NOW + 100 * MS)
    cork.arrive(old, NOW)
    cork.arrive(young, NOW + 100 * MS)

    step = cork.cut(NOW + 150 * MS)

    assert Step((young,), dropped=(old,)) == step


@pytest.mark.parametrize("name", RIVALS)
def test_rivals_have_a_bounded_queue_too(name: str) -> None:
    """Otherwise overload would make them look worse than they are set up."""
    rival = RIVALS[name]()

    assert [True] * 512 + [False] == [rival.arrive(a_ticket(), NOW) for _ in range(513)]
