"""Admission: whose key it is, how fast its tenant may send, and what its budgets say."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.carbon.budgets import Budget
from greenserve.carbon.keys import hmac_of, key_text, mint
from greenserve.carbon.ledger.tenancy import KeyRecord, Tenancy
from greenserve.clock import ManualClock
from greenserve.config import TenantDefaults
from greenserve.errors import BudgetClosed, BudgetExhausted, InvalidKey, RateLimited
from greenserve.records import Admitted, Tenant
from greenserve.serve.admission import ANONYMOUS, Admission, Caller
from greenserve.serve.recorder import Recorded
from greenserve.units import NS_PER_S
from tests.serve.building import TENANT, a_request, a_usage

PEPPER = b"pepper of a test"
SECRET = bytes(range(32))
KEY, KEY_ID = mint(b"\x11" * 8, SECRET)
NOW_US = ManualClock().unix_us()
HUGE = TenantDefaults.model_validate({"rate": "1000000/s", "burst": 1_000_000})


def a_tenancy(*budgets: Budget, revision: int = 1, tenant: Tenant = TENANT, **changes: Any) -> Tenancy:
    """One tenant with one key; `changes` are the key's."""
    key: dict[str, Any] = {
        "key_id": KEY_ID,
        "tenant_id": tenant.tenant_id,
        "label": None,
        "hmac": hmac_of(PEPPER, SECRET),
        "created_us": 0,
        "expires_us": None,
        "revoked_us": None,
    }
    return Tenancy(
        revision=revision,
        tenants=MappingProxyType({tenant.tenant_id: tenant}),
        keys=MappingProxyType({KEY_ID: KeyRecord(**(key | changes))}),
        budgets=MappingProxyType({tenant.tenant_id: budgets}),
        pepper=PEPPER,
    )


def an_admission(
    tenancy: Tenancy | None = None,
    *,
    used: Mapping[str, int] = MappingProxyType({}),
    auth: str = "required",
    defaults: TenantDefaults = HUGE,
    replicas: int = 1,
    clock: ManualClock | None = None,
) -> Admission:
    """An admission that has read `tenancy` once."""
    admission = Admission(auth=auth, defaults=defaults, replicas=replicas, clock=clock or ManualClock())
    if tenancy is not None:
        admission.refresh(tenancy, used)
    return admission


def a_budget(**changes: Any) -> Budget:
    """Two requests a day, enforced."""
    whole: dict[str, Any] = {"budget_id": "acme.r.day", "tenant": "acme", "unit": "requests", "limit": 2, "per": "day"}
    return Budget(**(whole | {"mode": "enforce"} | changes))


def admit(admission: Admission, *, upper: tuple[int, int] = (60, 7), tenant: Tenant = TENANT) -> Admitted:
    """Let one request of the tenant in that may cost up to `upper` [uJ, ng]."""
    return admission.admit(Caller(tenant=tenant, key_id=KEY_ID), a_request(), upper=lambda: upper)


def finish(admission: Admission, admitted: Admitted, *, energy_uj: int = 10, emissions_ng: int | None = 3) -> None:
    """The request was answered and recorded."""
    admission.release(admitted)
    usage = a_usage(active_uj=energy_uj, held_uj=0, host_uj=0)
    admission.settle(admitted, Recorded(usage=usage, emissions_ng=emissions_ng))


def test_a_good_key_tells_its_tenant() -> None:
    """The tenant comes from the key alone."""
    caller = an_admission(a_tenancy()).authenticate(KEY)

    assert (TENANT, KEY_ID) == (caller.tenant, caller.key_id)


def test_without_a_key_one_is_told_how_to_get_one() -> None:
    """The message says what to send and which command makes it."""
    with pytest.raises(InvalidKey, match=r"Authorization: Bearer gs_.*greenserve key create"):
        an_admission(a_tenancy()).authenticate(None)


def test_anonymous_callers_have_an_account_of_their_own() -> None:
    """Where keys are not required nobody is mistaken for a tenant, and nothing of energy is shown to them."""
    caller = an_admission(a_tenancy(), auth="anonymous").authenticate(None)

    assert (ANONYMOUS, "anonymous") == (caller.tenant, caller.key_id)
    assert "off" == caller.tenant.exposure


OTHER = key_text(KEY_ID, b"\x07" * 32)
BAD_KEYS = {
    "of another vendor": ("sk-1234", "gs_"),
    "cut": (KEY[:-1], "copy it whole"),
    "mistyped": (KEY[:20] + ("0" if KEY[20] != "0" else "1") + KEY[21:], "checksum"),
    "of another gateway": (mint(b"\x22" * 8, SECRET)[0], "no such key"),
    "with another secret": (OTHER, "no such key"),
    "empty": ("", "gs_"),
}


@pytest.mark.parametrize("auth", ["required", "anonymous"])
@pytest.mark.parametrize(("key", "words"), BAD_KEYS.values(), ids=list(BAD_KEYS))
def test_a_key_that_does_not_prove_itself_is_refused(key: str, words: str, auth: str) -> None:
    """Also where none is needed: who sends a key means it; the message never holds the secret."""
    with pytest.raises(InvalidKey, match=words) as refused:
        an_admission(a_tenancy(), auth=auth).authenticate(key)

    assert KEY[16:] not in str(refused.value)


