"""E3 and E6: what a class of work draws, learned from a counter."""

from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.carbon.nonnegative import solve_nonnegative
from greenserve.carbon.separable import inseparable
from greenserve.carbon.theta import ClassPower, Learner, Part, Theta

MS, SECOND = 1_000_000, 1_000_000_000
FLAT = ClassPower(busy_mw=100_000, work_mw=100_000)


def a_learner(*, priors: dict[str, ClassPower] | None = None, default: ClassPower = FLAT) -> Learner:
    return Learner("gpu0", priors=priors or {}, default=default)


def taught(
    learner: Learner, true_w: dict[str, tuple[float, float]], proportion: Callable[[Random], float], *, intervals: int
) -> Theta:
    """Show it intervals of 100 ms in which two classes run for a part of the time each; the last version."""
    random = Random(3)
    for name in true_w:
        for _ in range(64):
            learner.saw(name, 10 * MS, 100)
    for number in range(intervals):
        first_ns = round(proportion(random) * 60 * MS)
        parts, dynamic_uj = [], 0.0
        for name, busy_ns in zip(true_w, (first_ns, 60 * MS - first_ns), strict=True):
            work = random.randint(50, 150) * busy_ns // (10 * MS)
            parts.append(Part(name, busy_ns, work, busy_ns))
            busy_w, work_w = true_w[name]
            dynamic_uj += (busy_w * busy_ns + work_w * work * 10 * MS / 100) / 1_000
        learner.observe(round(dynamic_uj), 100 * MS, parts)
        learner.step((number + 1) * 100 * MS)
    return learner.published


def test_powers_of_two_classes_are_found() -> None:
    """Mixed in changing proportions, the counter alone tells 50 + 150 W from 200 + 0 W."""
    true_w = {"a": (50.0, 150.0), "b": (200.0, 0.0)}

    theta = taught(a_learner(), true_w, lambda random: random.uniform(0.1, 0.9), intervals=600)

    assert {"a": (), "b": ()} == {name: power.flags for name, power in theta.classes.items()}
    for name, (busy_w, work_w) in true_w.items():
        assert busy_w + work_w == pytest.approx(theta.of(name).expected_uj(SECOND, 10_000) / 1e6, rel=0.01)


def test_classes_in_constant_proportion_keep_the_ratio_of_their_priors() -> None:
    """They cannot be told apart: flagged, their sum follows the counter, 3 to 1 stays 3 to 1."""
    priors = {"a": ClassPower(busy_mw=150_000, work_mw=0), "b": ClassPower(busy_mw=50_000, work_mw=0)}
    true_w = {"a": (200.0, 0.0), "b": (200.0, 0.0)}

    theta = taught(a_learner(priors=priors), true_w, lambda random: 0.75, intervals=600)

    a, b = theta.of("a"), theta.of("b")
    assert "not_separable" in a.flags
    assert "not_separable" in b.flags
    assert 3.0 == pytest.approx(a.busy_mw / b.busy_mw, rel=0.02)
    assert 200_000 == pytest.approx(0.75 * a.busy_mw + 0.25 * b.busy_mw, rel=0.02)


def test_a_rare_class_is_not_taken_for_an_inseparable_one() -> None:
    """Scale says nothing about separation; a copy of another class does, a class never seen is left out."""
    assert frozenset() == inseparable([[1_000.0, 0.0, 0.0], [0.0, 1e-4, 0.0], [0.0, 0.0, 0.0]])
    assert frozenset({0, 2}) == inseparable([[4.0, 0.5, 2.0], [0.5, 1.0, 0.25], [2.0, 0.25, 1.0]])
    assert frozenset() == inseparable([[1.0]])


@given(st.lists(st.lists(st.integers(-9, 9), min_size=3, max_size=3), min_size=1, max_size=6))
def test_a_repeated_column_is_always_found(rows: list[list[int]]) -> None:
    """Of the sums of products of any columns and a copy of the first, the first and its copy cannot be told apart."""
    columns = [list(column) for column in zip(*rows, strict=True)]
    columns.append([2 * value for value in columns[0]])
    gram = [[float(sum(x * y for x, y in zip(one, other, strict=True))) for other in columns] for one in columns]

    found = inseparable(gram)

    assert (any(columns[0])) == ({0, 3} <= found)


