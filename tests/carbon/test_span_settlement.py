"""Settlement by spans: every microjoule has one place, whatever the meter, the spans and their arrival do."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenserve.carbon.attribution import Sensor, WorkSpan
from greenserve.carbon.closed import Closed, DeviceClosed, Settled
from greenserve.carbon.members import Member
from greenserve.carbon.span_settlement import DeviceSpan, SpanSettler
from greenserve.carbon.theta import ClassPower, Learner
from greenserve.records import Interval

MS, SECOND = 1_000_000, 1_000_000_000
PRIOR = ClassPower(busy_mw=1_000, work_mw=0)


def a_settler(
    *, priors: dict[str, ClassPower] | None = None, sensor: Sensor | None = None, late_ns: int = 100
) -> SpanSettler:
    learner = Learner("gpu0", priors=priors or {}, default=PRIOR)
    return SpanSettler("gpu0", learner=learner, sensor=sensor, late_ns=late_ns)


def an_interval(start_ns: int, end_ns: int, *, energy_uj: int = 1_000, static_uj: int = 400) -> Interval:
    return Interval(
        device="gpu0",
        start_ns=start_ns,
        end_ns=end_ns,
        energy_uj=energy_uj,
        static_uj=static_uj,
        tier="measured",
        source="test",
    )


def a_span(
    span_id: str = "b",
    *,
    start_ns: int = 0,
    end_ns: int = 100,
    work_class: str = "x",
    share_milli: int = 1_000,
    members: Sequence[Member] | None = None,
) -> DeviceSpan:
    work = WorkSpan(
        span_id=span_id, work_class=work_class, start_ns=start_ns, end_ns=end_ns, work=1, share_milli=share_milli
    )
    return DeviceSpan(work=work, members=tuple(members or (Member(request_id=f"r-{span_id}", weight=1),)))


@st.composite
def meters(draw: st.DrawFn) -> list[tuple[Interval, bool, bool]]:
    """Up to eight intervals in order, some after a hole, some estimated, some beside foreign work."""
    at_ns, drawn = 0, []
    for _ in range(draw(st.integers(1, 8))):
        at_ns += draw(st.sampled_from([0, 0, 0, 7]))
        end_ns = at_ns + draw(st.integers(1, 60))
        energy_uj = draw(st.integers(0, 9) | st.integers(0, 10**9))
        interval = an_interval(at_ns, end_ns, energy_uj=energy_uj, static_uj=draw(st.integers(0, energy_uj)))
        kind = draw(st.sampled_from(["plain", "plain", "gap", "foreign"]))
        drawn.append((interval, kind == "gap", kind == "foreign"))
        at_ns = end_ns
    return drawn


members = st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=3)
spans = st.lists(
    st.tuples(
        st.tuples(st.integers(0, 300), st.integers(1, 150)),
        st.sampled_from("xy"),
        st.sampled_from([0, 300, 1_000]),
        members | st.none(),
    ),
    max_size=10,
).map(
    lambda drawn: [
        DeviceSpan(
            work=WorkSpan(
                span_id=f"b{number:02}",
                work_class=work_class,
                start_ns=start_ns,
                end_ns=start_ns + length_ns,
                work=length_ns,
                share_milli=share_milli,
            ),
            members=tuple(
                Member(request_id=f"b{number:02}r{place}", weight=weight, charged=charged)
                for place, (weight, charged) in enumerate(rows or ())
            ),
            pool=None if rows else "load",
        )
        for number, ((start_ns, length_ns), work_class, share_milli, rows) in enumerate(drawn)
    ]
)
# From "every span is late" to "none is".
graces_ns = st.sampled_from([0, 20, 500])
sensors = st.sampled_from([Sensor(), Sensor(lag_ns=13), Sensor(observed_milli=250)])


def all_closes(
    meter: list[tuple[Interval, bool, bool]], coming: Sequence[DeviceSpan], *, grace_ns: int, sensor: Sensor
) -> list[Closed]:
    """Everything that closes when spans come as they end and intervals close `grace_ns` after their end."""
    settler, closes, coming = a_settler(sensor=sensor, late_ns=30), [], list(coming)
    for interval, gap, foreign in meter:
        settler.add_interval(interval, gap=gap, foreign=foreign)
        for span in coming:
            if span.work.end_ns <= interval.end_ns:
                settler.add_span(span)
        coming = [span for span in coming if span.work.end_ns > interval.end_ns]
        closes.append(settler.close(interval.end_ns - grace_ns))
    for span in coming:
        settler.add_span(span)
    closes.append(settler.finish())
    assert settler.finish() is None
    return [closed for closed in closes if closed]


def parts_of(device: DeviceClosed) -> list[int]:
    names = ("active", "held", "host", "idle", "load", "waste", "background", "foreign", "gap")
    return [getattr(device, f"{name}_uj") for name in names]


@settings(max_examples=150)
@given(meters(), spans, graces_ns, sensors)
def test_every_microjoule_of_the_meter_has_one_place(
    meter: list[tuple[Interval, bool, bool]], coming: list[DeviceSpan], grace_ns: int, sensor: Sensor
) -> None:
    """Over all closes the parts sum to the metered energy, none is negative, and nothing stays pending."""
    closes = all_closes(meter, coming, grace_ns=grace_ns, sensor=sensor)

    parts = [part for closed in closes for part in parts_of(closed.device)]
    assert sum(interval.energy_uj for interval, _, _ in meter) == sum(parts)
    assert min(parts) >= 0
    assert 0 == closes[-1].device.pending_after_uj
    assert min(closed.device.pending_after_uj for closed in closes) >= 0
    for before, after in pairwise(closes):
        assert before.device.pending_after_uj == after.device.pending_before_uj


@given(meters(), spans, graces_ns, sensors)
def test_every_member_of_every_span_is_answered_once(
    meter: list[tuple[Interval, bool, bool]], coming: list[DeviceSpan], grace_ns: int, sensor: Sensor
) -> None:
    """Settled or unmetered, never both, never twice, never lost; slots sum to the parts."""
    closes = all_closes(meter, coming, grace_ns=grace_ns, sensor=sensor)

    settled = [one for closed in closes for one in closed.settled]
    answered = [(one.request_id, one.span_id) for one in settled]
    answered += [part for closed in closes for part in closed.unmetered_parts]
    given_ = [(member.request_id, span.work.span_id) for span in coming for member in span.members]
    assert sorted(given_) == sorted(answered)
    for one in settled:
        assert (one.active_uj, one.held_uj) == tuple(
            sum(column) for column in zip((0, 0), *((slot[1], slot[2]) for slot in one.slots), strict=True)
        )


@given(meters(), spans, graces_ns, st.randoms(use_true_random=False))
def test_the_order_of_arrival_within_an_interval_changes_nothing(
    meter: list[tuple[Interval, bool, bool]], coming: list[DeviceSpan], grace_ns: int, random: Random
) -> None:
    """Two nodes that hear of the same spans in another order agree to the microjoule; late ones by who came first."""
    grace_ns = max(grace_ns, 500)
    shuffled = random.sample(coming, k=len(coming))

    assert all_closes(meter, coming, grace_ns=grace_ns, sensor=Sensor()) == all_closes(
        meter, shuffled, grace_ns=grace_ns, sensor=Sensor()
    )


@given(st.lists(st.integers(1, 99), unique=True, max_size=6), spans, graces_ns)
def test_cutting_an_interval_anywhere_keeps_the_sums(cuts: list[int], coming: list[DeviceSpan], grace_ns: int) -> None:
    """The same energy in one piece or in many: metered and static stay, and the parts still sum to them."""
    edges_ns = [0, *sorted(cuts), 100]
    pieces = [
        (an_interval(start, end, energy_uj=100 * (end - start), static_uj=40 * (end - start)), False, False)
        for start, end in pairwise(edges_ns)
    ]

    closes = all_closes(pieces, coming, grace_ns=grace_ns, sensor=Sensor())

    assert 10_000 == sum(closed.device.metered_uj for closed in closes)
    assert 4_000 == sum(closed.device.static_uj for closed in closes)
    assert 10_000 == sum(part for closed in closes for part in parts_of(closed.device))


@given(st.lists(st.integers(1, 99), unique=True, max_size=6), st.integers(0, 10**6))
def test_a_solo_span_gets_all_dynamic_energy(cuts: list[int], energy_uj: int) -> None:
    """Where nothing else ran, nothing is left for background, however the meter cuts time and whatever was expected."""
    edges_ns = [0, *sorted(cuts), 100]
    meter = [
        (an_interval(start, end, energy_uj=energy_uj, static_uj=0), False, False) for start, end in pairwise(edges_ns)
    ]

    closes = all_closes(meter, [a_span()], grace_ns=500, sensor=Sensor())

    assert [energy_uj * len(meter)] == [one.active_uj for closed in closes for one in closed.settled]


def only(closed: Closed | None) -> Settled:
    """The one settled part of a close."""
    assert closed is not None
    (settled,) = closed.settled
    return settled


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
    settler.close(100 * MS)

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
