"""When an idle engine waits for company: by class, grid, configuration, and never at the cost of an answer."""

from greenserve.serve.batching.dispatch import Launch
from greenserve.serve.batching.policy import Idle, Policy, WaitUntil
from greenserve.serve.batching.queue import Patience
from tests.serve.batching import JOULES, MS, NOW, a_lane, a_policy, a_ticket, arrived, finish, launched

PATIENCE: tuple[Patience, ...] = ("latency", "balanced", "green")


def steady(policy: Policy, patience: Patience, *, gap_ns: int = 5 * MS, rows: int = 400) -> int:
    """Rows arrive at a steady rate and are launched when the policy says; then one more waits. The time [ns] now."""
    now_ns = NOW
    for _ in range(rows):
        now_ns += gap_ns
        arrived(policy, a_ticket(at_ns=now_ns, patience=patience), now_ns=now_ns)
        cut = policy.cut(now_ns)
        if isinstance(cut, Launch):
            finish(policy, cut, now_ns)
    while isinstance(cut := policy.cut(now_ns), WaitUntil):
        now_ns = cut.at_ns
    if isinstance(cut, Launch):
        finish(policy, cut, now_ns)
    now_ns += gap_ns
    arrived(policy, a_ticket(at_ns=now_ns, patience=patience), now_ns=now_ns)
    return now_ns


def waited_ms(policy: Policy, now_ns: int) -> float:
    """How long the one row that waits is kept, if nobody else arrives [ms]."""
    since_ns = now_ns
    while isinstance(cut := policy.cut(now_ns), WaitUntil):
        now_ns = cut.at_ns
    assert isinstance(cut, Launch)
    return (now_ns - since_ns) / MS


def test_green_rows_wait_longest_and_latency_rows_not_at_all() -> None:
    """The price of waiting: infinite, controlled, none; never over its share of the time to the objective."""
    waits = {}
    for patience in PATIENCE:
        policy = a_policy()
        waits[patience] = waited_ms(policy, steady(policy, patience))

    assert 0.0 == waits["latency"] < waits["balanced"] <= waits["green"] <= 0.8 * 200
    assert waits["balanced"] <= 0.5 * 200


def test_a_client_that_waits_for_its_answer_is_never_kept_waiting() -> None:
    """It sends its next request 1 ms after the last answer: company never comes, however often it asks."""
    policy, now_ns, waits = a_policy(), NOW, 0
    for _ in range(300):
        now_ns += MS
        arrived(policy, a_ticket(at_ns=now_ns), now_ns=now_ns)
        cut = policy.cut(now_ns)
        waits += isinstance(cut, WaitUntil)
        while isinstance(cut, WaitUntil):
            now_ns = cut.at_ns
            cut = policy.cut(now_ns)
        assert isinstance(cut, Launch)
        now_ns = cut.ends_ns
        finish(policy, cut, now_ns)
        assert isinstance(policy.cut(now_ns), Idle)

    assert 0 == waits


def test_a_busy_engine_is_not_left_idle_for_company() -> None:
    """Over 80 % of its time is needed: batches fill by themselves, and waiting would cost answers."""
    policy = a_policy()

    now_ns = steady(policy, "green", gap_ns=900_000, rows=3_000)

    assert 1 == len(launched(policy, now_ns).tickets)


def test_a_dirty_grid_makes_balanced_rows_wait_longer() -> None:
    """Joules saved weigh more in hours above the day's mean; without a reading the grid has no say."""
    waits = []
    for now_mg, mean_mg in ((50_000, 200_000), (None, 200_000), (200_000, 200_000), (800_000, 200_000)):
        lane = a_lane(joules=(0.2e-3, *JOULES[1:]))
        lane.patience.grid(now_mg, mean_mg)
        waits.append(lane.patience.price("balanced", 1.0))

    assert waits[1] == waits[2]
    assert waits[0] == 4.0 * waits[1] == 16.0 * waits[3]


def test_a_configured_wait_is_a_bound() -> None:
    """`max_wait` of 3 ms: no row is kept longer; 0: none at all."""
    for max_wait_s, least_ms, most_ms in ((0.003, 0.1, 3.0), (0.0, 0.0, 0.0)):
        policy = a_policy(a_lane(max_wait_s=max_wait_s))

        assert least_ms <= waited_ms(policy, steady(policy, "green")) <= most_ms


def test_nobody_waits_while_the_replica_drains() -> None:
    """Company will not come any more."""
    policy = a_policy()
    now_ns = steady(policy, "green")
    waiting = policy.cut(now_ns)

    policy.hurry = True

    assert isinstance(waiting, WaitUntil)
    assert 1 == len(launched(policy, now_ns).tickets)


def test_waiting_for_company_leaves_time_for_everybody_else() -> None:
    """Rows of another length that can't join are answered in time after the head has waited."""
    policy = a_policy()
    now_ns = steady(policy, "green")
    others = [a_ticket(100, at_ns=now_ns, patience="green") for _ in range(10)]
    assert [None] * 10 == arrived(policy, *others, now_ns=now_ns)

    late = 0
    while not isinstance(cut := policy.cut(now_ns), Idle):
        if isinstance(cut, Launch):
            now_ns = cut.ends_ns
            late += sum(ticket.objective_ns < now_ns for ticket in cut.tickets)
            finish(policy, cut, now_ns)
        else:
            now_ns = cut.at_ns

    assert 0 == late
