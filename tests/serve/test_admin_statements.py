"""Statements over the administration API: made by another process, kept beside the ledger, shown in every format."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from greenserve.carbon.ledger.offline import Job
from greenserve.config import Config
from greenserve.errors import DeadlineExceeded, GreenServeError
from greenserve.serve.gateway import Gateway
from greenserve.serve.http.admin.desk import Folds
from tests.serve.administering import Administered, administered
from tests.serve.building import until


@pytest.fixture
async def api(gateway: Gateway, config: Config, tmp_path: Path) -> AsyncIterator[Administered]:
    """The API over a running gateway."""
    async with administered(gateway, config, tmp_path) as running:
        yield running


STATEMENTS = "/admin/v1/statements"


async def test_a_statement_is_made_kept_and_shown(api: Administered) -> None:
    """201 once and 200 for the same ledger again; the master JSON sums what was recorded."""
    api.record()
    api.record(settled=False)

    made = await api.ask("POST", STATEMENTS, {"tenant": "acme", "period": "today"})
    again = await api.ask("POST", STATEMENTS, {"tenant": "acme", "period": "today"})
    shown = await api.ask("GET", f"{STATEMENTS}/{made.json()['statement']}")

    assert (201, 200) == (made.status_code, again.status_code)
    assert made.json() == again.json()
    assert (2, "0.123806") == (
        shown.json()["totals"]["requests"],
        shown.json()["totals"]["energy_joules"],
    )
    assert made.json()["statement"] == shown.json()["statement_id"]
    assert made.json()["chain"] == shown.json()["proof"]["chain"]


async def test_csv_and_html_derive_from_the_master(api: Administered) -> None:
    """The same totals in each; the page may run no script."""
    api.record()
    made = await api.ask("POST", STATEMENTS, {"tenant": "acme"})
    path = f"{STATEMENTS}/{made.json()['statement']}"

    csv = await api.ask("GET", f"{path}?format=csv")
    html = await api.ask("GET", f"{path}?format=html")

    assert ("text/csv; charset=utf-8", True) == (csv.headers["content-type"], "0.061903" in csv.text)
    assert ("text/html; charset=utf-8", True) == (html.headers["content-type"], "0.061903" in html.text)
    assert html.headers["content-security-policy"].startswith("default-src 'none'")


async def test_statements_are_listed_by_tenant(api: Administered) -> None:
    """A page at a time; making one changes nothing in the ledger."""
    api.record()
    size = api.ledger.head().size
    for tenant in ("globex", "acme"):
        await api.ask("POST", STATEMENTS, {"tenant": tenant, "period": "today"})

    first = await api.get("statements", limit=1)
    second = await api.get("statements", limit=1, cursor=first["next_cursor"])

    assert ["acme", "globex"] == [page["items"][0]["tenant"] for page in (first, second)]
    assert ["globex"] == [one["tenant"] for one in (await api.get("statements", tenant="globex"))["items"]]
    assert size == api.ledger.head().size


@pytest.mark.parametrize(
    "name", ["..", "nothing", "..%2f..%2fledger.db", "acme-2026-11-22h00-2026-11-23h00-0123456789ab"]
)
async def test_what_is_no_statement_is_not_found(name: str, api: Administered) -> None:
    """An id becomes a file's name: nothing else than an id reaches the disk."""
    assert 404 == (await api.ask("GET", f"{STATEMENTS}/{name}")).status_code


async def test_a_statement_is_folded_by_a_process_of_its_own(gateway: Gateway, config: Config, tmp_path: Path) -> None:
    """The same bytes as in this one; its errors arrive with their code, not as a crash."""
    async with administered(gateway, config, tmp_path, folding=None) as api:
        api.record()
        made = await api.ask("POST", STATEMENTS, {"tenant": "acme", "period": "today"})
        head = api.ledger.head()
        with api.ledger.writing() as connection:
            connection.exec_driver_sql("PRAGMA user_version = 99")
        refused = await api.ask("POST", STATEMENTS, {"tenant": "acme", "period": "today"})

    assert (201, head.size, head.chain) == (made.status_code, made.json()["size"], made.json()["chain"])
    assert (503, "ledger-unavailable") == (refused.status_code, refused.json()["code"])


def test_a_fold_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    """The client is told where to run it instead."""
    with pytest.raises(DeadlineExceeded, match="run the `greenserve` command"):
        Folds(timeout_s=0.01)(Job(kind="verify", ledger=str(tmp_path / "ledger.db")))


async def test_a_fold_ends_with_its_gateway(tmp_path: Path) -> None:
    """Closing ends the other process: nothing is left behind that nobody waits for."""
    folds, reading = Folds(), tmp_path / "ledger.db"
    os.mkfifo(reading)
    call = asyncio.create_task(asyncio.to_thread(folds, Job(kind="verify", ledger=str(reading))))
    await until(lambda: repr(folds) == "<Folds: 1 at work>")

    folds.close()

    with pytest.raises(GreenServeError, match="ended with -9"):
        await call
    assert "<Folds: 0 at work>" == repr(folds)
