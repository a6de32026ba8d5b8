"""Erasing a tenant from a ledger: what would go and what stays, and the one transaction that does it."""

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from heapq import merge
from pathlib import Path

import orjson
from sqlalchemy import Connection

from greenserve.carbon.entries import PLATFORM, decode_entry
from greenserve.carbon.erasing import (
    LONGEST_REASON,
    SUBJECT_BYTES,
    Kept,
    Leaves,
    Parts,
    erased_entry,
    is_shared,
    kept_of,
    key_after,
    subject_of,
)
from greenserve.carbon.late import month_text
from greenserve.carbon.ledger import schema
from greenserve.carbon.ledger.book import APPENDER, SqlLedger, append_with, driver_of
from greenserve.carbon.ledger.driver import Driver
from greenserve.carbon.ledger.intake import unshipped_lines
from greenserve.carbon.ledger.reserving import naming
from greenserve.carbon.ledger.restated_lines import held_of
from greenserve.carbon.ledger.rewriting import overwrite, rewriting
from greenserve.carbon.ledger.rollup import RollupKey
from greenserve.carbon.ledger.row import prepare
from greenserve.carbon.ledger.rows import put_rollups, put_spends, size_of
from greenserve.carbon.ledger.spend import Places, Spend, SpendKey, Spends, spend_line, spends_of
from greenserve.carbon.removed_keys import is_erased
from greenserve.carbon.tally import Tally
from greenserve.errors import InvalidRequest, LedgerUnavailable, NotFound
from greenserve.records import Entry

_LEAF = "SELECT idx, period, kind, key, attempt, revision, hour FROM entry"
_LEAVES = f"{_LEAF} WHERE tenant = ? ORDER BY idx"
_SETTLED = "SELECT body FROM entry WHERE tenant = ? AND kind = 'usage' AND revision > 0"
_ROLLUPS = "SELECT tenant, key_id, hour, model, variant, region, role, tally FROM rollup WHERE tenant = ?"
_NEWEST_HOUR = "SELECT body FROM entry WHERE tenant = ? AND kind = 'device_hour' ORDER BY hour DESC, idx DESC LIMIT 1"
_LAST_LINE = "SELECT max(idx) FROM entry WHERE tenant = ? AND kind = 'usage'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasure:
    """What an erasure does: its entry, how many rows of each kind lose their bodies, the hours that the sums are kept
    of [first, last] since 1970 UTC (None: there is no request), keys and budgets that go."""

    entry: Entry
    kinds: Mapping[str, int]
    hours: tuple[int, int] | None
    keys: int
    budgets: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """An erasure worked out: the rows of `entry` that get another key, those of reservations that name the tenant, its
    own sums, what is kept of them."""

    erasure: Erasure
    subject: str
    renamed: Sequence[tuple[int, bytes]]
    reserved: Sequence[int]
    rollups: Sequence[RollupKey]
    spends: Spends
    kept: Kept
    key_ids: frozenset[str]
    shared: frozenset[str]


