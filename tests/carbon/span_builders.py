"""Builders of spans, intervals and settlers, shared by the tests of settlement by spans."""

from collections.abc import Sequence

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


def parts_of(device: DeviceClosed) -> list[int]:
    names = ("active", "held", "host", "idle", "load", "waste", "background", "foreign", "gap")
    return [getattr(device, f"{name}_uj") for name in names]


def only(closed: Closed | None) -> Settled:
    """The one settled part of a close."""
    assert closed is not None
    (settled,) = closed.settled
    return settled
