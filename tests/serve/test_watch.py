"""What the batcher knows of its own health."""

from dataclasses import dataclass, field
from random import Random

import pytest

from greenserve.serve.batching.dispatch import Launch
from greenserve.serve.batching.policy import WaitUntil
from greenserve.serve.batching.queue import Patience
from greenserve.serve.batching.watch import Watch
from greenserve.units import NS_PER_S
from tests.serve.batching import NOW, a_lane, a_policy, a_ticket, arrived, finish
from tests.serve.building import FAR_NS


def test_a_variant_that_fails_half_of_its_rows_is_in_doubt() -> None:
    """Over the last rows, once there are enough of them; a trial that fails makes it sick, loading it again heals."""
    watch = Watch()
    doubts = [watch.ran("v", rows=5, failed=3) for _ in range(5)]
    before = dict(watch.sick)

    watch.tried("v", well=False)

    assert [False, False, False, True, False] == doubts
    said = "12 of the last 20 rows failed, and so did a trial with an item that ran when it was loaded"
    assert ({}, {"v": said}) == (before, watch.sick)
    watch.healed("v")
    assert [] == watch.findings(0)


@pytest.mark.parametrize(("well", "batches"), [(True, 3), (None, 1)])
def test_a_trial_that_goes_well_clears_a_variant(well: bool | None, batches: int) -> None:
    """It takes as much again to doubt it once more; where nobody could try it, one more batch is enough."""
    watch = Watch()
    doubts = [watch.ran("v", rows=1, failed=1) for _ in range(3)]

    watch.tried("v", well=well)

    assert [False, False, True] == doubts
    assert {} == watch.sick
    assert [False] * (batches - 1) + [True] == [watch.ran("v", rows=1, failed=1) for _ in range(batches)]


def test_a_trial_of_what_was_loaded_again_says_nothing() -> None:
    """Its record is gone."""
    watch = Watch()
    assert [False, False, True] == [watch.ran("v", rows=1, failed=1) for _ in range(3)]
    watch.healed("v")

    watch.tried("v", well=False)

    assert {} == watch.sick


def test_work_that_nobody_starts_is_found() -> None:
    """A second after it should have been, not while it waits for company on purpose or a batch runs."""
    watch = Watch()
    watch.waits(0, until_s=0.5)

    findings = [watch.findings(seconds * NS_PER_S // 10) for seconds in (14, 16)]
    watch.launched(1, "v", 2 * NS_PER_S, 0.1)
    running = watch.findings(4 * NS_PER_S)
    watch.returned(1)

    assert [[], ["rows have waited for 1.1 s while the engine was free"]] == findings
    assert [] == running == watch.findings(9 * NS_PER_S)


@pytest.mark.parametrize(("slo_s", "patience"), [(10.0, "balanced"), (10.0, "green"), (3.0, "green")])
def test_waiting_for_company_on_purpose_is_no_stall(slo_s: float, patience: Patience) -> None:
    """Each arrival decides anew and may shorten what is left: only the latest time to start counts."""
    seen = watched(random=Random(1), rate_per_s=5.0, slo_s=slo_s, patience=patience, checks=900)

    assert seen.longest_s > 1.5
    assert [] == seen.findings


@dataclass
class Seen:
    """What a watch found, and how long a head waited beside a free engine [s]."""

    findings: list[str] = field(default_factory=list)
    longest_s: float = 0.0


def watched(*, random: Random, rate_per_s: float, slo_s: float, patience: Patience, checks: int) -> Seen:
    """Poisson arrivals on the policy that serves, the watch told as the batcher tells it and asked every second."""
    policy, watch, seen = a_policy(a_lane(slo_s=slo_s, patience=patience)), Watch(), Seen()
    arrival_ns, timer_ns, done_ns, check_ns, number = NOW, FAR_NS, FAR_NS, NOW, 0
    running: Launch | None = None
    while checks:
        now_ns = min(arrival_ns, timer_ns, done_ns, check_ns)
        if now_ns == check_ns:
            checks, check_ns = checks - 1, check_ns + NS_PER_S
            seen.findings += watch.findings(now_ns)
        elif now_ns == done_ns and running is not None:
            watch.returned(number)
            finish(policy, running, now_ns)
            running, done_ns = None, FAR_NS
        elif now_ns == arrival_ns:
            arrived(policy, a_ticket(at_ns=now_ns, deadline_s=60.0, patience=patience), now_ns=now_ns)
            arrival_ns = now_ns + int(random.expovariate(rate_per_s) * NS_PER_S)
        timer_ns = FAR_NS
        if running is not None:
            continue
        cut = policy.cut(now_ns)
        if isinstance(cut, Launch):
            number, running, done_ns = number + 1, cut, max(cut.ends_ns, now_ns + 1)
            watch.launched(number, "v", now_ns, cut.high_s)
            seen.longest_s = max(seen.longest_s, (now_ns - min(each.arrival_ns for each in cut.tickets)) / NS_PER_S)
        elif isinstance(cut, WaitUntil):
            watch.waits(now_ns, until_s=max(0.0, (cut.at_ns - now_ns) / NS_PER_S))
            timer_ns = max(cut.at_ns, now_ns + 1)
        else:
            watch.idles()
    return seen


def test_decisions_that_fail_again_and_again_are_a_stall() -> None:
    """The time runs from the first of them, however many arrivals come meanwhile; a launch ends it."""
    watch = Watch()
    watch.waits(0, until_s=5.0)

    for tenth in range(10, 23):
        watch.waits(tenth * NS_PER_S // 10, until_s=0.0)
    stalled = watch.findings(22 * NS_PER_S // 10)
    watch.launched(1, "v", 3 * NS_PER_S, 0.1)
    watch.returned(1)

    assert ["rows have waited for 1.2 s while the engine was free"] == stalled
    assert [] == watch.findings(60 * NS_PER_S)
