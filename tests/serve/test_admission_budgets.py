"""Admission under budgets: what is promised, what was used, and what is refused."""

from dataclasses import replace

import pytest

from greenserve.carbon.budgets import Budget, Raise
from greenserve.carbon.tenancy import KeyRules
from greenserve.clock import ManualClock
from greenserve.errors import BudgetClosed, BudgetExhausted
from greenserve.serve.reservations import GROUP_REQUESTS, MOST_GROUPS
from tests.serve.admitting import KEY, KEY_ID, NOW_US, a_budget, a_tenancy, admit, an_admission, finish
from tests.serve.building import TENANT, a_request


def test_without_a_budget_nothing_is_estimated() -> None:
    """The upper bound is not even asked for."""

    def upper() -> tuple[int, int]:
        raise AssertionError("nobody should ask")

    admission = an_admission(a_tenancy())
    admitted = admission.admit(admission.authenticate(KEY), a_request(), upper=upper)

    assert (None, 0, 0.0) == (
        admitted.reservation.budget_id,
        admitted.reservation.amount,
        admitted.reservation.degrade,
    )


def test_requests_in_flight_hold_their_part_of_a_budget() -> None:
    """The third of two is refused while both run, and may come when one ended without use."""
    admission = an_admission(a_tenancy(a_budget()))
    first = admit(admission)
    admit(admission)

    with pytest.raises(BudgetExhausted, match="requests in flight hold the rest") as refused:
        admit(admission)
    admission.release(first)

    assert (1, "acme.r.day") == (refused.value.retry_after_s, refused.value.details["policy"])
    assert ("acme.r.day", 1) == (admit(admission).reservation.budget_id, 1)


def test_what_was_used_counts_until_the_ledger_holds_it() -> None:
    """A recorded request stays promised until the ledger holds it or a later one; then the balance counts alone."""
    tenancy = a_tenancy(a_budget(limit=GROUP_REQUESTS + 2))
    admission = an_admission(tenancy)
    recorded = [finish(admission, admit(admission)) for _ in range(GROUP_REQUESTS + 1)]
    assert [recorded[-1], recorded[-2]] == list(admission.watched)

    admission.refresh(tenancy, {"acme.r.day": 0})
    last = admit(admission)
    with pytest.raises(BudgetExhausted):
        admit(admission)
    admission.release(last)
    admission.refresh(tenancy, {"acme.r.day": GROUP_REQUESTS}, confirmed=recorded[-2])

    assert [recorded[-1]] == list(admission.watched)
    admit(admission)
    with pytest.raises(BudgetExhausted):
        admit(admission)


def test_a_ledger_that_falls_behind_makes_no_room() -> None:
    """However long it takes, and however much is recorded meanwhile; what is looked for stays bounded."""
    count = 3 * GROUP_REQUESTS * MOST_GROUPS
    tenancy = a_tenancy(a_budget(limit=count))
    admission = an_admission(tenancy)
    recorded = [finish(admission, admit(admission)) for _ in range(count)]
    admission.refresh(tenancy, {}, confirmed="another request")

    with pytest.raises(BudgetExhausted):
        admit(admission)
    assert (recorded[-1], MOST_GROUPS) == (admission.watched[0], len(admission.watched))

    admission.refresh(tenancy, {"acme.r.day": count - 1}, confirmed=recorded[-1])
    admit(admission)
    with pytest.raises(BudgetExhausted):
        admit(admission)


def test_what_the_other_replicas_may_have_promised_hastens_but_does_not_begin_degrading() -> None:
    """Of 200 a threshold of 30 % is passed at 60 by this replica's own promises, not by twice its 50; from then on
    the others' count as much: twice 50 and 30 are half way from 60 to the limit."""
    budget = a_budget(mode="degrade", unit="J", limit=200, at_pct=30)
    admission = an_admission(a_tenancy(budget), replicas=2)

    degrees = [admit(admission, upper=(cost, 0)).reservation.degrade for cost in (40, 10, 30)]

    assert pytest.approx([0.0, 0.0, 0.5]) == degrees


def test_a_joule_budget_counts_what_was_measured_not_what_was_feared() -> None:
    """60 uJ are reserved, 10 uJ settled: of 100 uJ nine tenths are left."""
    admission = an_admission(a_tenancy(a_budget(unit="J", limit=100)))
    admitted = admit(admission)
    with pytest.raises(BudgetExhausted):
        admit(admission)

    finish(admission, admitted, energy_uj=10)

    assert 90 == admit(admission, upper=(90, 0)).reservation.amount
    with pytest.raises(BudgetExhausted):
        admit(admission, upper=(1, 0))


