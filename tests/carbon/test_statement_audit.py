"""What a stranger finds in a statement alone: any figure that was changed no longer adds up."""

import copy
import re
from collections.abc import Callable
from typing import Any

import pytest

from greenserve.carbon.entries import UsageLine, usage_entry
from greenserve.carbon.statement_audit import faults_of
from greenserve.carbon.statement_document import identified
from tests.carbon.statements import AT_US, interval, settled, statement_of

Lines = Callable[..., UsageLine]
CHANGES = {
    "totals.energy_joules": "totals.energy_joules",
    "totals.loc_lifecycle_gco2e": "totals.loc_lifecycle_gco2e",
    "totals.host_joules": "totals.host_joules",
    "breakdown.0.held_joules": "active \\+ held \\+ host",
    "reconciliation.idle_joules": "reconciliation: metered",
    "reconciliation.difference_joules": "reconciliation: metered",
    "reconciliation_of_tenant.provisional_joules": "reconciliation of the tenant",
}


@pytest.fixture
def document(a_line: Lines) -> dict[str, Any]:
    """One settled request in a reconciled node."""
    line, other = usage_entry(a_line()), usage_entry(a_line(variant="fp32"))
    entries = [line, other, settled(line, 50_000), interval(0, at_us=AT_US + 1, active=50_000, idle=7)]
    return copy.deepcopy(dict(statement_of(entries).document))


def test_an_honest_statement_has_no_faults(document: dict[str, Any]) -> None:
    """All checks pass on what the fold made."""
    assert () == faults_of(document)


@pytest.mark.parametrize(("path", "told"), CHANGES.items())
def test_a_changed_figure_is_found(document: dict[str, Any], path: str, told: str) -> None:
    """Even where the forger computed the id anew."""
    *parents, name = path.split(".")
    here: Any = document
    for part in parents:
        here = here[int(part) if part.isdigit() else part]
    here[name] = "0.123456"

    found = faults_of(identified(document))

    assert any(re.search(told, fault) for fault in found), found
    assert "statement_id" in faults_of(document)[0]


def test_a_signed_watermark_is_a_fault(document: dict[str, Any]) -> None:
    """No honest issuer signs simulated inputs."""
    forged = identified(document | {"watermarks": [{"mark": "m", "reasons": []}], "signature": {"value": "x"}})

    assert "watermarked and signed" in faults_of(forged)[0]


@pytest.mark.parametrize("broken", [{}, {"schema": "greenserve.statement/1"}, {"schema": "greenserve.statement/2"}])
def test_what_is_no_whole_statement_is_one_finding(broken: dict[str, Any]) -> None:
    """Never an exception."""
    assert 1 == len(faults_of(broken))
