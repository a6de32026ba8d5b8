"""A request is settled when each device that worked for it has spoken."""

from dataclasses import replace

import pytest

from greenserve.carbon.attribution import WorkSpan
from greenserve.carbon.closed import Closed
from greenserve.carbon.gathering import Gatherer, PartName
from greenserve.carbon.members import Member
from greenserve.carbon.settlement import Pending, Settler
from greenserve.carbon.span_settlement import DeviceSpan, SpanSettler
from greenserve.carbon.theta import ClassPower, Learner
from greenserve.records import Interval

POWER = ClassPower(busy_mw=1_000, work_mw=0)
GPU0, GPU1, CPU = (PartName(device="gpu0", span_id="b"), PartName(device="gpu1", span_id="b"), PartName(device="cpu"))


def gpu_closed(device: str = "gpu0", *, energy_uj: int = 1_000, charged: bool = True, apart: bool = False) -> Closed:
    """A device on which batch b of request r ran; `apart`: where the meter did not look."""
    settler = SpanSettler(device, learner=Learner(device, priors={}, default=POWER))
    interval = Interval(
        device=device,
        start_ns=0,
        end_ns=100,
        energy_uj=energy_uj,
        static_uj=400,
        tier="measured",
        source="test",
    )
    settler.add_interval(interval)
    start_ns = 200 if apart else 0
    work = WorkSpan(span_id="b", work_class="x", start_ns=start_ns, end_ns=start_ns + 100, work=1)
    settler.add_span(DeviceSpan(work=work, members=(Member(request_id="r", weight=1, charged=charged),)))
    closed = settler.finish()
    assert closed is not None
    return closed


def cpu_closed() -> Closed:
    """The node's CPU, which decoded request r."""
    settler = Settler("cpu")
    settler.add_request(Pending(request_id="r", start_ns=0, end_ns=100, cpu_ns=0, host_cpu_ns=20, held_ns=0))
    interval = Interval(
        device="cpu", start_ns=0, end_ns=100, energy_uj=60, static_uj=0, tier="modelled", source="test", busy_ns=20
    )
    settler.add_interval(interval, 20)
    closed = settler.finish()
    assert closed is not None
    return closed


def test_a_tensor_parallel_request_is_the_sum_of_its_devices() -> None:
    """Two boards and the host; the weakest tier stands on it."""
    gatherer = Gatherer()

    assert gatherer.expect("r", [GPU0, GPU1, CPU]) is None
    assert [] == gatherer.take(gpu_closed())
    assert [] == gatherer.take(cpu_closed())
    assert "<Gatherer: 1 requests wait for parts>" == repr(gatherer)
    (whole,) = gatherer.take(gpu_closed("gpu1", energy_uj=900))

    assert (600 + 500, 400 + 400, 60, "modelled") == (whole.active_uj, whole.held_uj, whole.host_uj, whole.tier)
    assert [CPU, GPU0, GPU1] == [name for name, _ in whole.parts]


def test_parts_may_come_before_the_request_is_known() -> None:
    """Spans are faster than the line of the request."""
    gatherer = Gatherer()
    gatherer.take(gpu_closed())

    whole = gatherer.expect("r", [GPU0])

    assert whole is not None
    assert 600 == whole.active_uj


def test_a_part_without_a_meter_makes_a_lower_bound() -> None:
    """Known parts are summed and flagged; without any the energy is unknown, never 0."""
    gatherer = Gatherer()
    gatherer.expect("r", [GPU0, CPU])
    gatherer.take(cpu_closed())
    (partly,) = gatherer.take(gpu_closed(apart=True))
    gatherer.expect("r", [GPU0])
    (wholly,) = gatherer.take(gpu_closed(apart=True))

    assert (60, ("gap",), (GPU0,)) == (partly.host_uj, partly.flags, partly.unmetered)
    assert (None, None, None, None) == (wholly.active_uj, wholly.held_uj, wholly.host_uj, wholly.tier)


def test_a_lost_copy_is_not_in_the_sums() -> None:
    """Its device shows it as waste; the request pays for the other copy."""
    gatherer = Gatherer()
    gatherer.expect("r", [GPU0, GPU1])
    gatherer.take(gpu_closed(charged=False))
    (whole,) = gatherer.take(gpu_closed("gpu1"))

    assert (600, 400) == (whole.active_uj, whole.held_uj)


def test_the_unmetered_of_a_cpu_device_count_too() -> None:
    """They have no span."""
    closed = replace(cpu_closed(), settled=(), unmetered=("r",))
    gatherer = Gatherer()
    gatherer.expect("r", [CPU])

    (whole,) = gatherer.take(closed)

    assert (CPU,) == whole.unmetered


def test_parts_are_named_once() -> None:
    """A second list would be a second request."""
    gatherer = Gatherer()
    gatherer.expect("r", [GPU0])

    with pytest.raises(ValueError, match="waits already"):
        gatherer.expect("r", [CPU])
    with pytest.raises(ValueError, match="has no part"):
        gatherer.expect("s", [])
