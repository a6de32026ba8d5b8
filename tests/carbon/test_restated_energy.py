"""A fault found in a meter, restated in a ledger: sums, statements, receipts and verification follow."""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import pytest

from greenserve.carbon.budgets import Budget
from greenserve.carbon.entries import UsageLine
from greenserve.carbon.ledger.closing import GRACE_HOURS, close_period
from greenserve.carbon.ledger.erasure import erase
from greenserve.carbon.ledger.restated_receipt import receipt_lines
from greenserve.carbon.ledger.restatement import devices_of, restate
from greenserve.carbon.receipt import receipt_document
from greenserve.carbon.rescaling import EnergyRevision, energy_body
from greenserve.carbon.revision import revise
from greenserve.carbon.scope import EVERYBODY
from greenserve.carbon.statement_audit import faults_of
from greenserve.errors import LedgerUnavailable
from tests.carbon.restatements import NOW_US, a_scope, both_ways, document
from tests.carbon.statements import AT_US, DAY_US, HOUR_US
from tests.carbon.worlds import HOUR, World, past_the_hour, steps

Lines = Callable[..., UsageLine]
MONTH_END_US = AT_US + 31 * DAY_US


def a_fault(world: World, scale_ppm: int = 1_200_000) -> Mapping[str, Any]:
    ((device, settled_by),) = devices_of(world.book, AT_US, AT_US + HOUR_US).items()
    assert settled_by is None
    return energy_body(
        EnergyRevision(
            device=device, by_cpu_time=True, start_us=AT_US, end_us=AT_US + HOUR_US, scale_ppm=scale_ppm,
            code="meter_fault", source="calibrated against a wall meter",
        )
    )  # fmt: skip


def used(world: World, a_line: Lines) -> list[str]:
    """Requests of two tenants in an hour that is closed."""
    ingest = world.open()
    ids = [world.request(a_line, tenant=("acme", "globex")[number % 2]) for number in range(4)]
    steps(world, ingest, 5)
    past_the_hour(world)
    steps(world, ingest, 2)
    ingest.finish()
    return ids


def test_energy_is_restated_and_every_view_follows(world: World, a_line: Lines) -> None:
    """Sums, budgets, both ways of a statement; intervals stay as read, and the bridge closes with the difference."""
    used(world, a_line)
    budget = Budget(budget_id="b", tenant="acme", unit="J", limit=10**9, per="lifetime", mode="warn")
    before = document(world.book, a_scope(world.book))
    used_uj = world.book.used(budget, NOW_US)

    found = restate(world.book, [a_fault(world)], reason="the meter read 20 % low", now_us=NOW_US)

    sums, folded = both_ways(world.book, a_scope(world.book))
    old_j, new_j = (Decimal(one["totals"]["energy_joules"]) for one in (before, sums))
    bridge = sums["reconciliation_of_tenant"]
    assert ["factor", "restated", "restated"] == [entry.kind for entry in found.entries]
    assert (100_000, 120_000) == found.totals("energy_uj")
    assert sums == folded
    assert (Decimal("0.050"), Decimal("0.060")) == (old_j, new_j)
    assert before["reconciliation"] == sums["reconciliation"]
    assert ["0.010000", "0.000000"] == [bridge[f"{name}_joules"] for name in ("restated", "difference")]
    assert used_uj + 10_000 == world.book.used(budget, NOW_US)
    assert [] == world.book.verify()
    assert [] == list(faults_of(sums))


def test_the_statement_says_why(world: World, a_line: Lines) -> None:
    """Version 2 names reason code, device, scale and source; figures that changed are corrections with the reason."""
    used(world, a_line)
    before = document(world.book, a_scope(world.book))
    restate(world.book, [a_fault(world)], reason="the meter read 20 % low", now_us=NOW_US)

    after = revise(document(world.book, a_scope(world.book)), before)

    (told,) = after["restatements"]
    (factor,) = told["factors"]
    assert (2, before["statement_id"]) == (after["version"], after["replaces"])
    assert ("energy", "meter_fault", "1.200000") == (factor["factor"], factor["reason_code"], factor["scale"])
    assert "calibrated against a wall meter" == factor["source"]
    assert ("0.050000", "0.060000") == (told["old"]["energy_joules"], told["new"]["energy_joules"])
    energy = [one for one in after["corrections"] if one["figure"] == "energy_joules"]
    assert ["0.010000"] == [one["difference"] for one in energy]
    assert all(one["reason"].startswith("restated by entries") for one in after["corrections"])
    assert not any("requests arrived" in one["reason"] for one in after["corrections"])


