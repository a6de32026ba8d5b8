"""Settlement by spans, case by case: shares, late spans, holes, foreign work, slots, sensors that see a part."""

from dataclasses import replace

import pytest

from greenserve.carbon.attribution import Sensor
from greenserve.carbon.members import Member
from greenserve.carbon.span_settlement import DeviceSpan, SpanSettler
from greenserve.carbon.theta import ClassPower, Learner
from tests.carbon.span_builders import MS, PRIOR, a_settler, a_span, an_interval, only, parts_of


def test_two_classes_share_by_what_is_expected_of_them() -> None:
    """Both run all the time, one at 3 W, one at 1 W: 600 uJ go 450 to 150, whatever their times say."""
    settler = a_settler(priors={"x": ClassPower(busy_mw=30_000, work_mw=0), "y": ClassPower(busy_mw=10_000, work_mw=0)})
    scale = 1_000_000
    settler.add_span(a_span("a", end_ns=100 * scale))
    settler.add_span(a_span("b", end_ns=100 * scale, work_class="y"))
    settler.add_interval(an_interval(0, 100 * scale))

    closed = settler.finish()

    assert closed is not None
    assert [("r-a", 450, 200), ("r-b", 150, 200)] == [
        (one.request_id, one.active_uj, one.held_uj) for one in closed.settled
    ]
    assert [("modelled", ("prior",))] * 2 == [(one.tier, one.flags) for one in closed.settled]


def test_one_class_alone_needs_no_model() -> None:
    """Equal work of one class shares equally: the tier is the meter's own, and nothing is flagged."""
    settler = a_settler()
    settler.add_span(a_span("a"))
    settler.add_span(a_span("b"))
    settler.add_interval(an_interval(0, 100))

    closed = settler.finish()

    assert closed is not None
    assert [(300, 200, "measured", ())] * 2 == [
        (one.active_uj, one.held_uj, one.tier, one.flags) for one in closed.settled
    ]


def test_a_batch_is_shared_by_its_members_weights() -> None:
    """E8 for dynamic and static energy; what is not charged becomes waste."""
    rows = [
        Member(request_id="p", weight=2),
        Member(request_id="q", weight=1),
        Member(request_id="s", weight=1, charged=False),
    ]
    settler = a_settler()
    settler.add_span(a_span(members=rows))
    settler.add_interval(an_interval(0, 100))

    closed = settler.finish()

    assert closed is not None
    assert [300, 150, 150] == [one.active_uj for one in closed.settled]
    assert [450, 300, 0, 0, 0, 250, 0, 0, 0] == parts_of(closed.device)


def test_work_of_the_platform_is_load() -> None:
    """A warm-up has no members; its dynamic and held energy go to the pool."""
    settler = a_settler()
    settler.add_span(replace(a_span(), members=(), pool="load"))
    settler.add_interval(an_interval(0, 200))

    closed = settler.finish()

    assert closed is not None
    assert [0, 0, 0, 200, 800, 0, 0, 0, 0] == parts_of(closed.device)
    assert () == closed.settled


def test_a_late_span_takes_what_its_intervals_left_and_no_more_than_expected() -> None:
    """Its interval ran empty; 100 ns at 1,000 mW are expected as 1 uJ at least; the rest stays background."""
    settler = a_settler()
    settler.add_interval(an_interval(0, 100))
    settler.close(100)
    settler.add_span(a_span())

    closed = settler.finish()

    one = only(closed)
    assert closed is not None
    assert (1, 400, ("late",), "measured", 0) == (
        one.active_uj,
        one.held_uj,
        one.flags,
        one.tier,
        one.over_attributed_uj,
    )
    assert [1, 400, 0, 0, 0, 0, 599, 0, 0] == parts_of(closed.device)


def test_a_late_span_over_many_intervals_takes_its_due_once() -> None:
    """At least 1 uJ of each interval would be 3 uJ; 1 uJ is expected of it in all."""
    settler = a_settler(late_ns=1_000)
    for start_ns in (0, 100, 200):
        settler.add_interval(an_interval(start_ns, start_ns + 100))
    settler.close(300)
    settler.add_span(a_span(end_ns=300))

    one = only(settler.finish())

    assert (1, 1_200, 0) == (one.active_uj, one.held_uj, one.over_attributed_uj)


