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
    "key show 0123456789ab": "key ls",
    "key create": "--kind admin",
    "key create acme --kind admin": "admin keys to none",
    "key create --kind admin --models sentiment": "cannot infer",
    "key create acme --models other": "configured are sentiment",
    "key create acme --paths /admin/v1": "lies under one of /v2",
    "key create acme --rate fast": "--rate",
    "key rotate 0123456789ab --overlap soon": "--overlap",
    "key rotate 0123456789ab": "key ls",
    "key update 0123456789ab": "nothing to change",
    "key update 0123456789ab --unset colour": "project, models",
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


def test_a_key_is_rotated_with_an_overlap(greenserve: Any) -> None:
    """The new text alone on stdout, until when the old one works on stderr; its rules go with it."""
    _, made = greenserve(
        "tenant create acme",
        "key create acme --project web --models sentiment --paths /v2 --no-pin --rate 5/s --concurrency 3 --json",
    )
    old_id = made.document["key_id"]
    rotated, listed, shown = greenserve(f"key rotate {old_id} --overlap 1h", "key ls", f"key show {old_id} --json")
    new_id, _ = parse(rotated.out.strip())
    (successor,) = greenserve(f"key show {new_id} --json")

    rules = ("project", "models", "paths", "pin", "rate_per_s", "concurrency", "kind")
    assert ["web", ["sentiment"], ["/v2"], False, 5.0, 3, "inference"] == [made.document[name] for name in rules]
    assert [made.document[name] for name in rules] == [successor.document[name] for name in rules]
    assert (new_id, "active") == (shown.document["replaced_by"], shown.document["state"])
    assert shown.document["expires"] in rotated.err
    assert 80 >= max(map(len, listed.out.splitlines()))


def test_an_admin_key_belongs_to_no_tenant(greenserve: Any) -> None:
    """It is listed as such, and revoked like any other."""
    made, listed, shown = greenserve(
        "key create --kind admin --paths /admin/v1/usage --json", "key ls", "key ls --json"
    )
    (revoked,) = greenserve(f"key revoke {made.document['key_id']} --yes")

    assert (None, "admin", ["/admin/v1/usage"]) == tuple(made.document[name] for name in ("tenant", "kind", "paths"))
    assert "(admin)" in listed.out
    assert [None] == [key["tenant"] for key in shown.document["keys"]]
    assert "(admin)" in revoked.out


def test_the_rules_of_a_key_are_changed_and_taken_back(greenserve: Any) -> None:
    """What is not named stays."""
    _, made = greenserve("tenant create acme", "key create acme --project web --rate 5/s --json")
    changed, text = greenserve(
        f"key update {made.document['key_id']} --label ops --concurrency 2 --unset rate --json",
        f"key show {made.document['key_id']}",
    )

    names = ("label", "concurrency", "rate_per_s", "project")
    assert ["ops", 2, None, "web"] == [changed.document[name] for name in names]
    assert "project        web" in text.out
