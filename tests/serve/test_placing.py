"""Batchers follow the replicas that there are, and the tenants' shares."""

import pytest

from greenserve.carbon.meters.cpu_time import host_power
from greenserve.carbon.tenancy import Tenancy
from greenserve.clock import SystemClock
from greenserve.records import Tenant
from greenserve.sections import TenantDefaults
from greenserve.serve.admission import Admission
from greenserve.serve.batching.room import AT_ONCE
from greenserve.serve.models import Models
from greenserve.serve.placing import Batchers
from greenserve.units import NS_PER_S
from tests.serve.batching import NOW, a_lane, a_policy, a_ticket, arrived, finish, launched


class Nobody:
    """Replicas that are never called."""

    async def run(self, frame: bytes) -> bytes:
        """Never called."""
        raise AssertionError(frame)

    def describe(self) -> bytes:
        """Never called."""
        raise AssertionError


@pytest.fixture
def batchers(models: Models) -> Batchers:
    """The tiny model runs elsewhere."""
    return Batchers(
        models,
        clock=SystemClock(),
        node="here",
        max_queued=64,
        share_milli=500,
        power=host_power(),
        reaches={"tiny": Nobody()},
    )


@pytest.mark.parametrize(("gateways", "replicas", "part"), [(1, 1, 1.0), (2, 3, 1.5), (2, 1, 0.5), (1, 4, 4.0)])
def test_forecasts_follow_the_replicas_of_a_remote_model(
    batchers: Batchers, gateways: int, replicas: int, part: float
) -> None:
    """Each gateway counts on its part of the engines; the one in this process stays one."""
    batchers.share(gateways=gateways, replicas={"tiny": replicas})

    assert (part, 1.0) == (batchers.remote["tiny"].policy.executors, batchers.inline.policy.executors)


def test_twice_the_engines_halve_the_forecast_wait() -> None:
    """Of what waits, and of what is out: one more batch begins when the next engine is free."""
    waits = {}
    for engines in (1.0, 2.0):
        policy = a_policy(executors=engines)
        arrived(policy, *[a_ticket() for _ in range(200)])
        first, second = launched(policy), launched(policy)
        waits[engines] = policy.residual_s(NOW)
        assert (first.expected_s or 0.0) > 0
        if engines == 1.0:
            assert (first.expected_s or 0.0) + (second.expected_s or 0.0) == pytest.approx(waits[1.0], rel=1e-6)
        finish(policy, first, NOW + NS_PER_S // 100)
        assert 1 == policy.lane("v").running

    assert waits[2.0] == pytest.approx(waits[1.0] / 2, rel=0.1)


def test_shares_of_a_crowded_queue_follow_the_tenants_rates(batchers: Batchers) -> None:
    """A tenant's own rate over the default; who has none of its own counts as 1."""
    admission = Admission(
        auth="required",
        defaults=TenantDefaults(rate="200/s"),  # type: ignore[arg-type]
        replicas=1,
        timeout_s=10.0,
        clock=SystemClock(),
    )
    tenants = {
        "large": Tenant(tenant_id="large", name="Large", rate_per_s=800.0),
        "small": Tenant(tenant_id="small", name="Small", rate_per_s=50.0),
        "usual": Tenant(tenant_id="usual", name="Usual"),
    }
    admission.refresh(Tenancy(revision=1, tenants=tenants, keys={}, budgets={}, pepper=b""), {})

    batchers.weigh(admission.weights)

    assert {"large": 4.0, "small": 0.25} == dict(batchers.inline.policy.weights)
    assert batchers.inline.policy.weights == batchers.remote["tiny"].policy.weights


def test_a_larger_share_lets_more_of_a_tenant_wait() -> None:
    """Both send as fast; the one of four times the weight gets more of the queue."""
    policy = a_policy()
    policy.weights = {"large": 4.0}
    admitted = {"large": 0, "small": 0}
    for number in range(4_000):
        tenant = ("large", "small")[number % 2]
        refusals = arrived(policy, a_ticket(tenant=tenant, at_ns=NOW), now_ns=NOW)
        admitted[tenant] += refusals[0] is None

    assert admitted["large"] > 1.3 * admitted["small"] > 0


@pytest.mark.parametrize("remote", [False, True])
def test_each_queue_says_how_much_room_there_is(batchers: Batchers, remote: bool) -> None:
    """The door lets in by the room of the asked model's queue; where it is not known by the least of all."""
    policy = (batchers.remote["tiny"] if remote else batchers.inline).policy
    policy.add(a_lane())
    empty = batchers.room(NOW, None)

    arrived(policy, *[a_ticket() for _ in range(60)])

    rooms = [batchers.room(NOW, queue) for queue in (None, "tiny", "")]
    assert (AT_ONCE, [4, 4 if remote else AT_ONCE, AT_ONCE if remote else 4]) == (empty, rooms)


def test_a_model_that_is_not_served_has_no_queue(batchers: Batchers) -> None:
    """The door makes no part for it."""
    assert ("tiny", None) == (batchers.queue_of("tiny"), batchers.queue_of("invented"))
