"""`greenserve ledger erase`: what would go, what went, what is left to do, and what verify says of it."""

import json
from pathlib import Path
from typing import Any

from greenserve.carbon.entries import unmetered_entry
from greenserve.records import Entry
from tests.cli.test_ledger_command import a_request, record

HUSH = "hush-hush-corp"


def both(tenant: str) -> list[Entry]:
    first = a_request(tenant)
    return [first, unmetered_entry(first.body)]


def test_a_closed_tenant_is_erased_and_the_ledger_verifies(folder: Path, greenserve: Any) -> None:
    """The output says what went, what stays and what lies outside; verify names the leaves with the reason."""
    greenserve(f"tenant create {HUSH}", f"key create {HUSH}", f"tenant close {HUSH} --yes")
    record(folder, [*both(HUSH), *both("acme")])
    (folder / "ledger.db.statements").mkdir()
    (folder / "ledger.db.statements" / f"{HUSH}-2026-01-01h00-2026-02-01h00-0123456789ab.json").write_text("{}")
    erase = ["ledger", "erase", "--tenant", HUSH, "--reason", "its contract ended"]

    dry, done, verified, again = greenserve(
        [*erase, "--dry-run"], [*erase, "--yes"], "ledger verify", [*erase, "--dry-run"]
    )

    assert (0, 0, 0, 2) == (dry.code, done.code, verified.code, again.code)
    assert "would go     5 bodies (1 key, 2 tenant, 2 usage), index 0 to 4" in dry.out
    assert "erased       5 bodies (1 key, 2 tenant, 2 usage), index 0 to 4" in done.out
    assert "with them    the salt, the name, 1 keys, 0 budgets" in done.out
    assert "kept         totals of 1 requests in 1 hourly sums of _erased-" in done.out
    assert "outside      1 statements that were issued to it" in done.out
    assert "erased: 5 entries between 0 and 4 of _erased-" in verified.out
    assert "its contract ended; their hashes are in the tree" in verified.out.replace("\n", " ")
    assert f"no tenant '{HUSH}'; there are none" in again.err
    assert HUSH.encode() not in (folder / "ledger.db").read_bytes()


def test_other_programs_are_told_the_same(folder: Path, greenserve: Any) -> None:
    """One JSON document each; the request that is gone is told apart from one that never was."""
    record(folder, [*both(HUSH), *(kept := both("acme"))])
    erase = ["ledger", "erase", "--tenant", HUSH, "--reason", "asked", "--yes", "--json"]

    done, verified, pages, receipt = greenserve(
        erase, "ledger verify --json", "ledger erase --overwrite --json", f"ledger receipt {kept[0].key}"
    )

    told, checked = json.loads(done.out), json.loads(verified.out)
    assert (False, 2, {"usage": 2}, 1) == tuple(
        told[name] for name in ("dry_run", "entries", "entries_by_kind", "requests_kept_in_sums")
    )
    assert [] == checked["findings"]
    assert (4, told["subject"], "asked", 2) == (
        checked["erased"][0]["index"], checked["erased"][0]["subject"], checked["erased"][0]["reason"],
        checked["erased"][0]["leaves"]["count"],
    )  # fmt: skip
    assert json.loads(pages.out)["size_bytes"] > 0
    assert 0 == receipt.code


def test_statements_of_others_replay_and_that_of_the_erased_says_why(folder: Path, greenserve: Any) -> None:
    """What was issued before stays as good as it was, where its entries are there."""
    greenserve(f"tenant create {HUSH}", "tenant create acme")
    record(folder, [*both(HUSH), *both("acme")])
    greenserve(
        f"report {HUSH} --period 2026-01 -f json -o hush.json", "report acme --period 2026-01 -f json -o acme.json",
        f"tenant close {HUSH} --yes",
    )  # fmt: skip

    erased, hush, acme, verified = greenserve(
        ["ledger", "erase", "--tenant", HUSH, "--reason", "asked", "--yes"], "ledger replay hush.json",
        "ledger replay acme.json", "ledger verify",
    )  # fmt: skip

    assert [0, 2, 0, 0] == [erased.code, hush.code, acme.code, verified.code]
    assert "were erased, with their tenant" in hush.err.replace("\n", " ")
    assert "hourly sums of _erased-" in hush.err.replace("\n", " ")


def test_an_erasure_is_asked_for_in_full(folder: Path, greenserve: Any) -> None:
    """Without a tenant, a reason or a yes nothing is erased, and the message says what is missing."""
    record(folder, both(HUSH))
    commands = [
        ["ledger", "erase", "--tenant", HUSH],
        ["ledger", "erase", "--tenant", HUSH, "--reason", "asked"],
        ["ledger", "erase", "--overwrite", "--tenant", HUSH],
    ]

    bare, unsure, mixed = greenserve(*commands)

    assert (2, 2, 2) == (bare.code, unsure.code, mixed.code)
    assert "give --tenant NAME and --reason TEXT" in bare.err
    assert f"Erase 2 entries of {HUSH} for good? Off a terminal, say --yes" in unsure.err.replace("\n", " ")
    assert "--overwrite stands alone" in mixed.err


def test_a_reason_that_names_the_tenant_is_refused(folder: Path, greenserve: Any) -> None:
    """Its id or what people call it, in any letters, as a word of its own."""
    greenserve(["tenant", "create", HUSH, "--name", "Hush & Söhne"], f"tenant close {HUSH} --yes")
    record(folder, both(HUSH))
    erase = ["ledger", "erase", "--tenant", HUSH, "--dry-run", "--reason"]

    capitals, called, other = greenserve(
        [*erase, "HUSH-Hush-Corp asked"], [*erase, "asked by hush & SÖHNE"], [*erase, "hush-hush-corporate policy"]
    )

    assert (2, 2, 0) == (capitals.code, called.code, other.code), other.err
    assert "leave out 'hush-hush-corp'" in " ".join(capitals.err.split())
    assert "leave out 'Hush & Söhne'" in " ".join(called.err.split())
