"""The administration API as a whole: its description, threads and pages, and what happens when something breaks."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.config import Config
from greenserve.errors import InvalidRequest, Overloaded
from greenserve.serve.gateway import Gateway
from greenserve.serve.http.admin.app import PREFIX
from greenserve.serve.http.admin.desk import Desk
from greenserve.serve.http.admin.pages import after_of, cursor_of, cut
from tests.serve.administering import Administered, administered

DESCRIPTION = f"{PREFIX}/openapi.json"


@pytest.fixture
async def api(gateway: Gateway, config: Config, tmp_path: Path) -> AsyncIterator[Administered]:
    """The API over a running gateway."""
    async with administered(gateway, config, tmp_path) as running:
        yield running


async def test_the_api_describes_itself(api: Administered) -> None:
    """Every path lies under the prefix, and every answer with a body has a schema; for administrators alone."""
    document = (await api.ask("GET", DESCRIPTION)).json()
    tenant = await api.ask("GET", DESCRIPTION, key=api.acme_key)

    assert 403 == tenant.status_code
    assert {f"{PREFIX}/{path}" for path in ("tenants", "keys/{key_id}:rotate", "routes:explain", "audit")} <= set(
        document["paths"]
    )
    assert all(path.startswith(f"{PREFIX}/") for path in document["paths"])
    assert len(document["paths"]) >= 24
    refused = document["paths"][f"{PREFIX}/audit"]["get"]["responses"]["4XX"]
    assert {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}} == refused["content"]
    patch = document["paths"][f"{PREFIX}/tenants/{{tenant}}"]["patch"]
    assert ["application/merge-patch+json"] == list(patch["requestBody"]["content"])


async def test_the_description_takes_get_alone(api: Administered) -> None:
    """405 with what is allowed."""
    refused = await api.ask("POST", DESCRIPTION)

    assert (405, "GET") == (refused.status_code, refused.headers["allow"])


async def test_a_merge_patch_s_own_media_type_is_read(api: Administered) -> None:
    """application/merge-patch+json as well as application/json."""
    patched = await api.ask(
        "PATCH", f"{PREFIX}/tenants/acme", b'{"burst": 5}', content_type="application/merge-patch+json; charset=utf-8"
    )

    assert (200, 5) == (patched.status_code, patched.json()["burst"])


async def test_an_unforeseen_failure_is_a_problem_without_a_trace(
    gateway: Gateway, config: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has it; the caller gets a code and an id."""

    def broken(budget: str) -> int:
        raise RuntimeError("secret")

    with caplog.at_level(logging.ERROR, logger="greenserve.admin"):
        async with administered(gateway, config, tmp_path, reserved=broken) as api:
            failed = await api.ask("POST", f"{PREFIX}/budgets", {"tenant": "acme", "limit": "1kJ"})

    assert (500, "internal", False) == (failed.status_code, failed.json()["code"], "secret" in failed.text)
    assert "secret" in caplog.text


async def test_a_ledger_that_cannot_be_read_is_503(api: Administered) -> None:
    """The caller may try again; nothing is guessed."""
    with api.ledger.writing() as connection:
        connection.exec_driver_sql("ALTER TABLE tenant RENAME TO gone")

    failed = await api.ask("GET", f"{PREFIX}/tenants")

    assert (503, "ledger-unavailable") == (failed.status_code, failed.json()["code"])


async def test_changes_are_logged_with_the_key_that_made_them(
    api: Administered, caplog: pytest.LogCaptureFixture
) -> None:
    """Who did what, by the key's public id; reading is not logged."""
    with caplog.at_level(logging.INFO, logger="greenserve.admin"):
        await api.get("tenants")
        answer = await api.ask("POST", f"{PREFIX}/tenants", {"tenant": "new"})

    (line,) = [record.getMessage() for record in caplog.records if record.name == "greenserve.admin"]
    assert f"POST {PREFIX}/tenants by key {api.admin_key.split('_')[1]}: 201" in line
    assert line.startswith(answer.headers["greenserve-request-id"])


async def test_blocking_calls_leave_the_loop_free_and_are_bounded() -> None:
    """The loop goes on while a call waits; one call too many is refused and told when to come again."""
    desk, go = Desk("a test", threads=1, most_waiting=2), threading.Event()
    held = [asyncio.create_task(desk.run(go.wait)) for _ in range(2)]
    await asyncio.sleep(0)

    with pytest.raises(Overloaded) as refused:
        await desk.run(lambda: None)
    go.set()

    assert [True, True] == await asyncio.gather(*held)
    assert 1 == refused.value.retry_after_s
    assert "after" == await desk.run(lambda: "after")
    desk.close()


async def test_a_call_whose_client_left_is_finished_and_gives_its_place_back() -> None:
    """A change that began is never half done; one that did not begin is dropped."""
    desk, begun, go, done = Desk("a test", threads=1, most_waiting=2), threading.Event(), threading.Event(), []

    def work() -> None:
        begun.set()
        go.wait(5)
        done.append("first")

    first = asyncio.create_task(desk.run(work))
    second = asyncio.create_task(desk.run(lambda: done.append("second")))
    assert await asyncio.to_thread(begun.wait, 5)
    for task in (first, second):
        task.cancel()
    await asyncio.gather(first, second, return_exceptions=True)
    go.set()

    assert "third" == await desk.run(lambda: "third")
    assert ["first"] == done
    desk.close()


keys = st.lists(st.tuples(st.integers(-(2**60), 2**60), st.text(max_size=5)), unique=True)


@given(keys, st.integers(1, 7))
def test_pages_are_the_list(drawn: list[tuple[int, str]], limit: int) -> None:
    """Whatever the limit, the pages one after the other hold every item once, in order."""
    ordered, seen = sorted(drawn), []
    cursor: str | None = None
    while True:
        after = after_of(cursor, "drawn", [int, str])
        items, cursor = cut(ordered, key=lambda one: one, after=after, limit=limit, name="drawn")
        seen += items
        assert len(items) <= limit
        if cursor is None:
            break

    assert ordered == seen


@given(st.text(max_size=60) | st.binary(max_size=40).map(lambda raw: raw.hex()))
def test_no_text_breaks_a_cursor(text: str) -> None:
    """It is read or refused, never an unforeseen error."""
    try:
        found: Any = after_of(text, "drawn", [int])
    except InvalidRequest:
        return
    assert text == cursor_of("drawn", found)