@pytest.mark.parametrize(("emissions_ng", "left_ng"), [(3, 97), (0, 100), (None, 93)])
def test_unknown_emissions_count_as_much_as_was_reserved(emissions_ng: int | None, left_ng: int) -> None:
    """Unknown is not zero: without a grid intensity the upper bound stands."""
    admission = an_admission(a_tenancy(a_budget(unit="gCO2e", limit=100)))
    finish(admission, admit(admission), emissions_ng=emissions_ng)

    with pytest.raises(BudgetExhausted):
        admit(admission, upper=(0, left_ng + 1))

    assert left_ng == admit(admission, upper=(0, left_ng)).reservation.amount


def test_a_used_up_lifetime_budget_is_closed() -> None:
    """Waiting does not help, so no time to come back is given."""
    admission = an_admission(a_tenancy(a_budget(per="lifetime")), used={"acme.r.day": 2})

    with pytest.raises(BudgetClosed, match="must be raised") as refused:
        admit(admission)

    assert refused.value.retry_after_s is None


def test_a_used_up_day_says_when_it_renews() -> None:
    """The clock stands at midnight: a whole day."""
    admission = an_admission(a_tenancy(a_budget()), used={"acme.r.day": 2})

    with pytest.raises(BudgetExhausted, match="renews at 2026-01-02T00:00:00Z") as refused:
        admit(admission)

    assert 86_400 == refused.value.retry_after_s


def test_near_its_limit_a_degrading_budget_asks_for_cheaper_answers() -> None:
    """From its threshold on, in proportion: 61 of 100 with a threshold of 50 % is 22 % of the way."""
    budget = a_budget(mode="degrade", limit=100, at_pct=50)

    degrees = [
        admit(an_admission(a_tenancy(budget), used={"acme.r.day": used})).reservation.degrade for used in (10, 60, 99)
    ]

    assert pytest.approx([0.0, 0.22, 1.0]) == degrees


def test_a_degrading_budget_refuses_only_when_not_even_the_cheapest_answer_fits() -> None:
    """80 uJ would not fit into what is left of 100 uJ, 15 uJ do: it goes on at full degradation, and reserves those."""
    budget = a_budget(unit="J", limit=100, mode="degrade")
    admission = an_admission(a_tenancy(budget), used={"acme.r.day": 80})

    admitted = admit(admission, upper=(80, 0), least=(15, 0))

    assert (15, 1.0) == (admitted.reservation.amount, admitted.reservation.degrade)
    with pytest.raises(BudgetExhausted):
        admit(admission, upper=(80, 0), least=(15, 0))


def test_an_enforcing_budget_goes_by_the_dearest_answer() -> None:
    """It does not steer: what may not fit is refused, however cheap another answer were."""
    admission = an_admission(a_tenancy(a_budget(unit="J", limit=100)), used={"acme.r.day": 80})

    with pytest.raises(BudgetExhausted):
        admit(admission, upper=(80, 0), least=(15, 0))


def test_a_refused_request_reserves_nothing() -> None:
    """Neither in the budget that refused nor in one that would have taken it."""
    first, second = a_budget(budget_id="first", limit=9), a_budget(budget_id="second", unit="J", limit=100)
    admission = an_admission(a_tenancy(first, second))
    for _ in range(9):
        with pytest.raises(BudgetExhausted):
            admit(admission, upper=(101, 0))

    for _ in range(9):
        admit(admission, upper=(1, 0))


def test_the_most_pressing_budget_is_the_one_reserved_on() -> None:
    """All must pass; how cheap the answer must be follows from the tightest."""
    easy = a_budget(budget_id="easy", unit="J", limit=10**9, mode="degrade")
    tight = a_budget(budget_id="tight", limit=10, mode="degrade", at_pct=10)
    admission = an_admission(a_tenancy(easy, tight), used={"tight": 8})

    reservation = admit(admission).reservation

    assert ("tight", 1) == (reservation.budget_id, reservation.amount)
    assert reservation.degrade > 0.8


def test_a_warning_budget_never_refuses() -> None:
    """It is there to be looked at."""
    admission = an_admission(a_tenancy(a_budget(mode="warn")), used={"acme.r.day": 50})

    assert 0.0 == admit(admission).reservation.degrade


def test_replicas_share_what_is_left_of_a_budget() -> None:
    """Each takes for granted that the others promised as much as itself: two replicas never pass four together."""
    admission = an_admission(a_tenancy(a_budget(limit=4)), replicas=2)
    passed = 0
    for _ in range(4):
        try:
            admit(admission)
        except BudgetExhausted:
            break
        passed += 1

    assert 2 == passed


ATTACHED: list[dict[str, str | None]] = [
    {},
    {"tenant": None, "org": "umbrella"},
    {"project": "web"},
    {"key_id": KEY_ID},
    {"model": "tiny"},
    {"tenant": None, "model": "tiny"},
]


