"""Settlement by spans: every microjoule has one place, whatever the meter, the spans and their arrival do."""

from collections.abc import Sequence
from itertools import pairwise
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from greenserve.carbon.attribution import Sensor, WorkSpan
from greenserve.carbon.closed import Closed
from greenserve.carbon.members import Member
from greenserve.carbon.span_settlement import DeviceSpan
from greenserve.records import Interval
from tests.carbon.span_builders import a_settler, a_span, an_interval, parts_of


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
