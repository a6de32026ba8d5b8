"""Settlement: exact conservation whatever the meter and the requests do."""

from dataclasses import replace
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.carbon.settlement import Closed, DeviceClosed, Pending, Settled, Settler
from greenserve.records import Interval


def an_interval(
    start_ns: int, end_ns: int, *, energy_uj: int = 1_000, static_uj: int = 400, busy_ns: int | None = 100
) -> Interval:
    return Interval(
        device="cpu",
        start_ns=start_ns,
        end_ns=end_ns,
        energy_uj=energy_uj,
        static_uj=static_uj,
        tier="modelled",
        source="test",
        busy_ns=busy_ns,
    )


def a_request(
    request_id: str = "a", *, start_ns: int = 0, end_ns: int = 100, cpu_ns: int = 60, host_cpu_ns: int = 20
) -> Pending:
    return Pending(
        request_id=request_id, start_ns=start_ns, end_ns=end_ns, cpu_ns=cpu_ns, host_cpu_ns=host_cpu_ns, held_ns=50
    )


@st.composite
def meters(draw: st.DrawFn) -> list[tuple[Interval, int]]:
    """Up to eight intervals in order, some with a hole before them, each with our own CPU time."""
    at_ns, drawn = 0, []
    for _ in range(draw(st.integers(1, 8))):
        at_ns += draw(st.sampled_from([0, 0, 0, 7]))
        end_ns = at_ns + draw(st.integers(1, 60))
        energy_uj = draw(st.integers(0, 9) | st.integers(0, 10**9))
        static_uj = draw(st.integers(0, energy_uj))
        busy_ns = draw(st.none() | st.integers(0, 200))
        interval = an_interval(at_ns, end_ns, energy_uj=energy_uj, static_uj=static_uj, busy_ns=busy_ns)
        drawn.append((interval, draw(st.integers(0, 200))))
        at_ns = end_ns
    return drawn


weights_ns = st.integers(0, 2) | st.integers(0, 150)
windows = st.tuples(st.integers(0, 300), st.integers(1, 150))
requests = st.lists(st.tuples(windows, weights_ns, weights_ns, weights_ns, st.booleans()), max_size=12).map(
    lambda drawn: [
        Pending(
            request_id=f"r{number:02}",
            start_ns=start_ns,
            end_ns=start_ns + length_ns,
            cpu_ns=cpu_ns,
            host_cpu_ns=host_cpu_ns,
            held_ns=held_ns,
            charged=charged,
        )
        for number, ((start_ns, length_ns), cpu_ns, host_cpu_ns, held_ns, charged) in enumerate(drawn)
    ]
)


# From "every request is late" to "none is".
graces_ns = st.sampled_from([0, 20, 500])


def all_closes(meter: list[tuple[Interval, int]], pendings: list[Pending], *, grace_ns: int) -> list[Closed]:
    """Everything that closes when requests come as they end and intervals close `grace_ns` after their end."""
    settler, closes, coming = Settler("cpu"), [], pendings
    for interval, own_busy_ns in meter:
        settler.add_interval(interval, own_busy_ns)
        for pending in coming:
            if pending.end_ns <= interval.end_ns:
                settler.add_request(pending)
        coming = [pending for pending in coming if pending.end_ns > interval.end_ns]
        closes.append(settler.close(interval.end_ns - grace_ns))
    for pending in coming:
        settler.add_request(pending)
    closes.append(settler.finish())
    assert settler.finish() is None
    return [closed for closed in closes if closed]


def parts_of(device: DeviceClosed) -> list[int]:
    names = ("active", "held", "host", "idle", "waste", "background", "foreign", "gap")
    return [getattr(device, f"{name}_uj") for name in names]


@given(meters(), requests, graces_ns)
def test_every_microjoule_of_the_meter_has_one_place(
    meter: list[tuple[Interval, int]], pendings: list[Pending], grace_ns: int
) -> None:
    """Over all closes the parts sum to the metered energy, none is negative, and nothing stays pending."""
    closes = all_closes(meter, pendings, grace_ns=grace_ns)

    parts = [part for closed in closes for part in parts_of(closed.device)]
    assert sum(interval.energy_uj for interval, _ in meter) == sum(parts)
    assert min(parts) >= 0
    assert closes[-1].device.pending_after_uj == 0
    for before, after in pairwise(closes):
        assert before.device.pending_after_uj == after.device.pending_before_uj


