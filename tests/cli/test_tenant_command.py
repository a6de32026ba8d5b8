"""`greenserve tenant`."""

import json
import os
import pwd
from typing import Any

WRONG = {
    "tenant show nobody": "no tenant 'nobody'",
    "tenant create Not_Allowed": "a-z, 0-9",
    "tenant create x --rate fast": "--rate",
    "tenant create x --regions mars": "configured are north",
    "tenant create x --org Umbrella_": "org 'Umbrella_'",
    "tenant create x --tokens many": "--tokens",
    "tenant create x --concurrency 0": "concurrency: 1 to",
    "tenant create x --quality-floor 2": "0 to 1, got 2",
    "tenant update acme": "nothing to change",
    "tenant update acme --unset colour": "quality-floor",
    "tenant close acme": "--yes",
}


def test_a_tenant_is_made_changed_listed_and_closed(greenserve: Any) -> None:
    """Rules given are rules shown; what is taken back is null again."""
    made, changed, closed, listed = (
        done.document
        for done in greenserve(
            "tenant create acme --rate 20/s --regions north --quality-floor 0.8 --json",
            "tenant update acme --unset rate --policy min-carbon --json",
            "tenant close acme --yes --json",
            "tenant ls --json",
        )
    )

    assert ("greenserve.tenant/1", 20.0, ["north"], 0.8, "open") == tuple(
        made[name] for name in ("schema", "rate_per_s", "regions", "quality_floor", "state")
    )
    assert (None, "min-carbon", 0.8) == (changed["rate_per_s"], changed["policy"], changed["quality_floor"])
    assert "closed" == closed["state"] == listed["tenants"][0]["state"]


def test_a_tenant_may_belong_to_an_org_and_have_limits(greenserve: Any) -> None:
    """Listed by org; limits are shown, and taken back by name."""
    _, _, of_org, shown, changed = greenserve(
        "tenant create acme --org umbrella --tokens 5000/s --concurrency 8",
        "tenant create globex",
        "tenant ls --org umbrella --json",
        "tenant show acme",
        "tenant update acme --unset org,tokens --json",
    )

    (only,) = of_org.document["tenants"]
    assert ("acme", "umbrella", 5000.0, 8) == tuple(
        only[name] for name in ("tenant", "org", "tokens_per_s", "concurrency")
    )
    assert "org            umbrella" in shown.out
    assert (None, None, 8) == tuple(changed.document[name] for name in ("org", "tokens_per_s", "concurrency"))


def test_the_table_fits_a_terminal(greenserve: Any) -> None:
    """80 columns, data on stdout, the next step on stderr."""
    made, listed = greenserve(
        "tenant create a-tenant-with-a-long-name --policy balanced --rate 200/s --burst 400 --quality-floor 0.75 "
        "--quality-mean 0.9 --regions north --org an-org-with-a-long-name --tokens 100000/s --concurrency 64",
        "tenant ls",
    )

    assert "greenserve key create" in made.err
    assert "next" not in made.out
    assert 80 >= max(map(len, (made.out + listed.out).splitlines()))
    assert "floor 0.75" in listed.out


def test_wrong_usage_is_told_with_exit_code_2(greenserve: Any) -> None:
    """What was given, what is allowed, what to do; nothing on stdout."""
    _, *wrong = greenserve("tenant create acme", *WRONG)

    assert [(2, "")] * len(WRONG) == [(done.code, done.out) for done in wrong]
    assert [] == [done.err for done, told in zip(wrong, WRONG.values(), strict=True) if told not in done.err]


def test_changes_by_command_name_the_user(greenserve: Any) -> None:
    """Tenants, keys and budgets alike: the entry says cli:USER, and verifies."""
    (*_, exported, verified) = greenserve(
        "tenant create acme",
        "key create acme",
        "budget set acme 1kJ",
        "tenant update acme --rate 5/s",
        "ledger export",
        "ledger verify",
    )

    actors = [json.loads(line)["body"]["actor"] for line in exported.out.splitlines()]
    assert 4 == len(actors)
    assert {f"cli:{pwd.getpwuid(os.getuid()).pw_name}"} == set(actors)
    assert 0 == verified.code