def test_a_receipt_tells_the_restated_energy(world: World, a_line: Lines) -> None:
    """Provisional, settled, restated; the restating entry is the proof."""
    ids = used(world, a_line)
    found = restate(world.book, [a_fault(world)], reason="the meter read 20 % low", now_us=NOW_US)

    shown = receipt_document(receipt_lines(world.book, ids[0]), rounded=False)

    history: Any = shown["history"]
    energy: Any = shown["energy"]
    devices: Any = shown["devices"]
    assert [("provisional", 0), ("settled", 1), ("restated", 2)] == [(one["state"], one["revision"]) for one in history]
    assert ["0.025000", "0.030000"] == [one["energy_joules"] for one in history[1:]]
    assert ("0.030000", ["meter_fault"]) == (energy["energy_joules"], shown["flags"])
    assert ["0.030000"] == [one["energy_joules"] for one in devices]
    assert 3 == len(found.entries)


def test_a_closed_month_is_restated_too(world: World, a_line: Lines) -> None:
    """The digest it was closed with still holds for what stands before."""
    used(world, a_line)
    past_the_hour(world, HOUR + 1)
    later = world.open()
    later.step()
    later.abandon()
    close_period(world.book, "2026-01", now_us=MONTH_END_US + GRACE_HOURS * HOUR_US)

    found = restate(world.book, [a_fault(world)], reason="late fault", now_us=NOW_US)

    assert {True} == {row.closed for row in found.rows}
    assert [] == world.book.verify()


def test_a_fault_restated_once_is_not_restated_again(world: World, a_line: Lines) -> None:
    """The same factor finds nothing left; another one starts from what was settled; 1 takes it back."""
    used(world, a_line)
    energies = []
    for scale_ppm in (1_200_000, 1_200_000, 500_000, 1_000_000):
        found = restate(world.book, [a_fault(world, scale_ppm)], reason=f"{scale_ppm}", now_us=NOW_US)
        energies.append((len(found.rows), document(world.book, a_scope(world.book))["totals"]["energy_joules"]))

    assert [(2, "0.060000"), (0, "0.060000"), (2, "0.025000"), (2, "0.050000")] == energies
    assert [] == world.book.verify()


def test_a_dry_run_is_what_the_run_does(world: World, a_line: Lines) -> None:
    """And writes nothing."""
    used(world, a_line)
    head = world.book.head()

    dry = restate(world.book, [a_fault(world)], reason="r", now_us=NOW_US, dry_run=True)

    assert head == world.book.head()
    assert dry == restate(world.book, [a_fault(world)], reason="r", now_us=NOW_US)


def test_the_operators_statement_closes_with_restated_and_erased_energy(world: World, a_line: Lines) -> None:
    """A tenant that was restated and then erased: both ways agree, differences are 0, and the ledger verifies."""
    used(world, a_line)
    restate(world.book, [a_fault(world)], reason="the meter read 20 % low", now_us=NOW_US)
    before = document(world.book, a_scope(world.book, tenant=EVERYBODY))
    erase(world.book, "globex", reason="asked", actor=None, now_us=world.clock.unix_us(), spools=world.folder / "none")

    sums, folded = both_ways(world.book, a_scope(world.book, tenant=EVERYBODY))

    assert sums == folded
    assert before["totals"] == sums["totals"]
    assert before["reconciliation_of_tenant"] == sums["reconciliation_of_tenant"]
    assert [] == world.book.verify()


def test_an_entry_that_says_another_energy_is_refused(world: World, a_line: Lines) -> None:
    """What follows from the lines is derived before it is written."""
    used(world, a_line)
    found = restate(world.book, [a_fault(world)], reason="r", now_us=NOW_US, dry_run=True)
    first, restated = found.entries[0], found.entries[1]
    told: Any = restated.body
    wrong = {**told, "new": {**told["new"], "energy_uj": 1}}

    with pytest.raises(LedgerUnavailable, match="energy_uj"):
        world.book.append(
            [first, type(restated)(**{**{n: getattr(restated, n) for n in type(restated).__slots__}, "body": wrong})]
        )