@given(meters(), requests, graces_ns)
def test_every_request_is_answered_once(
    meter: list[tuple[Interval, int]], pendings: list[Pending], grace_ns: int
) -> None:
    """Settled or unmetered, never both, never twice, never lost; the charged ones are the device's sums."""
    closes = all_closes(meter, pendings, grace_ns=grace_ns)

    settled = [one for closed in closes for one in closed.settled]
    answered = [one.request_id for one in settled] + [name for closed in closes for name in closed.unmetered]
    assert sorted(pending.request_id for pending in pendings) == sorted(answered)
    assert sum(closed.device.active_uj for closed in closes) == sum(one.active_uj for one in settled if one.charged)
    assert sum(closed.device.held_uj for closed in closes) == sum(one.held_uj for one in settled if one.charged)
    assert all(min(one.active_uj, one.held_uj, one.host_uj) >= 0 for one in settled)


@given(meters(), requests, graces_ns, st.randoms(use_true_random=False))
def test_the_order_of_arrival_within_an_interval_changes_nothing(
    meter: list[tuple[Interval, int]], pendings: list[Pending], grace_ns: int, random: Random
) -> None:
    """Two nodes that hear of the same requests in another order agree to the microjoule."""
    shuffled = random.sample(pendings, k=len(pendings))

    assert all_closes(meter, pendings, grace_ns=grace_ns) == all_closes(meter, shuffled, grace_ns=grace_ns)


@given(st.lists(st.integers(1, 99), unique=True, max_size=6), requests, graces_ns)
def test_cutting_an_interval_anywhere_keeps_the_sums(cuts: list[int], pendings: list[Pending], grace_ns: int) -> None:
    """The same energy in one piece or in many: metered and static stay, and the parts still sum to them."""
    edges_ns = [0, *sorted(cuts), 100]
    pieces = [
        (an_interval(start, end, energy_uj=100 * (end - start), static_uj=40 * (end - start), busy_ns=end - start), 0)
        for start, end in pairwise(edges_ns)
    ]

    closes = all_closes(pieces, pendings, grace_ns=grace_ns)

    assert 10_000 == sum(closed.device.metered_uj for closed in closes)
    assert 4_000 == sum(closed.device.static_uj for closed in closes)
    assert 10_000 == sum(part for closed in closes for part in parts_of(closed.device))


@given(st.lists(st.integers(1, 99), unique=True, max_size=6), st.integers(0, 10**6), st.integers(0, 3))
def test_a_solo_request_gets_all_dynamic_energy(cuts: list[int], cpu_ns: int, host_cpu_ns: int) -> None:
    """Where nothing else ran, nothing is left for background or foreign, however the meter cuts time."""
    edges_ns = [0, *sorted(cuts), 100]
    request = a_request(cpu_ns=cpu_ns + 100, host_cpu_ns=host_cpu_ns)
    meter = [(an_interval(start, end, busy_ns=0), 0) for start, end in pairwise(edges_ns)]

    closes = all_closes(meter, [request], grace_ns=100)

    (settled,) = [one for closed in closes for one in closed.settled]
    assert 600 * len(meter) == settled.active_uj + settled.host_uj


def test_dynamic_energy_goes_by_cpu_time() -> None:
    """Of 600 uJ: 60 ns engine and 20 ns host of request a, 20 ns other work of ours, 100 ns of other processes."""
    settler = Settler("cpu")
    settler.add_request(a_request())
    settler.add_interval(an_interval(0, 100, busy_ns=200), 100)

    closed = settler.close(100)

    assert closed is not None
    assert (
        Settled(request_id="a", active_uj=180, held_uj=200, host_uj=60, charged=True, tier="modelled", flags=()),
    ) == closed.settled
    assert [180, 200, 60, 200, 0, 60, 300, 0] == parts_of(closed.device)


def test_static_energy_is_held_at_most_whole() -> None:
    """Three requests that hold 50 of 100 ns each share all 400 uJ; nothing is left idle."""
    settler = Settler("cpu")
    for name in "abc":
        settler.add_request(a_request(name))
    settler.add_interval(an_interval(0, 100), 0)

    closed = settler.close(100)

    assert closed is not None
    assert [134, 133, 133] == [one.held_uj for one in closed.settled]
    assert 0 == closed.device.idle_uj