def everything() -> list[Budget]:
    return [a_budget(budget_id=str(place), limit=3, **each) for place, each in enumerate(ATTACHED)]


@pytest.mark.parametrize("tight", range(len(ATTACHED)))
def test_every_budget_that_a_request_counts_in_must_pass(tight: int) -> None:
    """Of its org, tenant, project, key, model, and its tenant's model; the one that refuses is named."""
    tenant = replace(TENANT, org="umbrella")
    budgets = [replace(one, limit=1 if place == tight else 9) for place, one in enumerate(everything())]
    admission = an_admission(a_tenancy(*budgets, tenant=tenant, rules=KeyRules(project="web")))
    admitted = admit(admission)

    with pytest.raises(BudgetExhausted) as refused:
        admit(admission)
    admission.release(admitted)

    assert str(tight) == refused.value.details["policy"]
    assert sorted(map(str, range(len(ATTACHED)))) == sorted(hold.budget_id for hold in admitted.reservation.holds)
    admit(admission)


@pytest.mark.parametrize("tight", range(len(ATTACHED)))
def test_every_budget_counts_what_was_recorded(tight: int) -> None:
    """Not the tightest one's alone: each is used up after its limit, though the ledger has told of nothing yet."""
    tenant = replace(TENANT, org="umbrella")
    budgets = [replace(one, limit=3 if place == tight else 9) for place, one in enumerate(everything())]
    admission = an_admission(a_tenancy(*budgets, tenant=tenant, rules=KeyRules(project="web")))
    for _ in range(3):
        finish(admission, admit(admission))

    with pytest.raises(BudgetExhausted):
        admit(admission)


def test_the_budgets_of_others_are_not_asked() -> None:
    """Another org, project, key or model."""
    others = [
        a_budget(budget_id="o", tenant=None, org="other", limit=1),
        a_budget(budget_id="p", project="shop", limit=1),
        a_budget(budget_id="k", key_id="other", limit=1),
        a_budget(budget_id="m", model="large", limit=1),
        a_budget(budget_id="t", tenant="globex", limit=1),
    ]
    admission = an_admission(a_tenancy(*others, rules=KeyRules(project="web")))

    assert () == admit(admission).reservation.holds
    assert () == admit(admission).reservation.holds


def test_a_token_budget_counts_the_tokens_of_a_request() -> None:
    """Two rows of three: six of ten; the next six do not fit."""
    admission = an_admission(a_tenancy(a_budget(unit="tokens", limit=10)))
    request = a_request(rows=((3, 0, 1), (3, 0, 1)))
    finish(admission, admit(admission, request=request))

    with pytest.raises(BudgetExhausted, match="6 tokens reserved per day; this request may need up to 6 tokens"):
        admit(admission, request=request)


def test_a_raise_makes_room_until_it_ends() -> None:
    """By the clock alone, though nothing was read anew."""
    clock = ManualClock()
    budget = a_budget(raises=(Raise(amount=2, until_us=NOW_US + 5),))
    admission = an_admission(a_tenancy(budget), clock=clock)
    for _ in range(4):
        admitted = admit(admission)
    admission.release(admitted)
    clock.advance(duration_ns=5_000)

    with pytest.raises(BudgetExhausted):
        admit(admission)


def test_of_several_refusals_the_one_that_lasts_longest_is_told() -> None:
    """Waiting a day for what never renews would be waiting for nothing."""
    day, ever = a_budget(budget_id="day"), a_budget(budget_id="ever", per="lifetime")
    month = a_budget(budget_id="month", per="month")

    with pytest.raises(BudgetExhausted) as refused:
        admit(an_admission(a_tenancy(day, month), used={"day": 2, "month": 2}))
    with pytest.raises(BudgetClosed):
        admit(an_admission(a_tenancy(day, ever, month), used={"day": 2, "ever": 2, "month": 2}))

    assert (31 * 86_400, "month") == (refused.value.retry_after_s, refused.value.details["policy"])


def test_a_refusal_says_all_that_a_problem_document_shows() -> None:
    """Policy, unit, limit, what is used and reserved, its window, when it renews, and what can be done."""
    admission = an_admission(
        a_tenancy(a_budget(unit="gCO2e", limit=10**9, per="month")), used={"acme.r.day": 998 * 10**6}
    )

    with pytest.raises(BudgetExhausted, match="acme: 998 mgCO2e of 1 gCO2e used and 0 gCO2e reserved") as refused:
        admit(admission, upper=(0, 5 * 10**6))

    assert {
        "policy": "acme.r.day",
        "unit": "gCO2e",
        "limit": "1",
        "used": "0.998",
        "reserved": "0",
        "window": "month",
        "window_s": 31 * 86_400,
        "resets_at": "2026-02-01T00:00:00Z",
        "actions": ["wait", "raise-budget", "allow-degrade"],
    } == dict(refused.value.details)
