"""Every format derives from the master: totals equal in all, unknown nowhere 0, names of outside standards in maps."""

import csv
import io
import json
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from decimal import Decimal
from html.parser import HTMLParser
from importlib import import_module
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from greenserve.canonical import canonical_json
from greenserve.carbon.entries import UsageLine, unmetered_entry, usage_entry
from greenserve.carbon.formats import boamps, charts, focus, html, parquet
from greenserve.carbon.formats import csv as csv_format
from greenserve.carbon.formats.catalogue import FORMATS, chosen
from greenserve.carbon.formats.mapping import mapping_file
from greenserve.carbon.formats.reading_order import ORDER, in_reading_order
from greenserve.carbon.revision import revise
from greenserve.carbon.terms import Market, Residual, Terms
from greenserve.errors import InvalidRequest
from greenserve.records import Entry, Statement
from tests.carbon.statements import AT_US, HOUR_US, statement_of
from tests.carbon.test_statement_document import FP32, SERVER

Lines = Callable[..., UsageLine]
FIGURES = ("requests", "active_joules", "held_joules", "host_joules", "energy_joules", "facility_joules",
           "loc_lifecycle_gco2e", "market_gco2e", "embodied_gco2e")  # fmt: skip
IN_FOCUS = ("x_Requests", "x_EnergyActiveJoules", "x_EnergyHeldJoules", "x_EnergyHostJoules", "x_EnergyJoules",
            "x_EnergySiteJoules", "x_CarbonLocationG", "x_CarbonMarketG", "x_EmbodiedG")  # fmt: skip
MANDATORY = frozenset((
    "BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency", "BillingPeriodEnd",
    "BillingPeriodStart", "ChargeCategory", "ChargeClass", "ChargeDescription", "ChargePeriodEnd",
    "ChargePeriodStart", "ContractedCost", "EffectiveCost", "InvoiceIssuerName", "ListCost", "PricingQuantity",
    "PricingUnit", "ProviderName", "PublisherName", "ServiceCategory", "ServiceName",
))  # fmt: skip
TERMS = Terms(
    hardware=(SERVER,),
    market=Market(instruments=(), residuals=(Residual(region="north", mg_per_kwh=500_000, source="t"),), sha256="0"),
    baselines=(FP32,),
)


