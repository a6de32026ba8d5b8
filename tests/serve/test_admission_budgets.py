"""Admission under budgets: what is promised, what was used, and what is refused."""

import pytest

from greenserve.errors import BudgetClosed, BudgetExhausted
from tests.serve.admitting import KEY, a_budget, a_tenancy, admit, an_admission, finish
from tests.serve.building import a_request


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
    """A recorded request stays promised until the watched one is found in the ledger; then the balance counts alone."""
    tenancy = a_tenancy(a_budget(limit=4))
    admission = an_admission(tenancy)
    finish(admission, admit(admission))
    second = finish(admission, admit(admission))
    admission.refresh(tenancy, {})
    assert second == admission.watched
    third = finish(admission, admit(admission))

    admission.refresh(tenancy, {"acme.r.day": 0})
    last = admit(admission)
    with pytest.raises(BudgetExhausted):
        admit(admission)
    admission.release(last)
    admission.refresh(tenancy, {"acme.r.day": 2}, confirmed=second)

    assert third == admission.watched
    admit(admission)
    with pytest.raises(BudgetExhausted):
        admit(admission)


def test_a_ledger_that_falls_behind_makes_no_room() -> None:
    """However long it takes, and whatever else was confirmed: only the watched request tells."""
    tenancy = a_tenancy(a_budget())
    admission = an_admission(tenancy)
    for _ in range(2):
        finish(admission, admit(admission))

    for _ in range(100):
        admission.refresh(tenancy, {}, confirmed="another request")

    with pytest.raises(BudgetExhausted):
        admit(admission)


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
