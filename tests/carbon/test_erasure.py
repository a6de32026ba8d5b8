"""Erasing a tenant: nothing of it can be found, its totals stay, and the ledger still verifies."""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from greenserve.carbon.budgets import Budget
from greenserve.carbon.entries import UsageLine, unmetered_entry, usage_entry
from greenserve.carbon.ledger.erasure import Erasure, erase, erasures
from greenserve.carbon.ledger.export import write_lines
from greenserve.carbon.ledger.lookup import changes, lines_of_request
from greenserve.carbon.ledger.merkle import fold
from greenserve.carbon.ledger.opening import open_ledger
from greenserve.carbon.ledger.proofs import check_proof, prove_consistency, prove_request, verifiers
from greenserve.carbon.ledger.restatement import restate
from greenserve.carbon.ledger.rows import SALT_SECRET_BYTES
from greenserve.carbon.ledger.sqlite import SqliteLedger
from greenserve.carbon.ledger.tenancy import TenancyStore
from greenserve.carbon.scope import EVERYBODY
from greenserve.errors import InvalidRequest, LedgerUnavailable, NotFound
from greenserve.records import Tenant
from tests.carbon.restatements import NOW_US, a_reading, a_scope, both, both_ways
from tests.carbon.statements import AT_US, HOUR_US
from tests.carbon.worlds import World, past_the_hour, steps

Lines = Callable[..., UsageLine]
HUSH = "hush-hush-corp"


def used_and_closed(world: World, a_line: Lines) -> list[str]:
    """Two tenants with keys, budgets and requests in hours that are closed; one of them is closed, too."""
    store = TenancyStore(world.book, world.clock)
    store.create_tenant(Tenant(tenant_id=HUSH, name="Hush Hush & Sons", org="hush-group"))
    store.create_tenant(Tenant(tenant_id="acme", name="Acme"))
    _, key = store.create_key(HUSH, label="secret-label")
    store.set_budget(Budget(budget_id=f"{HUSH}.j.day", tenant=HUSH, unit="J", limit=10**9, per="day", mode="warn"))
    ingest = world.open()
    ids = []
    for number in range(6):
        own = {"tenant": HUSH, "key_id": key.key_id, "org": "hush-group", "project": "hush-project"}
        ids.append(world.request(a_line, **(own if number % 2 else {}), charged=number != 3))
        if number == 2:
            steps(world, ingest, 5)
    steps(world, ingest, 5)
    store.close_tenant(HUSH)
    past_the_hour(world)
    steps(world, ingest, 2)
    ingest.finish()
    world.spool.close()
    world.open("run-2").finish()
    return ids


def gone(world: World, **changed: Any) -> Erasure:
    """The erasure of the closed tenant."""
    told: dict[str, Any] = {
        "reason": "its contract ended", "actor": "cli:root", "now_us": world.clock.unix_us(),
        "spools": world.folder / "spool",
    }  # fmt: skip
    return erase(world.book, HUSH, **(told | changed))


def settled_hours(world: World) -> dict[str, Any]:
    rows = world.book.rollup_rows(None, 0, 10**7)
    whole = {"requests": 0, "energy_uj": 0, "loc_lifecycle_ng": 0, "not_charged": 0}
    for _, tally in rows:
        for name in whole:
            whole[name] += getattr(tally, name)
    return whole


def test_a_ledger_verifies_without_the_bodies_of_an_erased_tenant(world: World, a_line: Lines) -> None:
    """Leaves, shares, conservation and all sums; the entry says which leaves, by whom and why."""
    used_and_closed(world, a_line)
    before, totals = world.book.head(), settled_hours(world)
    assert [] == world.book.verify()

    found = gone(world)

    ((idx, entry),) = erasures(world.book)
    body: Any = entry.body
    rows = [row for row in world.book.rows() if row.body is None]
    assert [] == world.book.verify()
    assert (idx, before.size) == (before.size, idx)
    assert before.root == world.book.root_at(before.size)
    assert found.entry == entry
    assert ("its contract ended", "cli:root") == (body["reason"], body["actor"])
    assert (len(rows), rows[0].idx, rows[-1].idx) == tuple(body["leaves"][name] for name in ("count", "first", "last"))
    assert {"tenant", "key", "budget", "usage", "share"} == set(found.kinds)
    assert totals == settled_hours(world)
    assert (2, 1, 1) == (body["kept"]["requests"], found.keys, found.budgets)