class Cells(HTMLParser):
    """The `data-total` cells of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, str] = {}
        self._name: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._name = dict(attrs).get("data-total")

    def handle_data(self, data: str) -> None:
        if self._name is not None:
            self.found[self._name] = data
            self._name = None


def rows_of(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode())))


def summed(values: list[str]) -> Decimal | None:
    known = [Decimal(value) for value in values if value not in ("", "unknown")]
    return sum(known, Decimal(0)) if known else None


def streams_of(pdf: bytes) -> Iterator[bytes]:
    """The compressed streams of a PDF."""
    for found in re.finditer(rb"stream\r?\n(.*?)\r?\nendstream", pdf, re.DOTALL):
        with suppress(zlib.error):
            yield zlib.decompress(found[1])


def expected(statement: Statement) -> dict[str, Decimal | None]:
    found: Any = statement.document["totals"]
    return {name: None if found[name] is None else Decimal(found[name]) for name in FIGURES}


def told_in(statement: Statement) -> dict[str, dict[str, Decimal | None]]:
    """The totals as each format of a table tells them."""
    import pyarrow.parquet as pq

    *_, total = rows_of(csv_format.render(statement))
    page, table = Cells(), pq.read_table(io.BytesIO(parquet.render(statement))).to_pylist()
    page.feed(html.render(statement).decode())
    charged = rows_of(focus.render(statement))
    return {
        "csv": {name: summed([total[name]]) for name in FIGURES},
        "html": {name: summed([page.found[name]]) for name in FIGURES},
        "focus": {
            name: summed([row[column] for row in charged]) for name, column in zip(FIGURES, IN_FOCUS, strict=True)
        },
        "parquet": {name: summed([str(row[name]) for row in table if row[name] is not None]) for name in FIGURES},
    }


drawn_requests = st.lists(
    st.tuples(
        st.none() | st.integers(0, 10**9),  # energy [uJ]
        st.integers(0, 23),  # hour
        st.sampled_from(["int8-dyn", "=fp32", None]),
        st.sampled_from(["sentiment", "embed"]),
        st.none() | st.integers(0, 800_000),  # intensity [mg/kWh]
        st.booleans(),  # told already in the version before
    ),
    min_size=1,
    max_size=8,
)


def entries_of(a_line: Lines, drawn: list[Any]) -> list[tuple[Entry, bool]]:
    found = []
    for energy_uj, hour, variant, model, mg_per_kwh, before in drawn:
        changes: dict[str, Any] = {"ended_us": AT_US + hour * HOUR_US, "variant": variant, "model": model}
        changes |= {"usage": None} if energy_uj is None else {"active_uj": energy_uj, "high_uj": 3 * energy_uj}
        changes |= {"intensity": None} if mg_per_kwh is None else {"mg_per_kwh": mg_per_kwh}
        found.append((usage_entry(a_line(**changes)), before))
    return found


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn_requests, st.booleans())
def test_totals_are_equal_in_all_tables(a_line: Lines, drawn: list[Any], declared: bool) -> None:
    """To the last digit, in a first version and in one that corrects another: FOCUS' corrections add up too."""
    lines, terms = entries_of(a_line, drawn), TERMS if declared else Terms()
    first = statement_of([entry for entry, before in lines if before], terms=terms)
    whole = statement_of([entry for entry, _ in lines], terms=terms)
    revised = Statement(
        statement_id="s", tenant="acme", start_us=0, end_us=1, document=revise(whole.document, first.document)
    )

    for statement in (whole, revised):
        for name, totals in told_in(statement).items():
            assert expected(statement) == totals, name


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn_requests)
def test_boamps_reports_sum_to_the_master(a_line: Lines, drawn: list[Any]) -> None:
    """Requests exactly, kWh to the 15th place of each report; a model without energy has no figure, not 0."""
    statement = statement_of([entry for entry, _ in entries_of(a_line, drawn)])
    found: Any = statement.document["totals"]

    reports = json.loads(boamps.render(statement), parse_float=Decimal)

    energies = [report["measures"][0]["powerConsumption"] for report in reports
                if "powerConsumption" in report["measures"][0]]  # fmt: skip
    assert found["requests"] == sum(report["task"]["nbRequest"] for report in reports)
    if found["energy_kwh"] is None:
        assert [] == energies
    else:
        assert abs(Decimal(found["energy_kwh"]) - sum(energies)) <= Decimal(len(energies) + 1).scaleb(-15)


def test_a_boamps_report_has_what_its_schema_requires(a_line: Lines) -> None:
    """Task, measures and infrastructure with their required members; a watermarked one is a draft."""
    (report,) = orjson.loads(boamps.render(statement_of([usage_entry(a_line(provider="synthetic"))])))

    assert {"task", "measures", "infrastructure", "header"} <= report.keys()
    assert {"taskStage", "taskFamily", "algorithms", "dataset"} <= report["task"].keys()
    assert {"infraType", "components"} <= report["infrastructure"].keys()
    assert ("inference", "draft", "low") == (
        report["task"]["taskStage"], report["header"]["reportStatus"], report["quality"],
    )  # fmt: skip
    assert pytest.approx(31, abs=0.01) == report["environment"]["powerSourceCarbonIntensity"]


def test_focus_has_its_mandatory_columns(a_line: Lines) -> None:
    """The columns that FOCUS 1.2 makes mandatory are there and not empty, but those that may be null."""
    mandatory = [name for name in mapping_file("focus.yaml")["columns"] if name in MANDATORY]
    (row,) = rows_of(focus.render(statement_of([usage_entry(a_line())])))

    assert len(MANDATORY) == len(mandatory)
    assert ["ChargeClass"] == [name for name in mandatory if not row[name]]
    assert ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z", "XXX") == (
        row["ChargePeriodStart"], row["ChargePeriodEnd"], row["BillingCurrency"],
    )  # fmt: skip
    assert all(name.startswith("x_") or name[0].isupper() for name in mapping_file("focus.yaml")["columns"])


def test_parquet_carries_the_master(a_line: Lines) -> None:
    """The whole statement lies in the metadata, so a table that is passed on can still be checked."""
    import pyarrow.parquet as pq

    statement = statement_of([usage_entry(a_line())])

    metadata = pq.read_schema(io.BytesIO(parquet.render(statement))).metadata

    assert canonical_json(statement.document) == metadata[parquet.MASTER]