def erase(
    ledger: SqlLedger,
    tenant: str,
    *,
    reason: str,
    actor: str | None,
    now_us: int,
    spools: Path,
    dry_run: bool = False,
) -> Erasure:
    """Remove a closed tenant's bodies, salt, names, keys and budgets, keep the totals of its hourly sums under a
    stand-in, and write the `erased` entry, all in one transaction; then overwrite the pages that held them.

    No writer may run meanwhile: LedgerUnavailable names it. InvalidRequest for a reason that is empty or too long, a
    tenant that is open or has a reservation, and lines that are not settled, not taken in from `spools`, or in hours
    that are not closed; NotFound for a tenant that the ledger does not know. With `dry_run` only what would be done.
    """
    text = reason.strip()
    if not text or len(text) > LONGEST_REASON:
        raise InvalidRequest(f"reason: write 1 to {LONGEST_REASON} characters; got {len(text)}")
    for name in (tenant, *(row[0] for row in ledger.query("SELECT name FROM tenant WHERE tenant_id = ?", (tenant,)))):
        if re.search(rf"(?<![\w-]){re.escape(name.casefold())}(?![\w-])", text.casefold()):
            raise InvalidRequest(f"reason: leave out {name!r}, it would stay in the ledger with this text")
    planned = partial(_planned, tenant=tenant, reason=text, actor=actor, now_us=now_us)
    if dry_run:
        _refuse_spooled(ledger, spools)
        with ledger.reading() as connection:
            return planned(driver_of(connection)).erasure
    lock = ledger.lock_writer()
    try:
        _refuse_spooled(ledger, spools)
        with rewriting(ledger) as connection:
            plan = planned(driver_of(connection))
            _remove(connection, tenant, plan)
            append_with(connection, [prepare(plan.erasure.entry)])
            connection.get_execution_options()[APPENDER].forget()
        overwrite(ledger)
    finally:
        lock.release()
    return plan.erasure


def erasures(ledger: SqlLedger) -> list[tuple[int, Entry]]:
    """The `erased` entries with their indices, in order."""
    found = ledger.query("SELECT idx, body FROM entry WHERE period = 0 AND kind = 'erased' ORDER BY idx")
    return [(idx, decode_entry(bytes(body))) for idx, body in found]


def _planned(driver: Driver, *, tenant: str, reason: str, actor: str | None, now_us: int) -> _Plan:
    _refuse_unready(driver, tenant)
    subject = subject_of(secrets.token_bytes(SUBJECT_BYTES))
    leaves, kinds, renamed = Leaves(), dict[str, int](), []
    # All reservations in force stand in one entry, the platform's; so those that name the tenant go whole.
    reserved = [told.idx for told in naming(driver, tenant)]
    more = [driver.all(f"{_LEAF} WHERE idx = ?", (idx,))[0] for idx in reserved]
    for idx, period, kind, key, attempt, revision, hour in merge(driver.each(_LEAVES, (tenant,)), more):
        new = key_after(kind, bytes(key), idx)
        leaves.take((idx, period, kind, new, attempt, revision, hour))
        kinds[kind] = kinds.get(kind, 0) + 1
        if kind != "usage":
            renamed.append((idx, new))
    parts = Parts()
    for (data,) in driver.each(_SETTLED, (tenant,)):
        parts.take(orjson.loads(bytes(data)))
    rollups = _rollups(driver, tenant)
    spends = _spends(driver, tenant, rollups)
    own = [row[0] for row in driver.all("SELECT key_id FROM api_key WHERE tenant_id = ?", (tenant,))]
    budgets = driver.all("SELECT count(*) FROM budget WHERE tenant_id = ?", (tenant,))[0][0]
    shared = _shared(driver, spends)
    kept = kept_of(subject, rollups, [(key, spends[key]) for key in spends if key.subject in shared])
    hours = [key.hour for key, _ in rollups]
    return _Plan(
        erasure=Erasure(
            entry=erased_entry(subject, leaves, parts, kept, reason=reason, actor=actor, at_us=now_us),
            kinds=kinds,
            hours=(min(hours), max(hours)) if hours else None,
            keys=len(own),
            budgets=budgets,
        ),
        subject=subject,
        renamed=renamed,
        reserved=reserved,
        rollups=[key for key, _ in rollups],
        spends={key: spend for key, spend in spends.items() if key.subject not in shared},
        kept=kept,
        key_ids=frozenset(own) | {key.key_id for key, _ in rollups if key.key_id},
        shared=shared,
    )


def _refuse_spooled(ledger: SqlLedger, spools: Path) -> None:
    left = unshipped_lines(spools, ledger.cursors()) if spools.is_dir() else {}
    if left:
        names = ", ".join(path.name for path in left)
        raise InvalidRequest(
            f"the spools {names} in {spools} hold {sum(left.values())} lines that the ledger has not taken in: start "
            "the gateway once and stop it, then erase"
        )


