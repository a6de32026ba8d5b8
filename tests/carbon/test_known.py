"""Lines taken in their form are written, summed and settled as lines that are decoded."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenserve.carbon.closed import Settled
from greenserve.carbon.emissions import emissions_ng, facility_uj, site_and_emissions
from greenserve.carbon.entries import UsageLine, settled_body, usage_entry
from greenserve.carbon.ledger.forms import Known
from greenserve.carbon.ledger.known import Readings, settled_form
from greenserve.carbon.ledger.row import Prepared, canonical_body, prepare, prepare_bytes
from greenserve.carbon.ledger.rows import Placed
from greenserve.carbon.ledger.sqlite import SqliteLedger
from greenserve.errors import LedgerUnavailable
from greenserve.ids import new_request_id
from greenserve.records import IntensityReading, Usage

Lines = Callable[..., UsageLine]
AT_US = 1_767_225_600_000_000
CHANGES: list[dict[str, Any]] = [
    {}, {"tenant": "globex", "project": "web", "org": "o"}, {"intensity": None}, {"usage": None}, {"charged": False},
    {"pue_milli": None}, {"tokens_in": None}, {"tokens_in": 0}, {"ended_us": AT_US + 900_000_000}, {"flags": ("a",)},
    {"intensity": IntensityReading(
        zone="SE", start_us=AT_US, end_us=AT_US + 1, mg_per_kwh=9, basis="direct", provider="b", kind="average",
        origin="observed", retrieved_us=AT_US, level=1, u_grid_bp=500,
    )}, {"ended_us": AT_US + 3_600_000_000}, {},
]  # fmt: skip


def a_share(active_uj: int, flags: tuple[str, ...] = ()) -> Settled:
    return Settled(
        request_id="r", active_uj=active_uj, held_uj=7, host_uj=11, charged=True, tier="measured", flags=flags
    )


def short(first: Placed, share: Settled, *, known: bool) -> Prepared:
    """The settled row of a share, in its form or by its members."""
    of_first = first.line.form
    if known and isinstance(of_first, Known):
        form, data = settled_form(of_first, first.idx, share, (1, 10**6))
        return first.line._replace(revision=1, body=data, members=None, form=form)
    usage = Usage(
        request_id="r", active_uj=share.active_uj, held_uj=7, host_uj=11, low_uj=1, high_uj=10**6, tier="measured",
        state="settled",
    )  # fmt: skip
    body = settled_body(first.line.decoded, usage, share.flags, first=first.idx)
    return first.line._replace(revision=1, body=canonical_body(body, "x"), members=body, form=None)


def written(book: SqliteLedger, bodies: list[bytes], *, known: bool) -> list[object]:
    """All that a ledger keeps of these lines, each settled: some at once, some by the other way than they came."""
    readings = Readings()
    first = book.append_lines([readings.prepare(body) if known else prepare_bytes(body) for body in bodies])
    shares = [a_share(50 * number, ("gap",) * (number % 2)) for number in range(len(first))]
    rows = list(zip(first, shares, strict=True))
    book.append_lines([short(one, share, known=known) for one, share in rows[:9]])
    book.append_lines([short(one, share, known=False) for one, share in rows[9:12]])
    assert ["settled parts without a device interval"] == [found[10:49] for found in book.verify()]
    return [
        [row.body for row in book.rows()],
        book.query("SELECT * FROM rollup ORDER BY 1, 2, 3, 4, 5, 6, 7"),
        book.query("SELECT * FROM spend ORDER BY 1, 2, 3"),
        book.query("SELECT body AS kept FROM entry ORDER BY idx"),
    ]


def test_a_ledger_is_the_same_bytes_either_way(tmp_path: Path, a_line: Lines) -> None:
    """Bodies, hourly sums, what budgets are read from: taking lines in their form changes how long it takes."""
    bodies = [prepare(usage_entry(a_line(**change))).body for change in CHANGES]
    plain, quick = SqliteLedger(tmp_path / "plain.db"), SqliteLedger(tmp_path / "quick.db")

    assert written(plain, bodies, known=False) == written(quick, bodies, known=True)

    forms = [Readings().prepare(body).form is not None for body in bodies]
    assert {3, 4} == {place for place, known in enumerate(forms) if not known}
    plain.close()
    quick.close()


@settings(max_examples=100, deadline=None)
@given(active_uj=st.integers(0, 2**40), change=st.sampled_from([one for one in CHANGES if "usage" not in one]))
def test_a_settled_line_is_told_the_same_either_way(active_uj: int, change: dict[str, Any], a_line: Lines) -> None:
    """Its site energy and emissions, its flags behind the first line's, its place: the bytes are the same."""
    line = Readings().prepare(prepare(usage_entry(a_line(**change))).body)
    first = Placed(3, line)

    quick, plain = (short(first, a_share(active_uj, ("gap",)), known=known) for known in (True, False))

    assert plain.body == quick.body
    assert plain[:7] == quick[:7]
    assert orjson.loads(plain.body) == quick.decoded


@pytest.mark.parametrize("active_uj", [2**53, -1])
def test_a_share_that_the_ledger_cannot_hold_is_refused(active_uj: int, a_line: Lines) -> None:
    """Beyond the largest integer or below nothing: no line is made of it."""
    known = Readings().prepare(prepare(usage_entry(a_line(pue_milli=None))).body).form
    assert isinstance(known, Known)

    with pytest.raises(LedgerUnavailable, match=r"beyond|below 0"):
        settled_form(known, 0, a_share(active_uj), (0, 1))


def test_a_damaged_reading_goes_the_general_way(a_line: Lines) -> None:
    """A reading with a member too few is no reading to sum by: the line is kept, decoded."""
    body = dict(usage_entry(a_line()).body)
    body["ci"] = {name: value for name, value in body["ci"].items() if name != "scope"}  # type: ignore[attr-defined]
    line = Readings().prepare(orjson.dumps(body, option=orjson.OPT_SORT_KEYS))

    assert (None, body["ci"]) == (line.form, line.decoded["ci"])


def test_an_id_that_is_none_is_refused(a_line: Lines) -> None:
    """The key and the month follow from the id, so it must be one."""
    body = {**usage_entry(a_line(request_id=new_request_id())).body, "request_id": "7"}

    with pytest.raises(LedgerUnavailable, match="no UUIDv7"):
        Readings().prepare(orjson.dumps(body, option=orjson.OPT_SORT_KEYS))


@given(
    st.integers(0, 2**53), st.integers(1_000, 9_999), st.none() | st.integers(0, 10**6), st.none() | st.integers(0, 9)
)
def test_one_step_gives_what_the_equations_give(it_uj: int, pue: int, own: int | None, other: int | None) -> None:
    """E9, then E11 at each intensity, each rounded half to even; unknown stays unknown."""
    site_uj = facility_uj(it_uj, pue)

    expected = (site_uj, *(None if mg is None else emissions_ng(site_uj, mg) for mg in (own, other)))

    assert expected == site_and_emissions(it_uj, pue, own, other)
