"""Keys over the administration API: who may hand out what, and secrets that are shown once."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from greenserve.config import Config
from greenserve.errors import InvalidKey
from greenserve.serve.gateway import Gateway
from tests.serve.administering import Administered, administered, key_id_of


@pytest.fixture
async def api(gateway: Gateway, config: Config, tmp_path: Path) -> AsyncIterator[Administered]:
    """The API over a running gateway."""
    async with administered(gateway, config, tmp_path) as running:
        yield running


KEYS = "/admin/v1/keys"


async def test_a_key_is_made_shown_once_and_works(api: Administered) -> None:
    """Its text is in the answer that makes it and nowhere else; the gateway takes it."""
    made = await api.ask("POST", KEYS, {"tenant": "acme", "label": "batch", "project": "nightly", "models": ["tiny"]})
    api.know()
    key_id, text = made.json()["key_id"], made.json()["key"]

    shown = await api.ask("GET", f"{KEYS}/{key_id}")
    listed = await api.get("keys", tenant="acme")

    assert 201 == made.status_code
    assert text.startswith(f"gs_{key_id}_")
    assert ("acme", "nightly") == (api.gateway.admission.authenticate(text).tenant.tenant_id, shown.json()["project"])
    secret = text.split("_")[2]
    assert secret not in shown.text
    assert all(secret not in str(one) and "hmac" not in one for one in listed["items"])
    assert key_id in {one["key_id"] for one in listed["items"]}


async def test_a_rotated_key_works_until_the_overlap_ends(api: Administered) -> None:
    """The new one has the same rules; the old one says by which it was replaced."""
    old_id = key_id_of(api.acme_key)

    made = await api.ask("POST", f"{KEYS}/{old_id}:rotate", {"overlap": "1h"})
    old = (await api.ask("GET", f"{KEYS}/{old_id}")).json()
    again = await api.ask("POST", f"{KEYS}/{old_id}:rotate")

    assert (201, "web", "active") == (made.status_code, made.json()["project"], old["state"])
    assert made.json()["key_id"] == old["replaced_by"]
    assert old["expires"] is not None
    assert (422, True) == (again.status_code, "rotated" in again.json()["detail"])


async def test_a_revoked_key_is_refused(api: Administered) -> None:
    """At once for whoever reads anew, and for good."""
    path = f"{KEYS}/{key_id_of(api.acme_key)}"

    revoked = await api.ask("POST", f"{path}:revoke")
    api.know()
    again = await api.ask("POST", f"{path}:revoke")

    assert (200, "revoked", 422) == (revoked.status_code, revoked.json()["state"], again.status_code)
    with pytest.raises(InvalidKey, match="was revoked"):
        api.gateway.admission.authenticate(api.acme_key)


async def test_a_key_changes_by_merge_patch_for_the_revision_that_was_read(api: Administered) -> None:
    """Null takes a rule back; an older ETag is 412, for rotation and revocation as well."""
    path = f"{KEYS}/{key_id_of(api.acme_key)}"
    first = (await api.ask("GET", path)).headers["etag"]

    narrowed = await api.ask("PATCH", path, {"models": ["tiny"], "pin": False, "label": "x"}, if_match=first)
    widened = await api.ask("PATCH", path, {"models": None, "pin": None, "project": None})
    stale = [
        await api.ask("PATCH", path, {"burst": 1}, if_match=first),
        await api.ask("POST", f"{path}:rotate", if_match=first),
        await api.ask("POST", f"{path}:revoke", if_match=first),
    ]

    assert (["tiny"], False, "x") == tuple(narrowed.json()[name] for name in ("models", "pin", "label"))
    assert (None, True, "x", None) == tuple(widened.json()[name] for name in ("models", "pin", "label", "project"))
    assert [412, 412, 412] == [one.status_code for one in stale]


async def test_keys_are_filtered_by_kind_and_state(api: Administered) -> None:
    """Admin keys belong to no tenant."""
    admins = (await api.get("keys", kind="admin"))["items"]

    assert [(key_id_of(api.admin_key), None)] == [(one["key_id"], one["tenant"]) for one in admins]
    assert [] == (await api.get("keys", state="expired"))["items"]


async def test_no_key_is_401_and_an_inference_key_403(api: Administered) -> None:
    """Also where anonymous callers may infer, as here."""
    nobody = await api.client.get(KEYS)
    wrong = await api.client.get(KEYS, headers={"authorization": "Basic eDp5"})
    tenant = await api.ask("GET", KEYS, key=api.acme_key)

    assert [(401, "invalid-key"), (401, "invalid-key"), (403, "key-blocked")] == [
        (one.status_code, one.json()["code"]) for one in (nobody, wrong, tenant)
    ]
    assert "Bearer" == nobody.headers["www-authenticate"]


async def test_a_narrow_admin_key_stays_narrow(api: Administered) -> None:
    """It sees its paths alone, and cannot make, widen or rotate itself into a key that may do more."""
    made = await api.ask("POST", KEYS, {"kind": "admin", "paths": ["/admin/v1/keys"]})
    api.know()
    narrow, path = made.json()["key"], f"{KEYS}/{made.json()['key_id']}"
    wide = f"{KEYS}/{key_id_of(api.admin_key)}"

    refused = [
        await api.ask("GET", "/admin/v1/tenants", key=narrow),
        await api.ask("POST", KEYS, {"kind": "admin"}, key=narrow),
        await api.ask("POST", KEYS, {"kind": "admin", "paths": ["/admin/v1/keys", "/admin/v1/audit"]}, key=narrow),
        await api.ask("PATCH", path, {"paths": None}, key=narrow),
        await api.ask("POST", f"{wide}:rotate", key=narrow),
        await api.ask("PATCH", wide, {"label": "mine"}, key=narrow),
    ]
    allowed = [
        await api.ask("GET", KEYS, key=narrow),
        await api.ask("POST", KEYS, {"kind": "admin", "paths": ["/admin/v1/keys/x"]}, key=narrow),
        await api.ask("POST", KEYS, {"tenant": "acme"}, key=narrow),
        await api.ask("POST", f"{path}:rotate", key=narrow),
    ]

    assert [(403, "key-blocked")] * len(refused) == [(one.status_code, one.json()["code"]) for one in refused]
    assert [200, 201, 201, 201] == [one.status_code for one in allowed]
