"""What a line says of the grid, and what statements make of it; the load pool."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from greenserve.carbon.entries import UsageLine, settled_body, usage_body, usage_entry
from greenserve.carbon.feeds.chain import FeedChain
from greenserve.carbon.ledger.sqlite import SqliteLedger
from greenserve.carbon.statement import EVERYBODY
from greenserve.carbon.tally import Tally
from greenserve.records import IntensityReading, Usage
from tests.carbon.statements import AT_US, HOUR_US, interval, member, statement_of

Lines = Callable[..., UsageLine]
LIFECYCLE = IntensityReading(
    zone="SE", start_us=AT_US, end_us=AT_US + HOUR_US, mg_per_kwh=40_000, basis="lifecycle", kind="average",
    origin="estimated", provider="one", retrieved_us=AT_US, scope="consumption", model="a model", observed_us=AT_US - 5,
    revision=2, level=1, u_grid_bp=1_000,
)  # fmt: skip
DIRECT = replace(LIFECYCLE, basis="direct", mg_per_kwh=30_000, level=2, u_grid_bp=1_500)
BOTH = replace(LIFECYCLE, counterpart=DIRECT)


class OneBasis:
    """A feed that knows one reading."""

    def __init__(self, reading: IntensityReading) -> None:
        self._reading = reading

    def read(self, *, zone: str, at_us: int) -> IntensityReading | None:
        return self._reading if zone == self._reading.zone else None

    def zones(self) -> frozenset[str]:
        return frozenset({self._reading.zone})


def test_a_line_holds_what_its_readings_are_worth(a_line: Lines) -> None:
    """Level, half width, age, scope, model and revision stand beside the value, of both bases."""
    body = usage_body(a_line(intensity=BOTH))

    names = ("level", "u_grid_bp", "observed_us", "scope", "model", "revision")
    assert (1, 1_000, AT_US - 5, "consumption", "a model", 2) == tuple(body["ci"][name] for name in names)
    assert ("direct", 2, 1_500) == tuple(body["ci_other"][name] for name in ("basis", "level", "u_grid_bp"))
    assert usage_body(a_line())["ci_other"] is None


def test_each_basis_takes_its_own_reading(a_line: Lines) -> None:
    """E11 twice: 61,903 uJ at PUE 1.12 are 69,331 uJ; x 40 and 30 g/kWh, when provisional and when settled."""
    first = usage_body(a_line(intensity=BOTH))
    usage = Usage(
        request_id=first["request_id"], active_uj=1_000_000, held_uj=0, host_uj=0, low_uj=1, high_uj=2_000_000,
        tier="measured", state="settled",
    )  # fmt: skip

    later = settled_body(first, usage)

    assert (770, 578) == (first["loc_lifecycle_ng"], first["loc_direct_ng"])
    assert (12_444, 9_333) == (later["loc_lifecycle_ng"], later["loc_direct_ng"])


def test_the_audit_derives_both_bases_again(tmp_path: Path, a_line: Lines) -> None:
    """A line whose direct emissions do not follow from its direct reading is found."""
    book = SqliteLedger(tmp_path / "ledger.db")
    good = usage_entry(a_line(intensity=BOTH))
    bad = usage_entry(a_line(intensity=BOTH))
    book.append([good, replace(bad, body={**bad.body, "loc_direct_ng": 577})])

    findings = book.verify()
    book.close()

    assert 1 == len(findings)
    assert "577" in findings[0]


def test_half_widths_are_those_of_the_lines_readings(a_line: Lines) -> None:
    """E12 with 10 % for lifecycle and 15 % for direct; a line without its own takes its origin's (annual, 40 %)."""
    graded, plain = Tally(), Tally()
    graded.add(usage_body(a_line(intensity=BOTH)))
    plain.add(usage_body(a_line()))

    energy_bp = plain.half_width_bp(grid=None)
    widths = (
        graded.half_width_bp(grid="lifecycle"),
        graded.half_width_bp(grid="direct"),
        plain.half_width_bp(grid="lifecycle"),
    )
    squares = [width**2 - energy_bp**2 for width in widths]

    assert [1_000, 1_500, 4_000] == pytest.approx([square**0.5 for square in squares], rel=0.01)


def test_joules_are_told_by_fallback_level(a_line: Lines) -> None:
    """Of each level what its lines used; a line without one is unknown, and nothing is left out."""
    lines = [usage_entry(a_line(intensity=BOTH)), usage_entry(a_line(intensity=None))]

    quality = member(statement_of(lines), "data_quality")

    assert {"1": "0.061903", "unknown": "0.061903"} == quality["joules_by_fallback_level"]


@pytest.mark.parametrize(("provider", "known"), [("one", True), ("two", False)])
def test_upstream_emissions_need_one_provider(a_line: Lines, provider: str, known: bool) -> None:
    """Scope 3.3 is a difference: the readings of two providers are not subtracted from each other."""
    reading = replace(LIFECYCLE, counterpart=replace(DIRECT, provider=provider))

    scopes = member(statement_of([usage_entry(a_line(intensity=reading))], tenant=EVERYBODY), "scopes")

    assert known == (scopes["scope_3_category_3_gco2e"] is not None)


def test_the_chain_gives_both_bases() -> None:
    """The wanted one, with the other beside it where a feed knows that."""
    chain = FeedChain([OneBasis(DIRECT), OneBasis(LIFECYCLE)])

    assert chain.read_both(zone="SE", at_us=AT_US) == BOTH
    assert FeedChain([OneBasis(DIRECT)]).read_both(zone="SE", at_us=AT_US) == DIRECT
    assert chain.read_both(zone="NO", at_us=AT_US) is None


def test_a_counterpart_is_of_the_other_basis() -> None:
    """The same basis twice would be counted for both."""
    with pytest.raises(ValueError, match="other basis"):
        replace(LIFECYCLE, counterpart=LIFECYCLE)


def test_load_is_a_pool_of_its_own() -> None:
    """Metered 12 J = 5 load + 7 idle; intervals that do not tell it apart leave it unknown, not zero."""
    with_load = statement_of([interval(0, at_us=AT_US, idle=7_000_000, load=5_000_000)], tenant=EVERYBODY)
    without = statement_of([interval(0, at_us=AT_US, idle=7_000_000)], tenant=EVERYBODY)

    told, old = member(with_load, "reconciliation"), member(without, "reconciliation")
    assert ("12.000000", "5.000000", "0.000000") == tuple(
        told[f"{name}_joules"] for name in ("metered", "load", "difference")
    )
    assert (None, "0.000000") == (old["load_joules"], old["difference_joules"])
    assert "5.000000" == next(one["joules"] for one in member(with_load, "lines") if one["line"] == "load")


def test_the_audit_counts_the_load_pool(tmp_path: Path) -> None:
    """An interval closes with its load; one whose load is missing in the sum is named."""
    book = SqliteLedger(tmp_path / "ledger.db")
    good, bad = (interval(number, at_us=AT_US, idle=7, load=5) for number in (0, 1))
    book.append([good, replace(bad, body={**bad.body, "load_uj": 4})])

    findings = book.verify()
    book.close()

    assert 1 == len(findings)
    assert "placed 11" in findings[0]
