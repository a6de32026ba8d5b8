"""Three times as much as can be run: large batches, a pressure that others can read, and fair shares."""

import pytest

from greenserve.serve.batching.dispatch import Launch
from greenserve.serve.batching.policy import Policy
from greenserve.serve.batching.room import AT_ONCE, FULL, SHARED
from greenserve.units import NS_PER_S
from tests.serve.batching import NOW, a_lane, a_policy, a_ticket, arrived, finish


def overload(
    policy: Policy, *, rows: int = 6_000, tenants: str = "a", brownouts: list[bool] | None = None
) -> tuple[int, dict[str, int], set[str]]:
    """Rows arrive three times as fast as they can be run: (time, admitted by tenant, codes of refusals).

    `brownouts` receives what the policy says of brownout at each arrival.
    """
    now_ns = NOW
    running: Launch | None = None
    admitted, codes = dict.fromkeys(tenants, 0), set[str]()
    for number in range(rows):
        now_ns += 280_000
        while running is not None and running.ends_ns <= now_ns:
            finish(policy, running, running.ends_ns)
            cut = policy.cut(running.ends_ns)
            running = cut if isinstance(cut, Launch) else None
        if brownouts is not None:
            brownouts.append(policy.brownout(now_ns))
        tenant = tenants[number % len(tenants)]
        refusal = policy.arrive("v", (a_ticket(16, at_ns=now_ns, tenant=tenant),), now_ns)
        if refusal is None:
            admitted[tenant] += 1
        else:
            codes.add(refusal.code)
        if running is None:
            cut = policy.cut(now_ns)
            running = cut if isinstance(cut, Launch) else None
    return now_ns, admitted, codes


def test_pressure_rises_to_one_and_sustained_pressure_asks_for_cheaper_variants() -> None:
    """0 while idle; half a second after the queue is full brownout is on, and off once it is empty."""
    policy, brownouts = a_policy(), list[bool]()
    before = policy.pressure(NOW)

    now_ns, _, codes = overload(policy, rows=4_000, brownouts=brownouts)
    full = policy.pressure(now_ns)
    for ticket in list(policy.lane("v").queue):
        policy.discard("v", ticket)

    assert (0.0, {"overloaded"}) == (before, codes)
    assert 1.0 == pytest.approx(full, abs=0.1)
    assert 0.5 < brownouts.index(True) * 280e-6 < 0.9
    assert all(brownouts[brownouts.index(True) :])
    assert (0.0, False) == (policy.pressure(now_ns + NS_PER_S), policy.brownout(now_ns + NS_PER_S))


def test_under_overload_batches_stay_large() -> None:
    """Heads that would force small batches give way, and newcomers must leave room for large ones."""
    policy = a_policy()
    now_ns, admitted, _ = overload(policy)

    sizes = []
    while isinstance(cut := policy.cut(now_ns), Launch):
        now_ns = cut.ends_ns
        sizes.append(len(cut.tickets))
        finish(policy, cut, now_ns)

    assert admitted["a"] > 0.9 * 6_000 / 3
    assert max(sizes) >= 24


def test_a_tenant_over_its_share_gives_way_to_the_others() -> None:
    """One sends eleven times as much as the other, three times too much in all: the small one loses next to nothing."""
    policy = a_policy()

    _, admitted, codes = overload(policy, tenants=11 * "a" + "b", rows=6_000)

    assert {"overloaded", "over-share"} >= codes
    assert "over-share" in codes
    assert admitted["b"] >= 0.95 * 500


def test_there_is_room_until_heads_would_force_small_batches() -> None:
    """A portion while nothing waits; none at six tenths of what can be done in time, which is before refusals."""
    policy = a_policy()
    empty = policy.room(NOW)

    rows = 0
    while (room := policy.room(NOW)) >= 1.0:
        arrived(policy, *[a_ticket(16, at_ns=NOW) for _ in range(int(room))])
        rows += int(room)
    at_pressure = policy.pressure(NOW)
    more = arrived(policy, *[a_ticket(16, at_ns=NOW) for _ in range(8)])

    assert AT_ONCE == empty
    assert 0.9 * FULL < at_pressure <= FULL
    assert rows > 64
    assert [None] * 8 == more
    assert policy.room(NOW) < 0.0


def test_there_is_no_more_room_than_places() -> None:
    """Also while nobody knows how long a row takes: the queue's bound refuses too."""
    policy = a_policy(a_lane(seconds=None, joules=None), max_queued=10)
    rooms = []
    for _ in range(3):
        rooms.append(policy.room(NOW))
        arrived(policy, *[a_ticket(16) for _ in range(5)])

    assert [8.0, 5.0, 0.0] == rooms


def test_there_is_less_room_where_tenants_share() -> None:
    """Over half of what can be done in time a tenant's share binds: admission would refuse who was let in."""
    policy = a_policy()
    arrived(policy, *[a_ticket(16, at_ns=NOW, tenant="ab"[place % 2]) for place in range(8)])

    while (room := policy.room(NOW)) >= 1.0:
        assert [None] * int(room) == arrived(policy, *[a_ticket(16, at_ns=NOW, tenant="a") for _ in range(int(room))])

    assert 0.4 < policy.pressure(NOW) <= SHARED


def test_a_shut_door_asks_for_cheaper_variants_too() -> None:
    """The queue behind it stays under the mark; that nobody finds room for half a second counts as full."""
    policy = a_policy()
    while (room := policy.room(NOW)) >= 1.0:
        arrived(policy, *[a_ticket(16, at_ns=NOW) for _ in range(int(room))])

    seen = []
    for step in range(60):
        now_ns = NOW + step * NS_PER_S // 100
        assert policy.room(now_ns) < 1.0
        seen.append(policy.brownout(now_ns))
    later_ns = NOW + NS_PER_S
    for ticket in list(policy.lane("v").queue):
        policy.discard("v", ticket)

    assert [False] * 50 == seen[:50]
    assert [True] * 9 == seen[51:]
    assert AT_ONCE == policy.room(later_ns)
    assert not policy.brownout(later_ns)