def test_nothing_of_an_erased_tenant_is_left_in_the_tables(world: World, a_line: Lines) -> None:
    """No name, id, key, org of its own, project or salt in any column of any table."""
    used_and_closed(world, a_line)
    salt = world.book.salt_secrets([HUSH])[HUSH]
    (key,) = TenancyStore(world.book, world.clock).keys(HUSH)

    gone(world)

    words: list[str | bytes] = [
        HUSH,
        "Hush Hush",
        "hush-group",
        "hush-project",
        "secret-label",
        key.key_id,
        key.hmac,
        salt,
    ]
    assert SALT_SECRET_BYTES == len(salt)
    assert [] == [word for word in words if found_in_tables(world, word)]


def found_in_tables(world: World, word: str | bytes) -> bool:
    tables = ("entry", "rollup", "spend", "tenant", "api_key", "budget", "tenant_salt", "checkpoint", "intake_cursor")
    wanted = word.encode() if isinstance(word, str) else word
    for table in tables:
        for row in world.book.query(f"SELECT * FROM {table}"):
            for value in row:
                data = value.encode() if isinstance(value, str) else bytes(value) if isinstance(value, bytes) else b""
                if wanted in data:
                    return True
    return False


def test_nothing_of_an_erased_tenant_is_left_in_the_file(world: World, a_line: Lines) -> None:
    """Neither in the database's pages nor in its log, also where pages were freed before."""
    if not isinstance(world.book, SqliteLedger):
        pytest.skip("a server's files are its own; its tables are written anew")
    ids = used_and_closed(world, a_line)
    path = world.book.path
    with sqlite3.connect(path) as file:
        # As pages are freed where SQLite was built without secure_delete.
        file.execute("PRAGMA secure_delete = OFF")
        file.execute("CREATE TABLE passing (word TEXT)")
        file.executemany("INSERT INTO passing VALUES (?)", [(f"{number} of {HUSH}",) for number in range(1_000)])
        file.execute("DROP TABLE passing")
    file.close()
    files = [path, path.with_name(path.name + "-wal")]
    held = b"".join(file.read_bytes() for file in files)

    gone(world)

    left = b"".join(file.read_bytes() for file in files if file.exists())
    words = [HUSH.encode(), b"Hush Hush", b"hush-group", b"hush-project", b"secret-label", ids[1].encode()]
    assert words == [word for word in words if word in held]
    assert [] == [word for word in words if word in left]
    assert b"acme" in left


def test_statements_of_others_and_of_the_operator_keep_their_totals(world: World, a_line: Lines) -> None:
    """From sums and from entries, difference 0; the erased tenant's energy stands beside under its stand-in."""
    used_and_closed(world, a_line)
    start_us, end_us = AT_US, AT_US + 24 * HOUR_US
    own, whole = (a_scope(world.book, start_us=start_us, end_us=end_us, tenant=one) for one in ("acme", EVERYBODY))
    before = [both_ways(world.book, scope) for scope in (own, whole)]
    subject = str(gone(world).entry.body["subject"])

    own, whole = (a_scope(world.book, start_us=start_us, end_us=end_us, tenant=one) for one in ("acme", EVERYBODY))
    after = [both_ways(world.book, scope) for scope in (own, whole)]

    for scope, (sums, folded) in zip(("acme", EVERYBODY), after, strict=True):
        assert sums == folded, scope
        assert "0" == str(float(sums["reconciliation"]["difference_joules"])).rstrip("0").rstrip(".")
    for (old, _), (new, _) in zip(before, after, strict=True):
        assert old["totals"] == new["totals"]
        assert old["reconciliation"] == new["reconciliation"]
    assert HUSH not in str(after)
    assert subject in str(after[1][0])


def test_the_rules_hold_again_after_an_erasure(world: World, a_line: Lines) -> None:
    """The triggers are back; the same id can be a new tenant, whose entries begin anew."""
    used_and_closed(world, a_line)
    gone(world)
    store = TenancyStore(world.book, world.clock)

    with pytest.raises(LedgerUnavailable, match="append-only"):
        refused_update(world)
    store.create_tenant(Tenant(tenant_id=HUSH, name="again"))
    store.create_key(HUSH)

    assert [] == world.book.verify()
    assert [HUSH, HUSH, "acme"] == [line.body["tenant"] for line in all_changes(world)]


def refused_update(world: World) -> None:
    with world.book.writing() as connection:
        connection.exec_driver_sql("RESET ROLE" if not world.book.is_sqlite else "SELECT 1")
        connection.exec_driver_sql("UPDATE entry SET body = NULL")


def all_changes(world: World) -> list[Any]:
    return changes(world.book, before=None, limit=10, kind=None, tenant=None)


