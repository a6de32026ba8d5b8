"""Keys in the ledger: what they may do, how they are rotated, and who changed them last."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from greenserve.carbon.budgets import Budget
from greenserve.carbon.entries import PLATFORM
from greenserve.carbon.keys import hmac_of, parse
from greenserve.carbon.ledger.sqlite import SqliteLedger
from greenserve.carbon.ledger.tenancy import TenancyStore
from greenserve.carbon.tenancy import BudgetRecord, KeyRecord, KeyRules, TenantRecord
from greenserve.clock import ManualClock
from greenserve.errors import InvalidRequest, NotFound, RevisionConflict
from greenserve.records import Tenant
from greenserve.units import US_PER_S

ALL_RULES = KeyRules(
    project="web", models=frozenset({"tiny", "large"}), pin=False, paths=("/v1/embeddings", "/v2"), rate_per_s=2.5,
    burst=3, tokens_per_s=1000.0, concurrency=4,
)  # fmt: skip
HOUR_US = 3600 * US_PER_S


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def book(tmp_path: Path) -> Iterator[SqliteLedger]:
    opened = SqliteLedger(tmp_path / "ledger.db")
    yield opened
    opened.close()


@pytest.fixture
def store(book: SqliteLedger, clock: ManualClock) -> TenancyStore:
    made = TenancyStore(book, clock)
    made.create_tenant(Tenant(tenant_id="acme", name="Acme"))
    return made


def test_a_keys_rules_are_read_back_as_they_were_given(store: TenancyStore) -> None:
    """From the table and in the snapshot."""
    _, record = store.create_key("acme", rules=ALL_RULES)

    assert ALL_RULES == store.key(record.key_id).rules
    assert record == store.snapshot().keys[record.key_id]


def test_an_admin_key_is_the_platforms(store: TenancyStore) -> None:
    """No tenant owns it, closing one leaves it, and it is listed apart."""
    text, record = store.create_key(None, rules=KeyRules(kind="admin", paths=("/admin/v1/usage",)))
    store.close_tenant("acme")

    snapshot = store.snapshot()
    assert (PLATFORM, [record]) == (record.tenant_id, store.keys(PLATFORM))
    assert hmac_of(snapshot.pepper, parse(text)[1]) == snapshot.keys[record.key_id].hmac


@pytest.mark.parametrize(
    ("tenant", "rules", "words"),
    [
        (None, KeyRules(), "inference keys belong to a tenant"),
        ("acme", KeyRules(kind="admin"), "admin keys to none"),
        (None, KeyRules(kind="admin", models=frozenset({"tiny"})), "cannot infer"),
        (None, KeyRules(kind="admin", project="web"), "cannot infer"),
        (None, KeyRules(kind="admin", paths=("/v2",)), "path '/v2'"),
        ("acme", KeyRules(paths=("/admin/v1",)), "path '/admin/v1'"),
        ("acme", KeyRules(paths=("/v2/",)), "path '/v2/'"),
        ("acme", KeyRules(paths=("/v22",)), "path '/v22'"),
        ("acme", KeyRules(paths=()), "paths: 1 to 64"),
        ("acme", KeyRules(models=frozenset()), "models: 1 to 64"),
        ("acme", KeyRules(project="a b"), "project 'a b'"),
        ("acme", KeyRules(project="a/b"), "project 'a/b'"),
        ("acme", KeyRules(rate_per_s=0), "rate: over 0"),
        ("acme", KeyRules(tokens_per_s=-1), "tokens: over 0"),
        ("acme", KeyRules(concurrency=0), "concurrency: 1 to"),
        ("acme", KeyRules(burst=0), "burst: 1 to"),
    ],
)
def test_rules_that_are_none_are_refused(store: TenancyStore, tenant: str | None, rules: KeyRules, words: str) -> None:
    """What was given and what is allowed; no key is made."""
    with pytest.raises(InvalidRequest, match=words):
        store.create_key(tenant, rules=rules)

    assert [] == store.keys()


def test_a_rotated_key_works_until_the_overlap_ends(store: TenancyStore, clock: ManualClock) -> None:
    """The new one has its rules and another secret; the old one names its successor."""
    old_text, old = store.create_key("acme", label="ci", rules=ALL_RULES)

    new_text, new = store.rotate_key(old.key_id, overlap_us=HOUR_US)

    replaced = store.key(old.key_id)
    assert (ALL_RULES, "ci", None) == (new.rules, new.label, new.expires_us)
    assert parse(old_text)[1] != parse(new_text)[1]
    assert (clock.unix_us() + HOUR_US, new.key_id) == (replaced.expires_us, replaced.replaced_by)
    assert ["active", "expired"] == [replaced.state(clock.unix_us() + HOUR_US - 1 + late) for late in (0, 1)]


def test_rotating_never_makes_a_key_live_longer(store: TenancyStore, clock: ManualClock) -> None:
    """An overlap beyond the old one's end changes nothing; the new one lives as long as the old one was meant to."""
    _, old = store.create_key("acme", expires_us=clock.unix_us() + HOUR_US)
    clock.advance(duration_ns=HOUR_US // 2 * 1_000)

    _, new = store.rotate_key(old.key_id, overlap_us=24 * HOUR_US)

    assert old.expires_us == store.key(old.key_id).expires_us
    assert clock.unix_us() + HOUR_US == new.expires_us


def test_only_a_key_that_works_is_rotated(store: TenancyStore, clock: ManualClock) -> None:
    """Not one that was rotated, revoked or has expired, nor one that is none."""
    _, rotated = store.create_key("acme")
    _, successor = store.rotate_key(rotated.key_id, overlap_us=HOUR_US)
    _, revoked = store.create_key("acme")
    store.revoke_key(revoked.key_id)
    _, expired = store.create_key("acme", expires_us=clock.unix_us() + 1)
    clock.advance(duration_ns=1_000)
    listed = len(store.keys())

    for key_id, words in (
        (rotated.key_id, f"rotated to {successor.key_id}"),
        (revoked.key_id, "was revoked"),
        (expired.key_id, "has expired"),
    ):
        with pytest.raises(InvalidRequest, match=words):
            store.rotate_key(key_id, overlap_us=0)
    with pytest.raises(NotFound):
        store.rotate_key("nokey", overlap_us=0)
    with pytest.raises(InvalidRequest, match="0 or longer"):
        store.rotate_key(successor.key_id, overlap_us=-1)
    assert listed == len(store.keys())


def test_a_keys_rules_are_changed_but_not_its_kind(store: TenancyStore, book: SqliteLedger) -> None:
    """Each change is an entry; the ledger verifies."""
    _, record = store.create_key("acme", label="ci", rules=ALL_RULES)

    changed = store.update_key(record.key_id, {"models": None, "label": "ops", "rate_per_s": 9.0})

    assert (None, 9.0, "web", "ops") == (
        changed.rules.models, changed.rules.rate_per_s, changed.rules.project, changed.label,
    )  # fmt: skip
    assert changed == store.key(record.key_id)
    for wrong in ({"kind": "admin"}, {"hmac": b""}, {"rate_per_s": -1.0}, {"expires_us": 1}):
        with pytest.raises(InvalidRequest):
            store.update_key(record.key_id, wrong)
    assert [0, 1] == [entry.revision for _, entry in book.entries() if entry.kind == "key"]
    assert [] == book.verify()


@pytest.mark.parametrize("change", ["update_tenant", "close_tenant", "update_key", "revoke_key", "set", "raise", "rm"])
def test_a_change_made_for_an_older_revision_is_refused(store: TenancyStore, change: str) -> None:
    """Somebody else was faster: nothing is overwritten, and the newer revision is told."""
    from_budget: dict[str, Any] = {"tenant": "acme", "unit": "J", "limit": 5, "per": "day", "mode": "enforce"}
    budget = store.set_budget(Budget(budget_id="b", **from_budget)).budget
    _, key = store.create_key("acme")
    store.update_tenant("acme", {"burst": 7})
    store.update_key(key.key_id, {"burst": 7})
    store.set_budget(budget)
    before = store.revision()
    changes: dict[str, Callable[[int], TenantRecord | KeyRecord | BudgetRecord]] = {
        "update_tenant": lambda revision: store.update_tenant("acme", {"burst": 8}, if_revision=revision),
        "close_tenant": lambda revision: store.close_tenant("acme", if_revision=revision),
        "update_key": lambda revision: store.update_key(key.key_id, {"burst": 8}, if_revision=revision),
        "revoke_key": lambda revision: store.revoke_key(key.key_id, if_revision=revision),
        "set": lambda revision: store.set_budget(budget, if_revision=revision),
        "raise": lambda revision: store.raise_budget("b", 5, if_revision=revision),
        "rm": lambda revision: store.remove_budget("b", if_revision=revision),
    }

    with pytest.raises(RevisionConflict, match="revision 1"):
        changes[change](0)

    assert before == store.revision()
    assert 2 == changes[change](1).revision
