"""What a batch will take: learned from what batches took, never negative, unknown until something is known."""

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.serve.batching.cost import BEYOND, ENOUGH, HANDOVER_S, LEAST_Q, AdaptiveCap, CostModel, Rates
from greenserve.serve.batching.regression import Regression, RollingQuantile

BUCKETS = (16, 64, 256)
TRUTH = (1.4e-3, 4e-5, 4.5e-5, 1.1e-7)
JOULES = (3.8e-3, 2e-4, 1.2e-4, 3.7e-7)

a_coefficient = st.just(0.0) | st.floats(1e-8, 1e-2)
a_prior = st.tuples(a_coefficient, a_coefficient, a_coefficient, a_coefficient).filter(any)
a_shape = st.tuples(st.integers(1, 64), st.integers(1, 256))
spans = st.lists(st.tuples(a_shape, st.floats(1e-6, 10.0)), max_size=40)


def a_model(*, joules: tuple[float, ...] | None = JOULES, q: float | None = 1.2) -> CostModel:
    """A model whose prior is the truth and that has seen batches up to (16, 64)."""
    return CostModel(seconds=TRUTH, joules=joules, q=q, buckets=BUCKETS, explored=[(16, 64)])


def some_rates(*, length: int = 16, joules: tuple[float, ...] | None = JOULES) -> Rates:
    """The costs of one length."""
    rates = a_model(joules=joules).at(length)
    assert rates is not None
    return rates


@given(a_prior, spans)
def test_more_work_never_costs_less_whatever_was_seen(
    prior: tuple[float, ...], seen: list[tuple[tuple[int, int], float]]
) -> None:
    """No coefficient turns negative, and a prediction stays above nothing."""
    line = Regression(prior)

    for (batch, length), seconds in seen:
        line.observe(batch, length, seconds)

    assert min(line.coefficients) >= 0.0
    assert 0.0 < line(1, 1) <= line(2, 1) <= line(2, 9) <= line(64, 256) < float("inf")


def test_it_finds_the_truth_from_a_wrong_prior() -> None:
    """Three times too slow at first; after 400 noisy batches of many shapes every prediction is within 10 %."""
    random, truth, line = Random(1), Regression(TRUTH), Regression(tuple(3.0 * value for value in TRUTH))

    for _ in range(400):
        batch, length = random.randint(1, 32), random.choice((16, 32, 64, 128))
        line.observe(batch, length, truth(batch, length) * random.gauss(1.0, 0.05))

    worst = max(abs(line(b, n) / truth(b, n) - 1.0) for b in (1, 8, 32) for n in (16, 64, 128))
    assert worst < 0.10


def test_it_follows_a_machine_that_became_slower() -> None:
    """Old batches fade: after a thousand that took three times as long, predictions have followed."""
    random, truth, line = Random(2), Regression(TRUTH), Regression(TRUTH)

    for number in range(1_600):
        batch, length = random.randint(1, 32), random.choice((16, 32, 64))
        line.observe(batch, length, truth(batch, length) * (1.0 if number < 600 else 3.0))

    assert 3.0 == pytest.approx(line(8, 32) / truth(8, 32), rel=0.1)


def test_batches_of_one_shape_teach_nothing_about_others() -> None:
    """Thousands of single rows leave what is known of large batches in place."""
    random, truth, line = Random(3), Regression(TRUTH), Regression(TRUTH)

    for _ in range(5_000):
        line.observe(1, 16, truth(1, 16) * random.gauss(1.0, 0.05))

    assert 1.0 == pytest.approx(line(1, 16) / truth(1, 16), rel=0.05)
    assert 1.0 == pytest.approx(line(32, 128) / truth(32, 128), rel=0.35)


@pytest.mark.parametrize("seed", range(4))
def test_a_lone_client_between_two_crowds_undoes_nothing(seed: int) -> None:
    """Batches of a crowd, then thousands of single rows of one length whose times come and go by a third.

    The single rows are predicted well all along, and what a large batch saves is still known: or none would ever be
    formed again, and nothing else be learned.
    """
    random, truth = Random(seed), Regression(TRUTH)
    model = a_model()

    def run(batch: int, share: float) -> None:
        noise = random.lognormvariate(0.0, share)
        seconds, joules = (line(batch, 12) * noise for line in (truth, Regression(JOULES)))
        model.observe(batch=batch, length=12, seconds=seconds, joules=joules)

    for _ in range(400):
        run(random.randint(8, 32), 0.2)
    worth, off = [], []
    for number in range(6_000):
        run(1, 0.35)
        rates, single_s = model.at(16), model.seconds(1, 12)
        assert rates is not None
        assert rates.worth is not None
        assert single_s is not None
        worth.append(rates.worth)
        if number > 400:
            off.append(abs(single_s / truth(1, 12) - 1.0))

    assert 8 <= min(worth)
    assert max(off) < 0.25
    assert 1.0 == pytest.approx((model.seconds(32, 16) or 0.0) / truth(32, 16), rel=0.35)


def test_a_paused_machine_is_not_believed() -> None:
    """One batch that took a thousand times as long moves predictions by a little."""
    line = Regression(TRUTH)
    before_s = line(1, 16)

    ratio = line.observe(1, 16, 1_000 * before_s)

    assert 1_000 == pytest.approx(ratio)
    assert line(1, 16) < 3.0 * before_s