def test_questions_after_an_erased_request_say_so(world: World, a_line: Lines) -> None:
    """Receipts and proofs of others go on; the erased one's names the entry; resending it is harmless."""
    ids = used_and_closed(world, a_line)
    sizes = (world.book.head().size, world.book.head().size + 1)
    again = usage_entry(a_line(tenant=HUSH, request_id=ids[1]))
    gone(world)

    with pytest.raises(NotFound, match=r"was erased with its tenant's entries: entry \d+ says when and why"):
        lines_of_request(world.book, ids[1])
    with pytest.raises(NotFound, match="was erased"):
        prove_request(world.book, ids[1])

    verifier = verifiers(world.book)[-1]
    assert [] == check_proof(prove_request(world.book, ids[0]), verifier)
    assert [] == check_proof(prove_consistency(world.book, *sizes), verifier)
    assert 0 == world.book.append([again])
    assert [] == world.book.verify()


def test_an_export_still_makes_the_root(world: World, a_line: Lines, tmp_path: Path) -> None:
    """Erased leaves stand in it by their hashes alone."""
    used_and_closed(world, a_line)
    gone(world)
    with (tmp_path / "lines").open("wb") as file:
        write_lines(world.book, file)

    lines = [json.loads(line) for line in (tmp_path / "lines").read_text().splitlines()]
    assert world.book.head().root == fold([bytes.fromhex(line["leaf"]) for line in lines]).hex()
    assert [line["idx"] for line in lines if line["body"] is None] == [i["idx"] for i in lines if i["salt"] is None]


def test_a_later_restatement_leaves_kept_totals_alone(world: World, a_line: Lines) -> None:
    """Lines that are gone cannot be restated; those of others are, and all of it verifies."""
    used_and_closed(world, a_line)
    subject = str(gone(world).entry.body["subject"])
    kept = [row for row in world.book.rollup_rows(None, 0, 10**7) if row[0].tenant == subject]

    found = restate(world.book, [a_reading(end_us=NOW_US)], reason="revised", now_us=NOW_US)

    assert {"acme"} == {row.row.tenant for row in found.rows}
    assert kept == [row for row in world.book.rollup_rows(None, 0, 10**7) if row[0].tenant == subject]
    assert [] == world.book.verify()


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE entry SET hour = hour + 1 WHERE body IS NULL", "the rows say"),
        ("UPDATE entry SET tenant = '_erased-0' WHERE body IS NULL", "which no erased entry speaks of"),
        ("UPDATE rollup SET requests = requests + 1 WHERE tenant LIKE '%erased%'", "its columns are"),
        ("DELETE FROM rollup WHERE tenant LIKE '%erased%'", "kept sums were"),
        ("UPDATE spend SET energy_uj = energy_uj + 1 WHERE subject LIKE '%erased%'", "kept sums were"),
        ("UPDATE spend SET energy_uj = energy_uj + 1 WHERE subject LIKE 'model//%'", "spend SpendKey"),
        ("UPDATE entry SET body = NULL WHERE kind = 'usage' AND tenant = 'acme'", "which no erased entry speaks of"),
    ],
)
def test_what_is_changed_after_an_erasure_is_found(tmp_path: Path, a_line: Lines, statement: str, words: str) -> None:
    """Kept sums and the rows that are gone are bound by the entry; more that goes is named."""
    world = World(tmp_path, open_ledger("", tmp_path / "ledger.db"))
    used_and_closed(world, a_line)
    gone(world)
    with sqlite3.connect(world.book.path) as file:
        file.execute("DROP TRIGGER entry_no_update")
        file.execute(statement)
    file.close()

    findings = world.book.verify()
    world.book.close()

    assert any(words in finding for finding in findings), findings


def test_a_dry_run_erases_nothing(world: World, a_line: Lines) -> None:
    """The same counts as the run that follows, and the ledger as it was."""
    used_and_closed(world, a_line)
    head = world.book.head()

    dry = gone(world, dry_run=True)
    unchanged = world.book.head()
    done = gone(world)

    assert head == unchanged
    assert (dry.kinds, dry.hours, dry.keys, dry.budgets) == (done.kinds, done.hours, done.keys, done.budgets)
    kept: list[Any] = [one.entry.body["kept"] for one in (dry, done)]
    assert kept[0]["requests"] == kept[1]["requests"]


