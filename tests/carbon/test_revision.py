"""Later versions: what changed, why, and nothing new where no figure did."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from greenserve.carbon.entries import UsageLine, usage_entry
from greenserve.carbon.revision import revise
from greenserve.carbon.statement_audit import faults_of
from greenserve.records import Entry
from tests.carbon.statements import AT_US, interval, settled, statement_of

Lines = Callable[..., UsageLine]


def document_of(entries: list[Entry]) -> dict[str, Any]:
    return dict(statement_of(entries).document)


def test_settling_makes_a_second_version(a_line: Lines) -> None:
    """The estimate of 61,903 uJ settles to 50,000: the new version names the old one and every difference."""
    line = usage_entry(a_line())
    first = document_of([line])

    second = revise(document_of([line, settled(line, 50_000), interval(0, at_us=AT_US, active=50_000)]), first)

    assert (2, first["statement_id"]) == (second["version"], second["replaces"])
    assert {"energy_joules": "-0.011903", "active_joules": "-0.004603"}.items() <= {
        one["figure"]: one["difference"] for one in second["corrections"]
    }.items()
    assert "from 1 to 3 entries" in second["corrections"][0]["reason"]
    assert () == faults_of(second)
    assert second["statement_id"] != first["statement_id"]


def test_corrections_lead_from_the_old_figures_to_the_new(a_line: Lines) -> None:
    """Old + difference = new, also for a line that was not there before."""
    line, later = usage_entry(a_line()), usage_entry(a_line(model="another"))

    second = revise(document_of([line, later]), document_of([line]))

    changes = second["corrections"]
    assert {"another"} == {one["model"] for one in changes}
    assert all(Decimal(one["old"]) + Decimal(one["difference"]) == Decimal(one["new"]) for one in changes)


def test_a_figure_that_becomes_known_has_no_difference(a_line: Lines) -> None:
    """Unknown is not 0: old is null, and so is the difference."""
    line = a_line(intensity=None)
    first = document_of([usage_entry(line)])

    second = revise(document_of([usage_entry(a_line(request_id=line.request_id))]), first)

    (grams,) = (one for one in second["corrections"] if one["figure"] == "loc_lifecycle_gco2e")
    assert (None, "0.000000597", None) == (grams["old"], grams["new"], grams["difference"])


def test_other_tenants_entries_make_no_version(a_line: Lines) -> None:
    """The ledger went on, the figures did not: the statement that was issued stands, byte for byte."""
    line = usage_entry(a_line())
    first = document_of([line])

    assert first == revise(document_of([line, usage_entry(a_line(tenant="globex"))]), first)


def test_a_changed_reconciliation_makes_a_version_without_corrections(a_line: Lines) -> None:
    """An interval that closed later changes where the node's energy went, not the tenant's figures."""
    line = usage_entry(a_line())

    second = revise(document_of([line, interval(0, at_us=AT_US + 1, idle=5)]), document_of([line]))

    assert (2, []) == (second["version"], second["corrections"])


def test_the_first_version_replaces_nothing(a_line: Lines) -> None:
    """Without a statement before it a document stays as it was folded."""
    first = document_of([usage_entry(a_line())])

    assert first == revise(first, None)
    assert (1, None, []) == (first["version"], first["replaces"], first["corrections"])
