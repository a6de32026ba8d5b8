"""Admission: what a key may ask for, who may administer, and the limits of a key and a tenant."""

from dataclasses import replace

import pytest

from greenserve.carbon.keys import mint
from greenserve.carbon.tenancy import KeyRules
from greenserve.clock import ManualClock
from greenserve.errors import BudgetExhausted, InvalidKey, KeyBlocked, ModelNotAllowed, RateLimited
from greenserve.records import Hints, Protocol, Tenant
from tests.serve.admitting import (
    ADMIN_KEY,
    ADMIN_KEY_ID,
    KEY,
    KEY_ID,
    NOW_US,
    SECRET,
    a_budget,
    a_key,
    a_tenancy,
    admit,
    an_admission,
)
from tests.serve.building import TENANT, a_request

PROTOCOLS: tuple[Protocol, ...] = ("http", "grpc", "openai")


def test_an_admin_key_cannot_infer_and_an_inference_key_cannot_administer() -> None:
    """Each is blocked, and told which kind it needs."""
    admission = an_admission(a_tenancy())

    with pytest.raises(KeyBlocked, match=f"{ADMIN_KEY_ID} is an admin key and cannot infer"):
        admission.authenticate(ADMIN_KEY)
    with pytest.raises(KeyBlocked, match=f"{KEY_ID} is for inference and cannot administer"):
        admission.authenticate_admin(KEY)
    assert ADMIN_KEY_ID == admission.authenticate_admin(ADMIN_KEY).key_id


@pytest.mark.parametrize("auth", ["required", "anonymous"])
def test_administration_always_needs_a_key(auth: str) -> None:
    """Also where anybody may infer."""
    admission = an_admission(a_tenancy(), auth=auth)

    with pytest.raises(InvalidKey, match="--kind admin"):
        admission.authenticate_admin(None)
    with pytest.raises(InvalidKey, match="no such key"):
        admission.authenticate_admin(mint(b"\x55" * 8, SECRET)[0])


def test_an_admin_key_ends_like_any_other() -> None:
    """Revoked is revoked, expired is expired, at once."""
    clock = ManualClock()
    admin = a_key(ADMIN_KEY_ID, tenant_id="_platform", rules=KeyRules(kind="admin"))
    for ended, words in (
        (replace(admin, revoked_us=NOW_US), "was revoked"),
        (replace(admin, expires_us=NOW_US, replaced_by="abc"), "rotated to abc"),
    ):
        admission = an_admission(replace(a_tenancy(), keys={ADMIN_KEY_ID: ended}), clock=clock)
        with pytest.raises(InvalidKey, match=words):
            admission.authenticate_admin(ADMIN_KEY)


def test_a_scope_of_paths_covers_what_lies_under_them() -> None:
    """/admin/v1/usage and below, not its neighbours."""
    rules = KeyRules(kind="admin", paths=("/admin/v1/usage",))
    admin = a_key(ADMIN_KEY_ID, tenant_id="_platform", rules=rules)
    admission = an_admission(replace(a_tenancy(), keys={ADMIN_KEY_ID: admin}))

    for path in ("/admin/v1/usage", "/admin/v1/usage/acme"):
        admission.authenticate_admin(ADMIN_KEY, path=path)
    for path in ("/admin/v1/usages", "/admin/v1/keys", "/admin/v1"):
        with pytest.raises(KeyBlocked, match="it may use /admin/v1/usage"):
            admission.authenticate_admin(ADMIN_KEY, path=path)


@pytest.mark.parametrize(
    ("paths", "allowed"),
    [
        (("/v2",), {"http"}),
        (("/v2/models/tiny",), {"http"}),
        (("/v2/models/other",), set()),
        (("/inference.GRPCInferenceService",), {"grpc"}),
        (("/v1/embeddings", "/v2"), {"openai", "http"}),
        (None, {"http", "grpc", "openai"}),
    ],
)
def test_a_key_infers_over_the_protocols_of_its_scope(paths: tuple[str, ...] | None, allowed: set[str]) -> None:
    """The same question is let in over one path and not over another."""
    admission = an_admission(a_tenancy(rules=KeyRules(paths=paths)))
    let_in = set()
    for protocol in PROTOCOLS:
        try:
            admit(admission, request=a_request(protocol=protocol))
        except KeyBlocked:
            continue
        let_in.add(protocol)

    assert allowed == let_in


