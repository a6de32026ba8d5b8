"""Admission: whose key it is, and how fast its tenant may send."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.carbon.keys import key_text, mint
from greenserve.carbon.tenancy import Tenancy
from greenserve.clock import ManualClock
from greenserve.errors import InvalidKey, RateLimited
from greenserve.records import Tenant
from greenserve.sections import TenantDefaults
from greenserve.serve.admission import ANONYMOUS
from greenserve.units import NS_PER_S
from tests.serve.admitting import KEY, KEY_ID, NOW_US, SECRET, a_key, a_tenancy, admit, an_admission, with_tenant
from tests.serve.building import TENANT


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


def test_the_key_of_a_closed_tenant_is_unknown() -> None:
    """The store leaves closed tenants and their keys out; a caller that proved itself before is refused."""
    admission = an_admission(a_tenancy())
    admission.authenticate(KEY)
    nobody: Tenancy = replace(a_tenancy(revision=2), tenants={}, keys={}, budgets={})

    admission.refresh(nobody, {})

    with pytest.raises(InvalidKey, match="no such key"):
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
        admit(admission)

    with pytest.raises(RateLimited, match="slow sends faster than 1/s with bursts of 3") as refused:
        admit(admission)
    clock.advance(duration_ns=NS_PER_S)
    admit(admission)

    assert 1 == refused.value.retry_after_s
    with pytest.raises(RateLimited):
        admit(admission)


def test_one_tenants_haste_costs_no_other() -> None:
    """Rates are kept per tenant; the default holds for those without their own."""
    one_by_one = TenantDefaults.model_validate({"rate": "1/s", "burst": 1})
    other, other_id = mint(b"\x44" * 8, SECRET)
    globex = Tenant(tenant_id="globex", name="Globex")
    admission = an_admission(with_tenant(a_tenancy(), globex, a_key(other_id)), defaults=one_by_one)
    admit(admission)

    admit(admission, key=other)

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
    clock, passed, waits_s = ManualClock(), 0, [1]
    tenant = Tenant(tenant_id="any", name="Any", rate_per_s=rate, burst=burst)
    admission = an_admission(a_tenancy(tenant=tenant), replicas=replicas, clock=clock)
    for pause_ns in pauses_ns:
        clock.advance(duration_ns=pause_ns)
        try:
            admit(admission)
        except RateLimited as refusal:
            waits_s.append(refusal.retry_after_s or 0)
        else:
            passed += 1

    own_burst = -(-burst // replicas)
    assert passed <= own_burst + sum(pauses_ns) / NS_PER_S * rate / replicas
    assert passed >= min(len(pauses_ns), own_burst)
    assert min(waits_s) >= 1


def test_each_of_two_replicas_lets_half_of_the_rate_through() -> None:
    """Two a second for the tenant: one a second here, the other one there."""
    clock = ManualClock()
    tenant = Tenant(tenant_id="two", name="Two", rate_per_s=2.0, burst=2)
    admission = an_admission(a_tenancy(tenant=tenant), replicas=2, clock=clock)
    admit(admission)

    clock.advance(duration_ns=NS_PER_S - 1)
    with pytest.raises(RateLimited):
        admit(admission)
    clock.advance(duration_ns=1)

    admit(admission)


def test_whoever_waits_as_told_is_let_in() -> None:
    """`retry_after_s` is long enough."""
    clock = ManualClock()
    tenant = Tenant(tenant_id="slow", name="Slow", rate_per_s=0.3, burst=1)
    admission = an_admission(a_tenancy(tenant=tenant), clock=clock)
    admit(admission)
    with pytest.raises(RateLimited) as refused:
        admit(admission)

    clock.advance(duration_ns=(refused.value.retry_after_s or 0) * NS_PER_S)

    assert 4 == refused.value.retry_after_s
    admit(admission)
