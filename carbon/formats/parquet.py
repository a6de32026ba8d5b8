"""The breakdown as a Parquet table for analysis; exact decimals, and the whole master in the file's metadata."""

from decimal import Decimal
from typing import Any

from greenserve.canonical import canonical_json
from greenserve.carbon.formats.reading_order import in_reading_order
from greenserve.carbon.statement_document import BREAKDOWN
from greenserve.errors import DependencyMissing
from greenserve.records import Statement

DIGITS = 38
MASTER = b"greenserve.statement"
"""The metadata's key under which the master JSON lies."""
PLACES = (("_gco2e_per_kwh", 3), ("_per_request_gco2e", 15), ("_per_1k_tokens_gco2e", 15), ("_gco2e", 9))
JOULE_PLACES, KWH_PLACES = 6, 15


def render(statement: Statement) -> bytes:
    """Parquet with one row per line of the breakdown, null for what is unknown; needs the extra `parquet`."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise DependencyMissing(
            "the format parquet needs pyarrow: install greenserve with the extra `parquet`, or choose csv"
        ) from None
    document = in_reading_order(statement.document)
    names = [*BREAKDOWN, *document["totals"]]
    fields = [pa.field(name, _type(pa, name, document["totals"].get(name))) for name in names]
    schema = pa.schema(fields, metadata={MASTER: canonical_json(document)})
    rows = [{name: _value(name, line[name]) for name in names} for line in document["breakdown"]]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), sink)
    return bytes(sink.getvalue())


def places_of(name: str) -> int | None:
    """Decimal places of a figure by the unit in its name; None for counts and words."""
    for ending, places in PLACES:
        if name.endswith(ending):
            return places
    return JOULE_PLACES if name.endswith("_joules") else KWH_PLACES if name.endswith("_kwh") else None


def _type(pa: Any, name: str, total: object) -> Any:
    places = places_of(name)
    if places is not None:
        return pa.decimal128(DIGITS, places)
    return pa.int64() if isinstance(total, int) else pa.string()


def _value(name: str, value: Any) -> Any:
    return Decimal(value) if value is not None and places_of(name) is not None else value