def test_equal_claims_on_the_last_microjoule_are_settled_by_id() -> None:
    """601 uJ over two equal spans: the smaller id gets the odd one, though it started later."""
    settler = a_settler()
    settler.add_span(a_span("b", start_ns=0, end_ns=100))
    settler.add_span(a_span("a", start_ns=50, end_ns=150))
    settler.add_interval(an_interval(50, 100, energy_uj=601, static_uj=0))

    closed = settler.finish()

    assert closed is not None
    assert [("r-a", 301), ("r-b", 300)] == [(one.request_id, one.active_uj) for one in closed.settled]


def test_what_the_meter_does_not_have_for_a_late_span_is_over_attributed() -> None:
    """Another span took the interval: 1 uJ is expected, none is left; it is modelled and outside the sums."""
    settler = a_settler()
    settler.add_span(a_span("a"))
    settler.add_interval(an_interval(0, 100))
    first = settler.close(100)
    settler.add_span(a_span("b"))

    closed = settler.finish()

    one = only(closed)
    assert first is not None
    assert closed is not None
    assert 600 == only(first).active_uj
    assert (0, 0, 1, "modelled") == (one.active_uj, one.held_uj, one.over_attributed_uj, one.tier)
    assert 1 == closed.device.over_attributed_uj
    assert 0 == sum(parts_of(closed.device))


def test_a_span_that_comes_after_all_was_given_away_says_so() -> None:
    """Background is kept for a while, then released for good."""
    settler = a_settler(late_ns=50)
    for start_ns in (0, 100, 200):
        settler.add_interval(an_interval(start_ns, start_ns + 100))
    closed = settler.close(300)
    settler.add_span(a_span())

    one = only(settler.finish())

    assert closed is not None
    assert 1_200 == closed.device.background_uj
    assert 1_000 == closed.device.pending_after_uj
    assert (0, 1, ("gap", "late")) == (one.active_uj, one.over_attributed_uj, one.flags)


def test_a_span_half_of_which_was_processed_gets_its_second_half_by_the_meter() -> None:
    """The first half is claimed, the second shared."""
    settler = a_settler()
    settler.add_interval(an_interval(0, 100))
    settler.close(100)
    settler.add_span(a_span(start_ns=50, end_ns=150))
    settler.add_interval(an_interval(100, 200))

    one = only(settler.finish())

    assert (1 + 600, 200 + 200, ("late",)) == (one.active_uj, one.held_uj, one.flags)


def test_overlapping_and_overbooked_spans_hold_the_device_once() -> None:
    """Two replicas that each claim the whole device share its static energy."""
    settler = a_settler()
    settler.add_span(a_span("a"))
    settler.add_span(a_span("b", share_milli=1_000))
    settler.add_interval(an_interval(0, 100))

    closed = settler.finish()

    assert closed is not None
    assert [200, 200] == [one.held_uj for one in closed.settled]
    assert 0 == closed.device.idle_uj


def test_an_estimate_over_a_hole_is_modelled_and_flagged() -> None:
    """Spans take what is expected of them and a quarter more; the rest is gap, the idle part too."""
    settler = a_settler()
    settler.add_span(a_span())
    settler.add_interval(an_interval(0, 200), gap=True)

    closed = settler.finish()

    one = only(closed)
    assert closed is not None
    assert (1, 200, "modelled", ("meter_gap",)) == (one.active_uj, one.held_uj, one.tier, one.flags)
    assert 599 + 200 == closed.device.gap_uj
    assert "modelled" == closed.device.tier


