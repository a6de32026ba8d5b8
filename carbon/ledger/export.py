"""Entries as files that others read: JSON lines, or a Parquet table."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from greenserve.carbon.ledger.archives import sha256_of
from greenserve.carbon.ledger.book import SqlLedger, driver_of
from greenserve.carbon.ledger.merkle import leaf_hash
from greenserve.carbon.ledger.row import Row, salt_of
from greenserve.carbon.ledger.rows import tile_reader
from greenserve.carbon.ledger.tiles import Tiles
from greenserve.errors import DependencyMissing

__all__ = ["leaf_at", "sha256_of", "write_lines", "write_parquet"]
PAGE = 10_000
_SUMMED = ("active_uj", "held_uj", "host_uj", "low_uj", "high_uj", "facility_uj", "loc_direct_ng", "loc_lifecycle_ng")
_NAMED = ("state", "tier", "model", "variant", "region", "outcome", "cache")


def write_lines(ledger: SqlLedger, file: BinaryIO, *, after: int = -1, tenant: str | None = None) -> int:
    """One JSON object a line: index, salt, leaf hash and the canonical body that it covers; how many.

    The whole ledger's leaf hashes make its root again (RFC 6962); of an erased entry that is all there is. A tenant's
    own lines make nothing alone: ask for proofs of them.
    """
    count = 0
    for row, salt in _salted(ledger, ledger.rows(after=after, tenant=tenant)):
        line: dict[str, object]
        if row.body is None:
            line = {"idx": row.idx, "salt": None, "leaf": leaf_at(ledger, row.idx).hex(), "body": None}
        else:
            assert salt is not None
            leaf = leaf_hash(salt, row.body).hex()
            line = {"idx": row.idx, "salt": salt.hex(), "leaf": leaf, "body": orjson.Fragment(row.body)}
        file.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
        count += 1
    return count


def write_parquet(ledger: SqlLedger, path: Path, *, after: int = -1, tenant: str | None = None) -> int:
    """A table of the same rows: the columns of `entry`, the salt, and of usage the figures as integers; how many.

    Energies are uJ and emissions ng; null is unknown, and stands where a settled line leaves what its first one says.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise DependencyMissing(
            "Parquet needs pyarrow, which is not installed: `pip install pyarrow`, or export JSON lines"
        ) from None
    schema = pa.schema(
        [("idx", pa.int64()), ("period", pa.int32()), ("kind", pa.string()), ("key", pa.binary(16))]
        + [("attempt", pa.int32()), ("revision", pa.int32()), ("tenant", pa.string()), ("hour", pa.int64())]
        + [(name, pa.int64()) for name in _SUMMED]
        + [(name, pa.string()) for name in _NAMED]
        + [("salt", pa.binary()), ("body", pa.binary())]
    )
    count = 0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for page in _pages(_salted(ledger, ledger.rows(after=after, tenant=tenant))):
            writer.write_table(pa.Table.from_pylist([_record(row, salt) for row, salt in page], schema=schema))
            count += len(page)
    return count


def leaf_at(ledger: SqlLedger, index: int) -> bytes:
    """The hash of an entry as it stands in the tree."""
    with ledger.reading() as connection:
        return Tiles(tile_reader(driver_of(connection))).node(0, index)


def _salted(ledger: SqlLedger, rows: Iterable[Row]) -> Iterator[tuple[Row, bytes | None]]:
    secrets: dict[str, bytes] = {}
    for row in rows:
        if row.body is None:
            yield row, None
            continue
        if row.tenant not in secrets:
            secrets |= ledger.salt_secrets((row.tenant,))
        yield row, salt_of(secrets[row.tenant], row.kind, row.key, row.attempt, row.revision)


def _pages(rows: Iterable[tuple[Row, bytes | None]]) -> Iterator[list[tuple[Row, bytes | None]]]:
    page: list[tuple[Row, bytes | None]] = []
    for row in rows:
        page.append(row)
        if len(page) == PAGE:
            yield page
            page = []
    if page:
        yield page


def _record(row: Row, salt: bytes | None) -> dict[str, Any]:
    body = orjson.loads(row.body) if row.body is not None and row.kind == "usage" else {}
    return row._asdict() | {"salt": salt} | {name: body.get(name) for name in (*_SUMMED, *_NAMED)}
