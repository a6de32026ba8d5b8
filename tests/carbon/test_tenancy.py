"""Tenants, keys and budgets in the ledger, with their history."""

import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from greenserve.carbon.budgets import Budget
from greenserve.carbon.keys import hmac_of, parse
from greenserve.carbon.ledger.pepper import pepper_path
from greenserve.carbon.ledger.sqlite import SqliteLedger
from greenserve.carbon.ledger.tenancy import TenancyStore
from greenserve.clock import ManualClock
from greenserve.errors import InvalidRequest, LedgerUnavailable, NotFound
from greenserve.records import Tenant


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
    return TenancyStore(book, clock)


def a_tenant(**changes: Any) -> Tenant:
    return Tenant(**({"tenant_id": "acme", "name": "Acme"} | changes))


def a_budget(**changes: Any) -> Budget:
    whole: dict[str, Any] = {"budget_id": "acme.j.day", "tenant": "acme", "unit": "J", "limit": 5, "per": "day"}
    return Budget(**(whole | {"mode": "enforce"} | changes))


def test_a_tenant_is_read_back_as_it_was_given(store: TenancyStore) -> None:
    """All rules survive the table."""
    tenant = a_tenant(
        quality_floor=0.75, quality_mean=0.8, policy="min-carbon", regions=frozenset({"north"}), exposure="exact",
        rate_per_s=12.5, burst=3,
    )  # fmt: skip

    store.create_tenant(tenant)

    assert tenant == store.tenant("acme").tenant
    assert tenant == store.snapshot().tenants["acme"]


def test_each_change_is_an_entry_and_moves_the_revision(store: TenancyStore, book: SqliteLedger) -> None:
    """The history of who might do what is in the ledger itself, and it verifies."""
    store.create_tenant(a_tenant())
    store.update_tenant("acme", {"burst": 7})
    _, key = store.create_key("acme")
    store.set_budget(a_budget())
    store.set_budget(a_budget(limit=9))
    store.remove_budget("acme.j.day")
    store.revoke_key(key.key_id)
    store.close_tenant("acme")

    changes = [(entry.kind, entry.revision) for _, entry in book.entries()]
    assert {"tenant": [0, 1, 2], "key": [0, 1], "budget": [0, 1, 2]} == {
        kind: [revision for name, revision in changes if name == kind] for kind, _ in changes
    }
    assert 8 == store.revision()
    assert [] == book.verify()


def test_a_keys_secret_is_kept_nowhere(store: TenancyStore, book: SqliteLedger) -> None:
    """The snapshot can check the key, and neither the database nor the entries hold it."""
    store.create_tenant(a_tenant())

    text, record = store.create_key("acme", label="ci")

    key_id, secret = parse(text)
    snapshot = store.snapshot()
    assert hmac_of(snapshot.pepper, secret) == snapshot.keys[key_id].hmac
    assert (record.key_id, "acme") == (key_id, snapshot.keys[key_id].tenant_id)
    book.close()
    written = b"".join(path.read_bytes() for path in book.path.parent.iterdir() if path.is_file())
    assert secret not in written
    assert text[16:68].encode() not in written


def test_a_closed_tenants_keys_are_not_in_the_snapshot(store: TenancyStore) -> None:
    """Closing stops all keys at once; the tenant and its keys stay listed."""
    store.create_tenant(a_tenant())
    store.create_key("acme")

    store.close_tenant("acme")

    assert ({}, {}) == (dict(store.snapshot().tenants), dict(store.snapshot().keys))
    assert store.tenants()[0].closed_us is not None
    assert 1 == len(store.keys("acme"))
    with pytest.raises(InvalidRequest, match="was closed"):
        store.create_key("acme")


def test_a_revoked_key_stays_known_with_its_end(store: TenancyStore, clock: ManualClock) -> None:
    """The gateway can tell revoked from unknown; revoking twice is an error."""
    store.create_tenant(a_tenant())
    _, key = store.create_key("acme")

    store.revoke_key(key.key_id)

    assert clock.unix_us() == store.snapshot().keys[key.key_id].revoked_us
    with pytest.raises(InvalidRequest, match="already"):
        store.revoke_key(key.key_id)


def test_budgets_are_replaced_and_removed(store: TenancyStore) -> None:
    """One id, one budget in force; setting a removed one brings it back."""
    store.create_tenant(a_tenant())
    store.set_budget(a_budget())

    store.set_budget(a_budget(limit=9, at_pct=50))
    changed = store.snapshot().budgets["tenant/acme"]
    store.remove_budget("acme.j.day")
    removed = store.budgets("acme")
    store.set_budget(a_budget())

    assert (a_budget(limit=9, at_pct=50),) == changed
    assert [] == removed
    assert [a_budget()] == [record.budget for record in store.budgets()]


@pytest.mark.parametrize(
    "changes",
    [
        {"tenant_id": "acme\n"},
        {"org": "group\n"},
        {"tenant_id": "Acme"},
        {"tenant_id": "_platform"},
        {"tenant_id": "a b"},
        {"name": ""},
        {"quality_floor": 1.5},
        {"rate_per_s": 0},
        {"burst": 0},
        {"regions": frozenset()},
    ],
)
def test_settings_outside_their_range_are_refused(store: TenancyStore, changes: dict[str, Any]) -> None:
    """The platform's own name cannot be taken; nothing is half written."""
    with pytest.raises(InvalidRequest):
        store.create_tenant(a_tenant(**changes))

    assert (0, []) == (store.revision(), store.tenants())


def test_names_that_are_none_are_not_found(store: TenancyStore) -> None:
    """The message says which there are."""
    store.create_tenant(a_tenant())

    with pytest.raises(NotFound, match="there are acme"):
        store.create_key("globex")
    with pytest.raises(NotFound, match="globex"):
        store.set_budget(a_budget(tenant="globex"))
    with pytest.raises(NotFound, match="key ls"):
        store.revoke_key("0123456789ab")
    with pytest.raises(NotFound, match="budget ls"):
        store.remove_budget("x")
    with pytest.raises(InvalidRequest, match="already"):
        store.create_tenant(a_tenant())


def test_a_key_cannot_be_born_expired(store: TenancyStore, clock: ManualClock) -> None:
    """An end in the past is a mistake, not a key."""
    store.create_tenant(a_tenant())

    with pytest.raises(InvalidRequest, match="would have expired"):
        store.create_key("acme", expires_us=clock.unix_us())


def test_the_pepper_is_private_and_its_loss_is_told(store: TenancyStore, book: SqliteLedger) -> None:
    """Mode 0600, made once; keys without it are an error, never silently invalid."""
    store.create_tenant(a_tenant())
    store.create_key("acme")
    path = pepper_path(book.path)
    assert 0o600 == stat.S_IMODE(path.stat().st_mode)

    path.chmod(0o644)
    with pytest.raises(LedgerUnavailable, match="chmod 600"):
        store.snapshot()
    path.unlink()
    with pytest.raises(LedgerUnavailable, match="is missing"):
        store.snapshot()