@pytest.mark.parametrize("prior", [(0.0, 0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (1.0, -1.0, 0.0, 0.0)])
def test_a_prior_is_four_coefficients(prior: tuple[float, ...]) -> None:
    """All of them zero would be no knowledge, which has its own form."""
    with pytest.raises(ValueError, match="four coefficients >= 0"):
        Regression(prior)


@given(st.lists(st.floats(0.1, 10.0), min_size=1, max_size=60), st.integers(1, 20))
def test_the_rolling_quantile_is_that_of_the_last_values(values: list[float], window: int) -> None:
    """By brute force: sort the window, take the place."""
    rolling = RollingQuantile(share=0.9, window=window)

    for value in values:
        rolling.add(value)

    last = sorted(values[-window:])
    assert last[min(len(last) - 1, int(0.9 * len(last)))] == rolling.value
    assert len(last) == len(rolling)


def test_nothing_is_predicted_before_anything_is_known() -> None:
    """Unknown is not zero; the first span gives a scale."""
    model = CostModel(seconds=None, joules=None, q=None, buckets=BUCKETS)
    before = (model.known, model.at(16), model.seconds(1, 16), model.joules(1, 16))

    first = model.observe(batch=2, length=16, seconds=0.004, joules=None)

    assert (False, None, None, None) == before
    assert (True, None, None) == (model.known, first, model.joules(1, 16))
    assert 0.004 == pytest.approx(model.seconds(2, 16))


def test_without_energy_nothing_is_said_about_energy() -> None:
    """Then no launch can be weighed against waiting, and no size is too large to be worth it."""
    rates = some_rates(joules=None)

    assert (None, None, None, None) == (rates.launch_j, rates.row_j, rates.worth, rates.joules(3))


def test_the_largest_worthwhile_batch_saves_five_percent() -> None:
    """b* is the least size at which a launch's fixed joules are at most 5 % of the rows' own."""
    rates = some_rates()
    assert rates.launch_j is not None
    assert rates.row_j is not None
    assert rates.worth is not None

    assert rates.launch_j / rates.worth <= 0.05 * rates.row_j < rates.launch_j / (rates.worth - 1)


@given(st.floats(0.0, 0.5), st.integers(1, 64), st.sampled_from(BUCKETS))
def test_the_largest_batch_within_a_time_is_exact(budget_s: float, most: int, length: int) -> None:
    """By brute force over t+, also where it steps at the edge of what was explored."""
    rates = some_rates(length=length)

    fitting = [batch for batch in range(1, most + 1) if rates.high_s(batch) <= budget_s]
    assert max(fitting, default=0) == rates.largest(budget_s, most)


def test_what_was_never_tried_gets_more_room() -> None:
    """t+ is a quarter longer beyond the explored (rows, length), until a span has been there."""
    model = a_model()
    inside, beyond = model.at(64), model.at(256)
    assert inside is not None
    assert beyond is not None
    q = model.q(64)

    model.observe(batch=16, length=256, seconds=float(Regression(TRUTH)(16, 256)), joules=None)

    after = model.at(256)
    assert after is not None
    assert (16, 0, 16) == (inside.explored, beyond.explored, after.explored)
    assert inside.high_s(16) == pytest.approx(q * inside.seconds(16) + HANDOVER_S)
    assert inside.high_s(17) == pytest.approx(BEYOND * q * inside.seconds(17) + HANDOVER_S)
    assert beyond.one_high_s == pytest.approx(beyond.high_s(1)) == pytest.approx(BEYOND * q * beyond.seconds(1) + 2e-4)


def test_the_upper_bound_comes_from_what_was_seen() -> None:
    """The profile's factor at first; after a hundred batches of a length the 0.99 quantile of what they took."""
    random, model, truth = Random(4), a_model(q=2.5), Regression(TRUTH)
    before = model.q(16)

    for _ in range(4 * ENOUGH):
        length = random.choice((16, 64))
        spread = 0.3 if length == 64 else 0.0
        seconds = truth(4, length) * (1.0 + spread * random.random())
        model.observe(batch=4, length=length, seconds=seconds, joules=None)

    assert 2.5 == before
    assert LEAST_Q <= model.q(16) < model.q(64) < 1.35


def test_the_cap_falls_fast_and_rises_slowly() -> None:
    """A miss takes a tenth, 64 requests in time give one row back, and it stays between 1 and the most."""
    cap = AdaptiveCap(most=40)
    limits = [cap.limit]
    cap.missed()
    limits.append(cap.limit)
    cap.kept(63)
    limits.append(cap.limit)
    cap.kept(65)
    limits.append(cap.limit)
    for _ in range(60):
        cap.missed()
    limits.append(cap.limit)
    cap.kept(64 * 100)

    assert [32, 28, 28, 30, 1, 40] == [*limits, cap.limit]


@given(st.lists(a_shape, min_size=1, max_size=10))
def test_explored_is_what_some_batch_reached(shapes: list[tuple[int, int]]) -> None:
    """At a length: the largest batch of rows at least that long."""
    model = CostModel(seconds=TRUTH, joules=None, q=1.1, buckets=BUCKETS, explored=shapes)

    for length in BUCKETS:
        rates = model.at(length)
        assert rates is not None
        assert max((batch for batch, longest in shapes if longest >= length), default=0) == rates.explored
    assert all(left >= right for left, right in pairwise([model.at(n).explored for n in BUCKETS]))  # type: ignore[union-attr]