def test_beside_foreign_work_a_span_is_flagged_and_nothing_is_learned() -> None:
    """Their energy cannot be told apart by the counter."""
    learner = Learner("gpu0", priors={"x": replace(PRIOR, rate_work=1, rate_busy_ns=100)}, default=PRIOR)
    settler = SpanSettler("gpu0", learner=learner)
    settler.add_span(a_span())
    settler.add_interval(an_interval(0, 100), foreign=True)

    closed = settler.finish()

    one = only(closed)
    assert closed is not None
    assert (1, ("foreign",), 599) == (one.active_uj, one.flags, closed.device.foreign_uj)
    assert learner.spread_bp() is None


def test_energy_is_kept_apart_by_grid_slot() -> None:
    """Each slot's members sum to what the batch received in it; the same span stands in both."""
    rows = [Member(request_id="p", weight=1), Member(request_id="q", weight=1)]
    settler = a_settler()
    settler.add_span(a_span(start_ns=50, end_ns=150, members=rows))
    settler.add_interval(an_interval(0, 100, energy_uj=501, static_uj=0), slot_us=1)
    settler.add_interval(an_interval(100, 200, energy_uj=300, static_uj=0), slot_us=2)

    closed = settler.finish()

    assert closed is not None
    assert [((1, 251, 0), (2, 150, 0)), ((1, 250, 0), (2, 150, 0))] == [one.slots for one in closed.settled]


def test_a_sensor_that_sees_a_part_shares_blocks_of_ten_seconds() -> None:
    """A hundred intervals of 100 ms close as one; less than that waits, and the end takes what is there."""
    settler = a_settler(sensor=Sensor(observed_milli=250))
    closes = []
    for number in range(120):
        settler.add_interval(an_interval(number * 100 * MS, (number + 1) * 100 * MS))
        closes.append(settler.close((number + 1) * 100 * MS))
    last = settler.finish()

    assert [99] == [place for place, closed in enumerate(closes) if closed is not None]
    assert last is not None
    assert 20 == last.device.intervals


def test_published_versions_are_handed_out_once() -> None:
    """The writer records each before it is used."""
    learner = Learner("gpu0", priors={"x": replace(PRIOR, rate_work=1, rate_busy_ns=100)}, default=PRIOR)
    settler = SpanSettler("gpu0", learner=learner)
    settler.add_span(a_span(end_ns=100 * MS))
    settler.add_interval(an_interval(0, 100 * MS, energy_uj=1_000_000))
    first = settler.close(100 * MS)
    settler.add_interval(an_interval(100 * MS, 200 * MS))
    settler.add_span(a_span("c", start_ns=100 * MS, end_ns=200 * MS))
    second = only(settler.finish())

    assert first is not None
    assert [1, 2] == [only(first).theta, second.theta]
    assert [2] == [theta.version for theta in settler.new_thetas()]
    assert [] == settler.new_thetas()


def test_what_no_interval_touches_is_unmetered_not_zero() -> None:
    """At the end a span outside every interval has no energy: unknown."""
    settler = a_settler()
    settler.add_interval(an_interval(0, 100))
    settler.close(100)
    settler.add_span(a_span(start_ns=200, end_ns=300))

    closed = settler.finish()

    assert closed is not None
    assert (("r-b", "b"),) == closed.unmetered_parts
    assert () == closed.settled
    assert "<SpanSettler of gpu0: 0 spans, 0 intervals open>" == repr(settler)


def test_wrong_input_is_refused() -> None:
    """A span twice, an interval that overlaps, another device, a span of nobody."""
    settler = a_settler()
    settler.add_span(a_span())
    settler.add_interval(an_interval(0, 100))

    with pytest.raises(ValueError, match="already waiting"):
        settler.add_span(a_span())
    with pytest.raises(ValueError, match="begin at or after 100"):
        settler.add_interval(an_interval(99, 150))
    with pytest.raises(ValueError, match="intervals of gpu0"):
        settler.add_interval(replace(an_interval(100, 150), device="cpu"))
    with pytest.raises(ValueError, match="has members or belongs to a pool"):
        DeviceSpan(work=a_span().work)


def test_no_meter_no_settlement() -> None:
    """Nothing is made up where no interval ever came."""
    settler = a_settler()
    settler.add_span(a_span())

    assert settler.close(10**9) is None
    assert settler.finish() is None