numbers = st.integers(-9, 9).map(float)


@given(
    st.integers(1, 4).flatmap(
        lambda size: st.tuples(
            st.lists(st.lists(numbers, min_size=size, max_size=size), min_size=1, max_size=6),
            st.lists(numbers, min_size=size, max_size=size),
            st.lists(st.floats(0.0, 9.0), min_size=size, max_size=size),
        )
    )
)
def test_no_small_step_improves_the_nonnegative_solution(
    drawn: tuple[list[list[float]], list[float], list[float]],
) -> None:
    """The conditions of the optimum: no slope where a coefficient is positive, none downhill where it is 0."""
    rows, target, anchor = drawn
    size = len(target)
    matrix = [[sum(row[one] * row[other] for row in rows) for other in range(size)] for one in range(size)]
    vector = [sum(row[one] * value for row, value in zip(rows, target * 6, strict=False)) for one in range(size)]

    found = solve_nonnegative(matrix, vector, [1.0] * size, anchor)

    for one in range(size):
        slope = sum(matrix[one][other] * found[other] for other in range(size)) - vector[one] + found[one] - anchor[one]
        scale = 1e-6 * (1.0 + matrix[one][one] + abs(vector[one]))
        assert found[one] >= 0.0
        if len([value for value in found if value == 0.0]) == 0:
            assert abs(slope) <= scale
        elif found[one] == 0.0:
            assert slope >= -1e-3 * (1.0 + abs(vector[one]))