def test_before_the_first_look_into_the_ledger_no_key_is_known() -> None:
    """A gateway that has read no tenants lets nobody in."""
    with pytest.raises(InvalidKey, match="no such key"):
        an_admission().authenticate(KEY)


def test_a_revoked_key_is_refused_though_it_proved_itself_before() -> None:
    """The next look into the ledger ends it."""
    admission = an_admission(a_tenancy())
    admission.authenticate(KEY)

    admission.refresh(a_tenancy(revision=2, revoked_us=NOW_US), {})

    with pytest.raises(InvalidKey, match=f"{KEY_ID} was revoked"):
        admission.authenticate(KEY)


def test_a_key_expires_by_the_clock_alone() -> None:
    """Good until the microsecond before, though nothing was read anew and it proved itself before."""
    clock = ManualClock()
    admission = an_admission(a_tenancy(expires_us=NOW_US + 5), clock=clock)
    clock.advance(duration_ns=4_000)
    admission.authenticate(KEY)
    clock.advance(duration_ns=1_000)

    with pytest.raises(InvalidKey, match=f"{KEY_ID} has expired"):
        admission.authenticate(KEY)


def test_a_tenants_burst_passes_then_its_rate() -> None:
    """Three at once, the fourth is told to wait a second, and after that second exactly one passes."""
    clock = ManualClock()
    slow = Tenant(tenant_id="slow", name="Slow", rate_per_s=1.0, burst=3)
    admission = an_admission(a_tenancy(tenant=slow), clock=clock)
    for _ in range(3):
        admit(admission, tenant=slow)

    with pytest.raises(RateLimited, match="slow sends faster than 1/s with bursts of 3") as refused:
        admit(admission, tenant=slow)
    clock.advance(duration_ns=NS_PER_S)
    admit(admission, tenant=slow)

    assert 1 == refused.value.retry_after_s
    with pytest.raises(RateLimited):
        admit(admission, tenant=slow)


def test_one_tenants_haste_costs_no_other() -> None:
    """Rates are kept per tenant; the default holds for those without their own."""
    one_by_one = TenantDefaults.model_validate({"rate": "1/s", "burst": 1})
    admission = an_admission(a_tenancy(), defaults=one_by_one)
    admit(admission)

    admit(admission, tenant=Tenant(tenant_id="globex", name="Globex"))

    with pytest.raises(RateLimited, match="acme"):
        admit(admission)


@given(
    rate=st.floats(0.1, 1000.0),
    burst=st.integers(1, 20),
    replicas=st.integers(1, 4),
    pauses_ns=st.lists(st.integers(0, 3 * NS_PER_S), max_size=60),
)
def test_no_tenant_gets_more_than_its_burst_and_its_rate(
    rate: float, burst: int, replicas: int, pauses_ns: list[int]
) -> None:
    """Whenever it sends: what passes one replica is its part of the burst, and its part of the rate times the time."""
    clock, passed = ManualClock(), 0
    tenant = Tenant(tenant_id="any", name="Any", rate_per_s=rate, burst=burst)
    admission = an_admission(a_tenancy(tenant=tenant), replicas=replicas, clock=clock)
    for pause_ns in pauses_ns:
        clock.advance(duration_ns=pause_ns)
        try:
            admit(admission, tenant=tenant)
        except RateLimited as refusal:
            assert refusal.retry_after_s is not None
            assert refusal.retry_after_s >= 1
        else:
            passed += 1

    own_burst = -(-burst // replicas)
    assert passed <= own_burst + sum(pauses_ns) / NS_PER_S * rate / replicas
    assert passed >= min(len(pauses_ns), own_burst)


def test_whoever_waits_as_told_is_let_in() -> None:
    """`retry_after_s` is long enough."""
    clock = ManualClock()
    tenant = Tenant(tenant_id="slow", name="Slow", rate_per_s=0.3, burst=1)
    admission = an_admission(a_tenancy(tenant=tenant), clock=clock)
    admit(admission, tenant=tenant)
    with pytest.raises(RateLimited) as refused:
        admit(admission, tenant=tenant)

    clock.advance(duration_ns=(refused.value.retry_after_s or 0) * NS_PER_S)

    assert 4 == refused.value.retry_after_s
    admit(admission, tenant=tenant)


def test_without_a_budget_nothing_is_estimated() -> None:
    """The upper bound is not even asked for."""
    admission = an_admission(a_tenancy())

    admitted = admission.admit(Caller(tenant=TENANT, key_id=KEY_ID), a_request(), upper=lambda: 1 // 0 and (0, 0))

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
    """A recorded request stays promised for three seconds; afterwards the balance that was read counts alone."""
    clock, tenancy = ManualClock(), a_tenancy(a_budget())
    admission = an_admission(tenancy, clock=clock)
    for _ in range(2):
        finish(admission, admit(admission))

    admission.refresh(tenancy, {"acme.r.day": 0})
    with pytest.raises(BudgetExhausted):
        admit(admission)
    clock.advance(duration_ns=4 * NS_PER_S)
    admission.refresh(tenancy, {"acme.r.day": 1})

    admit(admission)
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