def _refuse_unready(driver: Driver, tenant: str) -> None:
    if tenant == PLATFORM or is_erased(tenant):
        raise InvalidRequest(f"{tenant} is no tenant: the platform's entries and what was erased stay")
    found = driver.all("SELECT closed_us FROM tenant WHERE tenant_id = ?", (tenant,))
    last = driver.all(_LAST_LINE, (tenant,))[0][0]
    if not found and last is None:
        known = [row[0] for row in driver.all("SELECT tenant_id FROM tenant ORDER BY tenant_id LIMIT 20")]
        raise NotFound(f"no tenant {tenant!r}; there are {', '.join(known) or 'none'}")
    if found and found[0][0] is None:
        raise InvalidRequest(
            f"tenant {tenant} is open: close it first with `greenserve tenant close {tenant}`, let the gateway run "
            "until its last hour is closed, and stop it"
        )
    moved = driver.all("SELECT DISTINCT period FROM entry WHERE tenant = ? AND body IS NULL ORDER BY period", (tenant,))
    if moved:
        months = ", ".join(month_text(period) for (period,) in moved)
        raise InvalidRequest(
            f"bodies of {tenant} lie in the archive of {months}: take them back first with `greenserve ledger archive "
            "--restore MONTH`, erase, then archive again"
        )
    waiting = driver.all("SELECT coalesce(sum(provisional), 0) FROM rollup WHERE tenant = ?", (tenant,))[0][0]
    if waiting:
        raise InvalidRequest(
            f"{waiting} requests of {tenant} are not settled: let the gateway's writer settle them (start the gateway "
            "once and stop it), then erase"
        )
    if last is not None and last >= _open_from(driver):
        raise InvalidRequest(
            f"the last hour of {tenant} may not be closed yet, and its lines are needed for that: let the gateway run "
            "until ten minutes after the end of the next hour, stop it, then erase"
        )
    _refuse_reserved(driver, tenant)


def _refuse_reserved(driver: Driver, tenant: str) -> None:
    """A reservation that is in force is written again by the next writer, and open hours are closed by theirs."""
    open_from = _open_from(driver)
    for told in naming(driver, tenant):
        if told.until is None:
            raise InvalidRequest(
                f"entry {told.idx} reserves a part of a device for {tenant}: take its lines out of "
                "tenancy.reservations, start the gateway, let it run until ten minutes after the end of the next hour, "
                "stop it, then erase"
            )
        if told.until >= open_from:
            raise InvalidRequest(
                f"an hour that is not closed may hold time that was reserved for {tenant}: let the gateway run until "
                "ten minutes after the end of the next hour, stop it, then erase"
            )


def _open_from(driver: Driver) -> int:
    """From which row on lines may belong to hours of devices that are not closed."""
    newest = driver.all(_NEWEST_HOUR, (PLATFORM,))
    if newest:
        return int(orjson.loads(bytes(newest[0][0]))["resume_index"])
    metered = driver.all("SELECT 1 FROM entry WHERE tenant = ? AND kind = 'device_interval' LIMIT 1", (PLATFORM,))
    return 0 if metered else size_of(driver)


def _rollups(driver: Driver, tenant: str) -> list[tuple[RollupKey, Tally]]:
    found = driver.all(_ROLLUPS, (tenant,))
    return sorted(
        ((RollupKey._make(names), Tally.from_json(bytes(data))) for *names, data in found), key=lambda row: row[0]
    )


