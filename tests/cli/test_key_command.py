"""`greenserve key`."""

import json
from typing import Any

from greenserve.carbon.keys import parse

WRONG = {
    "key create nobody": "no tenant 'nobody'; there are acme",
    "key create acme --expires soon": "--expires",
    "key revoke 0123456789ab --yes": "key ls",
    "key revoke 0123456789ab": "--yes",
    "key ls nobody": "no tenant",
}


def test_a_key_is_shown_once_and_revoked_by_its_text_or_id(greenserve: Any) -> None:
    """stdout holds the key alone, so that a shell variable takes it; lists name it by its public id."""
    _, made, listed = greenserve("tenant create acme", "key create acme --label ci", "key ls acme --json")
    text = made.out.strip()
    revoked, after = greenserve(f"key revoke {text} --yes --json", "key ls --json")

    key_id, _ = parse(text)
    assert [(key_id, "acme", "active", "ci")] == [
        tuple(key[name] for name in ("key_id", "tenant", "state", "label")) for key in listed.document["keys"]
    ]
    assert text[16:] not in json.dumps(listed.document)
    assert text[16:] not in made.err
    assert "revoked" == revoked.document["state"] == after.document["keys"][0]["state"]


def test_a_key_may_end_by_itself(greenserve: Any) -> None:
    """An end in the future is listed with the key; the table fits 80 columns."""
    _, made, listed = greenserve("tenant create acme", "key create acme --expires 90d --json", "key ls")

    assert made.document["expires"] > made.document["created"]
    assert 80 >= max(map(len, listed.out.splitlines()))


def test_wrong_usage_is_told_with_exit_code_2(greenserve: Any) -> None:
    """No key is made or stopped by a mistake."""
    _, *wrong, listed = greenserve("tenant create acme", *WRONG, "key ls --json")

    assert [(2, "")] * len(WRONG) == [(done.code, done.out) for done in wrong]
    assert [] == [done.err for done, told in zip(wrong, WRONG.values(), strict=True) if told not in done.err]
    assert [] == listed.document["keys"]