def test_paths_that_do_not_lead_through_the_gateway_are_checked_as_well() -> None:
    """A receipt, a list of models: whoever answers it names the path."""
    admission = an_admission(a_tenancy(rules=KeyRules(paths=("/v1/receipts",))))

    assert TENANT == admission.authenticate(KEY, path="/v1/receipts/0197").tenant
    with pytest.raises(KeyBlocked, match="may not use /v1/models"):
        admission.authenticate(KEY, path="/v1/models")


def test_a_key_may_use_the_models_of_its_scope() -> None:
    """Another one is not allowed, and the message says which are."""
    admission = an_admission(a_tenancy(rules=KeyRules(models=frozenset({"tiny", "large"}))))

    admit(admission)
    with pytest.raises(ModelNotAllowed, match="may not use the model other; it may use large, tiny"):
        admit(admission, request=a_request(model="other"))


def test_a_key_that_may_not_pin_leaves_the_choice_to_routing() -> None:
    """Without a variant it is let in."""
    admission = an_admission(a_tenancy(rules=KeyRules(pin=False)))
    pinned = a_request(hints=Hints(variant="fp32"))

    with pytest.raises(ModelNotAllowed, match="may not pin a variant, and fp32 was asked for"):
        admit(admission, request=pinned)
    admit(admission)

    admit(an_admission(a_tenancy()), request=pinned)


def test_the_project_of_the_key_comes_with_the_request() -> None:
    """So that its line in the ledger can tell."""
    assert "web" == admit(an_admission(a_tenancy(rules=KeyRules(project="web")))).project
    assert admit(an_admission(a_tenancy())).project is None


def test_a_key_has_a_rate_of_its_own_within_its_tenants() -> None:
    """The slower one holds; the message names it."""
    admission = an_admission(a_tenancy(rules=KeyRules(rate_per_s=1.0, burst=2)))
    for _ in range(2):
        admit(admission)

    with pytest.raises(RateLimited, match=f"key {KEY_ID} of acme sends faster than 1/s") as refused:
        admit(admission)

    assert f"key-{KEY_ID}-rate" == refused.value.details["policy"]


def test_a_tenant_has_so_many_requests_at_once_whatever_ends_them() -> None:
    """A place comes back by release alone; a request that a budget refused never took one."""
    tenant = Tenant(tenant_id="acme", name="Acme", concurrency=2)
    budget = a_budget(limit=3)
    admission = an_admission(a_tenancy(budget, tenant=tenant))
    first, _ = admit(admission), admit(admission)

    with pytest.raises(RateLimited, match="2 requests in progress"):
        admit(admission)
    admission.release(first)
    third = admit(admission)
    admission.release(third)
    admission.refresh(a_tenancy(budget, tenant=tenant, revision=2), {budget.budget_id: 3})
    for _ in range(5):
        with pytest.raises(BudgetExhausted):
            admit(admission)

    admission.refresh(a_tenancy(budget, tenant=tenant, revision=3), {})
    admit(admission)


def test_a_tenants_tokens_are_paced() -> None:
    """A row of two tokens at one token per second: a second is had in advance, and a whole request is let in."""
    tenant = Tenant(tenant_id="acme", name="Acme", tokens_per_s=1.0)
    admission = an_admission(a_tenancy(tenant=tenant))
    admit(admission)

    with pytest.raises(RateLimited, match="tenant acme sends more than 1 tokens/s"):
        admit(admission)


def test_rules_that_change_hold_for_a_caller_that_proved_itself_before() -> None:
    """From the next look into the ledger on."""
    admission = an_admission(a_tenancy())
    admit(admission)

    admission.refresh(a_tenancy(revision=2, rules=KeyRules(models=frozenset({"other"}))), {})

    with pytest.raises(ModelNotAllowed):
        admit(admission)


def test_more_replicas_make_each_ones_part_smaller() -> None:
    """Of a burst of four two are left to one of two."""
    tenant = Tenant(tenant_id="acme", name="Acme", rate_per_s=1.0, burst=4)
    admission = an_admission(a_tenancy(tenant=tenant))

    admission.share_among(2)

    for _ in range(2):
        admit(admission)
    with pytest.raises(RateLimited):
        admit(admission)