def test_an_erasure_waits_until_everything_is_settled_and_closed(world: World, a_line: Lines) -> None:
    """Open tenants, provisional lines, spooled lines, open hours and a writer each refuse it, and say what to do."""
    store = TenancyStore(world.book, world.clock)
    with pytest.raises(NotFound, match="no tenant 'hush-hush-corp'; there are none"):
        gone(world)
    store.create_tenant(Tenant(tenant_id=HUSH, name="Hush"))
    with pytest.raises(InvalidRequest, match="is open: close it first"):
        gone(world)
    store.close_tenant(HUSH)
    ingest = world.open()
    world.request(a_line, tenant=HUSH)
    with pytest.raises(LedgerUnavailable, match="already; stop"):
        gone(world)
    ingest.abandon()
    with pytest.raises(InvalidRequest, match="hold 1 lines that the ledger has not taken in"):
        gone(world)
    ingest = world.open()
    ingest.step()
    ingest.abandon()
    with pytest.raises(InvalidRequest, match="1 requests of hush-hush-corp are not settled"):
        gone(world)
    ingest = world.open()
    steps(world, ingest, 5)
    ingest.finish()
    with pytest.raises(InvalidRequest, match="last hour of hush-hush-corp may not be closed"):
        gone(world)
    assert [] == erasures(world.book)


@pytest.mark.parametrize("reason", ["", " ", "x" * 201, f"because {HUSH} asked"])
def test_a_reason_is_given_and_tells_no_name(world: World, reason: str) -> None:
    """It stays in the ledger for ever."""
    with pytest.raises(InvalidRequest, match="reason"):
        gone(world, reason=reason)


def test_the_platform_is_no_tenant(world: World) -> None:
    """Its entries are those of the devices."""
    with pytest.raises(InvalidRequest, match="no tenant"):
        erase(world.book, "_platform", reason="x", actor=None, now_us=AT_US, spools=world.folder)


def test_an_interrupted_erasure_changes_nothing(tmp_path: Path, a_line: Lines) -> None:
    """A failure in the transaction undoes it, with the rules in force."""
    world = World(tmp_path, open_ledger("", tmp_path / "ledger.db"))
    used_and_closed(world, a_line)
    head = world.book.head()
    with sqlite3.connect(world.book.path) as file:
        file.execute("CREATE TRIGGER stop BEFORE DELETE ON api_key BEGIN SELECT RAISE(ABORT, 'no'); END")
    file.close()

    with pytest.raises(LedgerUnavailable, match="no"):
        gone(world)

    assert head == world.book.head()
    assert [] == world.book.verify()
    with pytest.raises(LedgerUnavailable, match="append-only"):
        refused_update(world)
    world.book.close()


def test_two_tenants_can_be_erased_one_after_the_other(world: World, a_line: Lines) -> None:
    """Each with its own stand-in; sums that they shared keep both parts."""
    used_and_closed(world, a_line)
    gone(world)
    TenancyStore(world.book, world.clock).close_tenant("acme")

    erase(
        world.book, "acme", reason="ended, too", actor=None, now_us=world.clock.unix_us(), spools=world.folder / "spool"
    )

    assert 2 == len({entry.body["subject"] for _, entry in erasures(world.book)})
    assert [] == world.book.verify()


def test_a_ledger_without_meters_can_be_erased_from(tmp_path: Path, a_line: Lines) -> None:
    """No hour waits to be closed where nothing is metered; a tenant that was never created has lines alone."""
    book = open_ledger("", tmp_path / "ledger.db")
    book.append([*both(a_line(tenant=HUSH)), *both(a_line())])
    first = usage_entry(a_line(tenant=HUSH, usage=None))
    book.append([first, unmetered_entry(first.body)])

    found = erase(book, HUSH, reason="asked", actor=None, now_us=NOW_US, spools=tmp_path)

    assert {"usage": 4} == found.kinds
    assert [] == book.verify()
    book.close()


def test_a_restated_tenant_can_be_erased(tmp_path: Path, a_line: Lines) -> None:
    """Its restatements go with it; the totals kept are the restated ones."""
    book = open_ledger("", tmp_path / "ledger.db")
    book.append([*both(a_line(tenant=HUSH)), *both(a_line())])
    restate(book, [a_reading()], reason="revised", now_us=NOW_US)
    before = sum(tally.loc_lifecycle_ng for _, tally in book.rollup_rows(None, 0, 10**7))

    erase(book, HUSH, reason="asked", actor=None, now_us=NOW_US, spools=tmp_path)

    assert before == sum(tally.loc_lifecycle_ng for _, tally in book.rollup_rows(None, 0, 10**7))
    assert [] == book.verify()
    book.close()