def _spends(driver: Driver, tenant: str, rollups: Sequence[tuple[RollupKey, Tally]]) -> Spends:
    """What the tenant's lines add to the sums that budgets are read from; LedgerUnavailable where they do not give the
    hourly ones: what does not add up now never will."""
    places: Places = {}
    folded: dict[RollupKey, Tally] = {}
    size = size_of(driver)
    for hour in sorted({key.hour for key, _ in rollups}):
        for row, lines in held_of(driver, tenant, hour, size).candidates():
            tally = folded.setdefault(row, Tally())
            for line in lines:
                tally.add(line)
                tally.describe(line)
                spend_line(places, line, None)
    for key, stored in rollups:
        if folded.get(key, Tally()).to_json() != stored.to_json():
            raise LedgerUnavailable(
                f"the sums of {key} are not what its lines give: run `greenserve ledger verify` before anything is "
                "erased"
            )
    return spends_of(places)


def _shared(driver: Driver, spends: Spends) -> frozenset[str]:
    """The subjects that other tenants count for, too; an org that was this tenant's alone goes with it."""
    shared = set()
    for subject in {key.subject for key in spends if is_shared(key.subject)}:
        stored = {
            SpendKey(*row[:3]): Spend(*map(int, row[3:]))
            for row in driver.all("SELECT * FROM spend WHERE subject = ?", (subject,))
        }
        own = {key: spend for key, spend in spends.items() if key.subject == subject}
        if subject.startswith("model//") or {key: spend for key, spend in stored.items() if any(spend)} != own:
            shared.add(subject)
    return frozenset(shared)


def _remove(connection: Connection, tenant: str, plan: _Plan) -> None:
    driver = driver_of(connection)
    driver.many("UPDATE entry SET key = ? WHERE idx = ?", [(key, idx) for idx, key in plan.renamed])
    driver.many("UPDATE entry SET tenant = ?, body = NULL WHERE tenant = ?", [(plan.subject, tenant)])
    driver.many(
        "UPDATE entry SET tenant = ?, body = NULL WHERE idx = ?", [(plan.subject, one) for one in plan.reserved]
    )
    driver.many("DELETE FROM rollup WHERE tenant = ?", [(tenant,)])
    driver.many("DELETE FROM spend WHERE subject = ?", [(subject,) for subject in {key.subject for key in plan.spends}])
    for first, end in ((f"{kind}/{tenant}/", f"{kind}/{tenant}0") for kind in ("project", "model")):
        driver.many("DELETE FROM spend WHERE subject > ? AND subject < ?", [(first, end)])
    singles = [f"tenant/{tenant}", *(f"key/{key_id}" for key_id in plan.key_ids if f"key/{key_id}" not in plan.shared)]
    driver.many("DELETE FROM spend WHERE subject = ?", [(subject,) for subject in singles])
    put_rollups(driver, dict(plan.kept.rollups))
    put_spends(driver, dict(plan.kept.spends))
    driver.many("DELETE FROM tenant_salt WHERE tenant = ?", [(tenant,)])
    for table in ("tenant", "api_key", "budget"):
        driver.many(f"DELETE FROM {table} WHERE tenant_id = ?", [(tenant,)])
    connection.execute(schema.tenancy.update().values(revision=schema.tenancy.c.revision + 1))


def what_lies_outside(
    tenant: str, *, statements: Path, spools: Path, archived: Sequence[Path], is_sqlite: bool
) -> list[str]:
    """Where a tenant's data may lie beside the ledger's tables, in words; files that there are, by name.
    `archived` are those of months that were taken back (`archive.files_left`)."""
    kept = sorted(statements.glob(f"{tenant}-[0-9]*.json")) if statements.is_dir() else []
    left = sorted(spools.glob("*.spool")) if spools.is_dir() else []
    found = [f"{len(kept)} statements that were issued to it, in {statements}"] if kept else []
    if left:
        found.append(f"{len(left)} spools in {spools}: taken in, removed when the gateway is next started")
    found += [f"{path}: of a month that was taken back, holds its bodies as they were; remove it" for path in archived]
    database = (
        "copies and backups of the ledger's file"
        if is_sqlite
        else ("the server's backups, replicas and write-ahead log")
    )
    return [
        *found,
        database,
        "files that were written of it: exports, reports, proofs",
        "the gateway's logs and traces, and a response cache in Redis until its answers expire",
    ]