@pytest.mark.filterwarnings("ignore:unclosed file.*sRGB:ResourceWarning")  # WeasyPrint leaves its profile open
def test_pdf_is_made_and_holds_the_master(a_line: Lines) -> None:
    """A PDF/A-3 file with the statement's JSON attached; skipped where Pango is missing."""
    try:
        import_module("weasyprint")
    except (ImportError, OSError) as error:
        pytest.skip(f"needs the extra `pdf` and the system library Pango (apt install libpango-1.0-0): {error}")
    statement = statement_of([usage_entry(a_line())])

    data = FORMATS["pdf"].render(statement)

    assert data.startswith(b"%PDF-1.7")
    assert FORMATS["json"].render(statement) in set(streams_of(data))


def test_a_kept_statement_reads_like_a_fresh_one(a_line: Lines) -> None:
    """Canonical JSON sorts by name; page and tables keep the order in which people read."""
    fresh = statement_of([usage_entry(a_line())], terms=TERMS)
    kept = Statement(
        statement_id=fresh.statement_id, tenant="acme", start_us=fresh.start_us, end_us=fresh.end_us,
        document=orjson.loads(canonical_json(fresh.document)),
    )  # fmt: skip

    for form in FORMATS.values():
        if form.light:
            assert form.render(fresh) == form.render(kept), form.name


def test_every_member_has_its_place_in_reading_order(a_line: Lines) -> None:
    """A new member takes a place among those that people read, or it would stand at the end of its table."""
    document: Mapping[str, Any] = statement_of([usage_entry(a_line())], terms=TERMS).document
    tables = [document, document["totals"], *document["breakdown"], document["counterfactual"], *document["lines"],
              document["reconciliation"], document["reconciliation_of_tenant"], document["scopes"], document["proof"],
              *document["factors"], document["data_quality"]]  # fmt: skip

    assert set() == {name for table in tables for name in table} - set(ORDER)
    assert list(in_reading_order(document))[:2] == [name for name in ORDER if name in document][:2]


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        ("0.000000482", "gCO2e", "482 ngCO2e"), ("1234.5", "J", "1.23 kJ"), ("0.000006966", "kWh", "6.97 mWh"),
        ("12.34", "kWh", "12.3 kWh"), ("0", "J", "0 J"), (None, "J", "unknown"), ("-0.5", "J", "-500 mJ"),
        ("0.0000000004", "g", "0.400 ng"), ("999.9", "J", "1,000 J"),
    ],
)  # fmt: skip
def test_figures_for_people_have_three_digits(value: str | None, unit: str, shown: str) -> None:
    """With an SI prefix; unknown is the word."""
    assert shown == charts.humane(value, unit)


def test_days_without_requests_are_drawn_as_nothing() -> None:
    """A month has all its days; a longer period only those with requests; an unknown day has no column of 0."""
    lines: list[dict[str, Any]] = [{"day": "2026-11-02", "g": "2"}, {"day": "2026-11-03", "g": None}]

    month = charts.by_day(lines, "g", "g", start="2026-11-01T00:00:00Z", end="2026-12-01T00:00:00Z")
    year = charts.by_day(lines, "g", "g", start="2026-01-01T00:00:00Z", end="2027-01-01T00:00:00Z")

    assert (30, 2) == (len(month.bars), len(year.bars))
    assert ["0 g", "2.00 g", "unknown"] == [bar.figure for bar in month.bars[:3]]


def test_an_unknown_format_is_told_with_those_there_are() -> None:
    """Each format once, in the order given."""
    assert ["pdf", "csv"] == [one.name for one in chosen("pdf, csv,pdf")]
    for text in ("docx", "", "json,docx"):
        with pytest.raises(InvalidRequest, match="json, html, csv, focus, boamps, parquet, pdf"):
            chosen(text)


def test_a_provisional_line_and_its_estimate_are_one_request_in_csv(a_line: Lines) -> None:
    """A request that settled without a meter counts once; the total's row is the last."""
    line = usage_entry(a_line())
    *lines, total = rows_of(csv_format.render(statement_of([line, unmetered_entry(line.body)])))

    assert ["1"] == [one["requests"] for one in lines]
    assert ("total", "1", "none") == (total["line"], total["requests"], total["watermark"])
