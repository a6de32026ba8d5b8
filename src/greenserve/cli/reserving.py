"""Whether what `tenancy.reservations` names is there: else a share would be kept for nobody, without a word."""

import sqlite3
from collections.abc import Collection, Iterable
from contextlib import closing

from sqlalchemy import create_engine, make_url, text
from sqlalchemy.exc import SQLAlchemyError

from greenserve.carbon.ledger.postgres import SCHEME
from greenserve.carbon.meters.pick import PickedNode
from greenserve.carbon.node_overhead import NODE
from greenserve.carbon.reservations import EVERY
from greenserve.config import Config
from greenserve.serve.metering import engine_names

OPEN = "SELECT tenant_id FROM tenant WHERE closed_us IS NULL ORDER BY tenant_id"


def reservation_warnings(config: Config, node: PickedNode) -> list[str]:
    """One line for each reserving tenant that is not open in the ledger and each device that no meter has here.

    The ledger is only read: one of an earlier format is not brought up for this.
    """
    reserved = config.tenancy.reservations
    if not reserved:
        return []
    devices = {picked.device for picked in node.devices} | ({NODE} if config.energy.overhead is not None else set())
    called = {*devices, *engine_names(node.boards, masked=False), EVERY}
    found = list(_missing_tenants(config, sorted({one.tenant for one in reserved})))
    for device in sorted({one.device for one in reserved} - called):
        there = ", ".join(sorted(called - {EVERY}))
        found.append(
            f"tenancy.reservations: no meter reads a device {device!r} on this machine; there are {there}, "
            f"and {EVERY} for all"
        )
    return found


def _missing_tenants(config: Config, wanted: Iterable[str]) -> Iterable[str]:
    path = config.ledger.path
    try:
        known: Collection[str] = _open_in_postgres(config.ledger.url) if _is_postgres(config) else ()
        if not _is_postgres(config) and path.is_file():
            with closing(sqlite3.connect(path.absolute().as_uri() + "?mode=ro", uri=True)) as database:
                known = [name for (name,) in database.execute(OPEN)]
    except (sqlite3.Error, SQLAlchemyError, ImportError) as error:
        why = str(error).splitlines()[0]
        yield f"tenancy.reservations: whether their tenants are open could not be read from the ledger ({why})"
        return
    there = f"there are {', '.join(known)}" if known else "there is none yet"
    for tenant in wanted:
        if tenant not in known:
            yield (
                f"tenancy.reservations: the ledger has no open tenant {tenant!r}, so its share is kept for nobody; "
                f"{there}; `greenserve tenant create {tenant}` makes it"
            )


def _is_postgres(config: Config) -> bool:
    return config.ledger.url.startswith(SCHEME)


def _open_in_postgres(url: str) -> list[str]:
    engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"))
    try:
        with engine.connect() as connection:
            return [str(name) for (name,) in connection.execute(text(OPEN))]
    finally:
        engine.dispose()