def test_a_request_over_two_intervals_waits_for_the_second() -> None:
    """Half of its weights falls into each; until then its energy is pending, not lost."""
    settler = Settler("cpu")
    settler.add_request(a_request(start_ns=50, end_ns=150))
    settler.add_interval(an_interval(0, 100), 0)
    settler.add_interval(an_interval(100, 200), 0)

    first, second = settler.close(100), settler.close(200)

    assert first is not None
    assert second is not None
    assert () == first.settled
    # Of 140 ns weight in the interval 30 are engine, 10 host, 100 foreign; 25 of 100 ns are held.
    assert 129 + 43 + 100 == first.device.pending_after_uj
    assert [("a", 200)] == [(one.request_id, one.held_uj) for one in second.settled]
    assert 0 == second.device.pending_after_uj


def test_nothing_closes_before_its_time() -> None:
    """The caller's grace decides: an interval that ends later stays queued, and late news still reach it."""
    settler = Settler("cpu")
    settler.add_interval(an_interval(0, 100), 0)

    assert settler.close(99) is None

    settler.add_request(a_request())
    closed = settler.close(100)
    assert closed is not None
    assert [()] == [one.flags for one in closed.settled]


def test_a_late_request_pays_in_the_next_interval_and_says_so() -> None:
    """Its window is closed for good; its whole weight moves on, flagged."""
    settler = Settler("cpu")
    settler.add_interval(an_interval(0, 100), 0)
    settler.close(100)
    settler.add_request(a_request(start_ns=99, end_ns=120))
    settler.add_interval(an_interval(100, 110, busy_ns=80), 80)

    closed = settler.close(110)

    assert closed is not None
    assert [("a", 450, 150, ("late",))] == [
        (one.request_id, one.active_uj, one.host_uj, one.flags) for one in closed.settled
    ]


@pytest.mark.parametrize("arrival", ["ab", "ba"])
def test_equal_claims_on_the_last_microjoule_are_settled_by_id(arrival: str) -> None:
    """Two late requests with equal weights, 601 uJ: the smaller id gets the odd one, whoever came first."""
    settler = Settler("cpu")
    settler.add_interval(an_interval(0, 100), 0)
    settler.close(100)
    for name in arrival:
        settler.add_request(a_request(name, host_cpu_ns=0))
    settler.add_interval(an_interval(100, 200, energy_uj=1_001, busy_ns=0), 0)

    closed = settler.close(200)

    assert closed is not None
    assert [("a", 301), ("b", 300)] == [(one.request_id, one.active_uj) for one in closed.settled]


def test_the_least_weight_is_spent_at_once_and_only_once() -> None:
    """1 ns of CPU time over three intervals counts in the first; what later ones measure is not its work."""
    settler = Settler("cpu")
    settler.add_request(a_request(end_ns=300, cpu_ns=1, host_cpu_ns=0))
    for start_ns, energy_uj in ((0, 1_000), (100, 10_000), (200, 100_000)):
        settler.add_interval(an_interval(start_ns, start_ns + 100, energy_uj=energy_uj, busy_ns=0), 0)

    closed = settler.close(300)

    assert closed is not None
    assert [600] == [one.active_uj for one in closed.settled]
    assert 9_600 + 99_600 == closed.device.background_uj


def test_what_is_not_charged_becomes_waste() -> None:
    """A lost copy's joules are real, but no tenant's."""
    settler = Settler("cpu")
    settler.add_request(replace(a_request(), charged=False))
    settler.add_interval(an_interval(0, 100, busy_ns=80), 80)

    closed = settler.close(100)

    assert closed is not None
    assert [0, 0, 0, 200, 800, 0, 0, 0] == parts_of(closed.device)
    assert [(False, 450)] == [(one.charged, one.active_uj) for one in closed.settled]


def test_energy_without_any_cpu_time_is_background() -> None:
    """Nobody caused it that we know of: it stays with the device."""
    settler = Settler("cpu")
    settler.add_interval(an_interval(0, 100, busy_ns=0), 0)

    closed = settler.close(100)

    assert closed is not None
    assert [0, 0, 0, 400, 0, 600, 0, 0] == parts_of(closed.device)