def test_powers_never_fall_below_zero() -> None:
    """A counter that moves against the work gives 0, not energy back."""
    learner = a_learner()
    for _ in range(64):
        learner.saw("a", 10 * MS, 100)
    for number in range(50):
        busy_ns = (10 + number) * MS
        learner.observe(
            2_000_000 - 40_000 * number, 100 * MS, [Part("a", busy_ns, busy_ns * 100 // (10 * MS), busy_ns)]
        )
    theta = learner.step(SECOND)

    assert theta is not None
    assert min(theta.of("a").busy_mw, theta.of("a").work_mw) >= 0


def test_nothing_is_learned_before_the_mean_rate_is_fixed() -> None:
    """64 spans fix it; until then, and without an interval, the prior stands and says so."""
    learner = a_learner()
    for _ in range(63):
        learner.saw("a", 10 * MS, 100)
    learner.observe(99_000_000, 100 * MS, [Part("a", 50 * MS, 500, 50 * MS)])

    theta = learner.step(SECOND)

    assert theta is not None
    assert ClassPower(busy_mw=100_000, work_mw=100_000, flags=("prior",)) == theta.of("a")
    assert learner.spread_bp() is None
    assert "<Learner of gpu0: 1 classes, version 2>" == repr(learner)


def test_a_version_stands_for_ten_seconds_at_least_and_until_something_moved() -> None:
    """Each version is an entry in the ledger: they must be few."""
    learner = a_learner()
    taught(learner, {"a": (100.0, 100.0), "b": (10.0, 10.0)}, lambda random: random.random(), intervals=100)

    assert 2 == learner.published.version
    assert SECOND // 10 == learner.published.at_ns
    early = [learner.step(SECOND // 10 + 9_999 * MS)]
    due = [learner.step(second * SECOND) for second in range(11, 60)]

    assert [None] == early
    assert [True, *[False] * 48] == [theta is not None for theta in due]


def test_the_digest_names_the_version_whatever_the_order() -> None:
    """Equal content, equal digest; one milliwatt more, another."""
    powers = {"a": FLAT, "b": ClassPower(busy_mw=1, work_mw=2, flags=())}
    one = Theta(device="gpu0", version=2, at_ns=5, classes=powers, default=FLAT)
    turned = Theta(device="gpu0", version=2, at_ns=5, classes=dict(reversed(powers.items())), default=FLAT)
    other = Theta(device="gpu0", version=2, at_ns=5, classes={"a": powers["b"], "b": powers["b"]}, default=FLAT)

    assert one.digest() == turned.digest()
    assert one.digest() != other.digest()
    assert FLAT == one.of("never seen")


def test_expected_energy_is_exact_integer_arithmetic() -> None:
    """100 W x 20 ms + 50 W x 30 batch-means of 1 ms = 3.5 J; without a rate the work counts as average."""
    power = ClassPower(busy_mw=100_000, work_mw=50_000, rate_work=10, rate_busy_ns=10 * MS)

    assert 3_500_000 == power.expected_uj(20 * MS, 30)
    assert 3_000_000 == ClassPower(busy_mw=100_000, work_mw=50_000).expected_uj(20 * MS, 30)
    assert 1 == ClassPower(busy_mw=0, work_mw=0).expected_uj(20 * MS, 30)


def test_the_spread_of_spans_is_found_in_the_residuals() -> None:
    """One span per interval, off by 10 % up or down: 90 % half width 16.45 %."""
    learner = a_learner(priors={"a": ClassPower(busy_mw=100_000, work_mw=0, rate_work=100, rate_busy_ns=10 * MS)})
    for number in range(400):
        sign = 1 if number % 2 else -1
        learner.observe(5_000_000 + sign * 500_000, 100 * MS, [Part("a", 50 * MS, 500, 50 * MS)])

    assert 1_645 == learner.spread_bp()


def test_a_small_class_is_heard_beside_a_large_one() -> None:
    """A quarter of the intervals hold it alone and tell its 100 W almost exactly: they outweigh those in which batches
    of 400 W, each off by up to 7 %, hide it. (Counted alike, all of them would miss it by ten times as much.)"""
    misses = []
    for seed in range(8):
        random, learner = Random(seed), a_learner()
        for name in ("large", "small"):
            for _ in range(64):
                learner.saw(name, 10 * MS, 100)
        for number in range(600):
            small_ns, large_ns = random.randint(5, 25) * MS, 0 if number % 4 == 0 else random.randint(50, 70) * MS
            large_uj = 400 * large_ns / 1_000 * random.uniform(0.93, 1.07)
            parts = [
                Part(name, busy_ns, busy_ns // (10 * MS) * 100, busy_ns)
                for name, busy_ns in (("small", small_ns), ("large", large_ns))
                if busy_ns
            ]
            learner.observe(round(100 * small_ns / 1_000 + large_uj), 100 * MS, parts)
            learner.step((number + 1) * 100 * MS)
        found_uj = learner.published.of("small").expected_uj(10 * MS, 100)
        misses.append(abs(found_uj / 1_000_000 - 1.0))

    assert sum(misses) / len(misses) < 0.005


def test_long_forgetting_keeps_the_numbers_in_range() -> None:
    """The growing weight is divided out before it overflows."""
    learner = Learner(
        "gpu0",
        priors={"a": ClassPower(busy_mw=1, work_mw=1, rate_work=1, rate_busy_ns=1)},
        default=FLAT,
        forgetting=0.9,
    )
    for _ in range(10_000):
        learner.observe(5_000_000, 100 * MS, [Part("a", 50 * MS, 50 * MS, 50 * MS)])
    theta = learner.step(SECOND)

    assert theta is not None
    assert 5_000_000 == pytest.approx(theta.of("a").expected_uj(50 * MS, 50 * MS), rel=0.001)


def test_impossible_settings_are_refused() -> None:
    """Forgetting everything, negative powers."""
    with pytest.raises(ValueError, match=r"forgetting lies in"):
        Learner("gpu0", priors={}, default=FLAT, forgetting=1.0)
    with pytest.raises(ValueError, match=">= 0"):
        ClassPower(busy_mw=-1, work_mw=0)