def test_a_meter_without_cpu_time_is_flagged() -> None:
    """Foreign work cannot be told apart then: unknown, said on each request, not zero in silence."""
    settler = Settler("cpu")
    settler.add_request(a_request())
    settler.add_interval(an_interval(0, 100, busy_ns=None), 80)

    closed = settler.close(100)

    assert closed is not None
    assert [("foreign_unknown",)] == [one.flags for one in closed.settled]


def test_a_hole_in_the_meter_is_flagged_and_its_time_counted() -> None:
    """Energy between two intervals is not known: requests in it are a lower bound or stay estimates."""
    settler = Settler("cpu")
    settler.add_request(a_request("partly", start_ns=50, end_ns=130))
    settler.add_request(a_request("wholly", start_ns=101, end_ns=140))
    settler.add_interval(an_interval(0, 100), 0)
    settler.add_interval(an_interval(150, 200), 0)

    closed = settler.close(200)

    assert closed is not None
    assert [("partly", ("gap",))] == [(one.request_id, one.flags) for one in closed.settled]
    assert ("wholly",) == closed.unmetered
    assert 50 == closed.device.unmetered_ns


def test_finishing_settles_a_request_that_outlives_the_meter() -> None:
    """At a stop nothing stays open: the covered part is settled as a lower bound."""
    settler = Settler("cpu")
    settler.add_request(a_request("a", start_ns=50, end_ns=150))
    settler.add_request(a_request("b", start_ns=120, end_ns=150))
    settler.add_interval(an_interval(0, 100), 0)

    closed = settler.finish()

    assert closed is not None
    assert [("a", ("gap",))] == [(one.request_id, one.flags) for one in closed.settled]
    assert ("b",) == closed.unmetered
    assert "<Settler of cpu: 0 requests, 0 intervals open>" == repr(settler)


def test_finishing_without_any_interval_settles_nothing() -> None:
    """No meter ever spoke, so there is no energy to share out."""
    settler = Settler("cpu")
    settler.add_request(a_request())

    assert settler.finish() is None


def test_the_weakest_tier_stands_on_the_close() -> None:
    """A sum is as good as its worst part."""
    settler = Settler("cpu")
    settler.add_request(a_request(end_ns=200))
    settler.add_interval(an_interval(0, 100), 0)
    settler.add_interval(replace(an_interval(100, 200), tier="class_average"), 0)

    closed = settler.close(200)

    assert closed is not None
    assert "class_average" == closed.device.tier
    assert ["class_average"] == [one.tier for one in closed.settled]


def test_a_request_is_given_once() -> None:
    """Two parts under one id would be two claims."""
    settler = Settler("cpu")
    settler.add_request(a_request())

    with pytest.raises(ValueError, match="already waiting"):
        settler.add_request(a_request())


@pytest.mark.parametrize(
    ("interval", "own_busy_ns"),
    [(an_interval(99, 150), 0), (replace(an_interval(100, 150), device="gpu"), 0), (an_interval(100, 150), -1)],
)
def test_intervals_must_join_on_the_same_device(interval: Interval, own_busy_ns: int) -> None:
    """An overlap would count joules twice."""
    settler = Settler("cpu")
    settler.add_interval(an_interval(0, 100), 0)

    with pytest.raises(ValueError, match="needs intervals of cpu"):
        settler.add_interval(interval, own_busy_ns)


def test_a_close_that_does_not_add_up_cannot_be_made() -> None:
    """The identity is checked where the record is made."""
    settler = Settler("cpu")
    settler.add_interval(an_interval(0, 100), 0)
    closed = settler.close(100)
    assert closed is not None

    with pytest.raises(ValueError, match="is not"):
        replace(closed.device, idle_uj=closed.device.idle_uj + 1)


@pytest.mark.parametrize(("end_ns", "cpu_ns", "host_cpu_ns"), [(0, 1, 1), (1, -1, 1), (1, 1, -1)])
def test_a_request_has_a_positive_window_and_weights(end_ns: int, cpu_ns: int, host_cpu_ns: int) -> None:
    """Nothing takes no time, and no time is taken back."""
    with pytest.raises(ValueError, match="ends after it starts"):
        a_request(end_ns=end_ns, cpu_ns=cpu_ns, host_cpu_ns=host_cpu_ns)
