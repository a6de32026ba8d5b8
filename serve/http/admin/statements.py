"""`/admin/v1/statements`: made from the ledger, kept beside it, shown in every format that takes no time."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi.responses import Response
from pydantic import BaseModel, Field

from greenserve.carbon.budgets import iso
from greenserve.carbon.formats.catalogue import FORMATS
from greenserve.carbon.issuing import Order, issue
from greenserve.carbon.ledger.offline import Job
from greenserve.carbon.periods import WRITTEN, bounds_of
from greenserve.records import Statement
from greenserve.serve.http.admin import fields
from greenserve.serve.http.admin.answers import Problems, answer
from greenserve.serve.http.admin.office import Office
from greenserve.serve.http.admin.pages import Cursor, Limit, Page, after_of, cut

Name = Literal["json", "csv", "html", "focus", "boamps"]
"""The light formats; parquet and pdf need extras and seconds: `greenserve report` writes them."""
NO_SCRIPT = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"


class NewStatement(fields.Body):
    """Whose statement, and of which UTC period."""

    tenant: fields.Text
    period: Annotated[str, Field(max_length=40, description=WRITTEN)] = "all"


class StatementLine(BaseModel):
    """A statement in the list; `size` and `chain` are the ledger's head that it was folded to."""

    statement: str
    tenant: str
    start: str
    end: str
    made: str
    size: int
    chain: str


class StatementPaths:
    """Make, list and show statements."""

    def __init__(self, office: Office) -> None:
        self._office = office

    def router(self) -> APIRouter:
        """All paths."""
        router = APIRouter(route_class=Problems, tags=["statements"])
        line: dict[int | str, Any] = {201: {"model": StatementLine}, 200: {"model": StatementLine}}
        router.get("/statements", responses={200: {"model": Page[StatementLine]}})(self.page)
        router.post("/statements", status_code=201, responses=line)(self.create)
        router.get("/statements/{statement}")(self.show)
        return router

    async def page(
        self,
        limit: Limit = 50,
        cursor: Cursor = None,
        tenant: Annotated[str | None, Query(max_length=200)] = None,
    ) -> Response:
        """Statements by id, which begins with the tenant and the period."""
        after = after_of(cursor, "statements", [str])
        files = self._office.statements

        def work() -> Page[StatementLine]:
            wanted = [one for one in files.ids() if tenant in (None, _tenant_of(one))]
            items, next_cursor = cut(wanted, key=lambda one: (one,), after=after, limit=limit, name="statements")
            return Page(items=[self._line(files.get(one)) for one in items], next_cursor=next_cursor)

        return answer(await self._office.desk.run(work))

    async def create(self, body: NewStatement) -> Response:
        """Fold the ledger into a statement and keep it: 201, or 200 where the same one is there already."""
        office = self._office
        bounds = await office.desk.run(partial(self._bounds, body))
        made = await office.archive.run(partial(self._make, body.tenant, *bounds))
        line, is_new = await office.desk.run(partial(self._keep, made))
        return answer(line, status=201 if is_new else 200)

    async def show(self, statement: str, form: Annotated[Name, Query(alias="format")] = "json") -> Response:
        """A statement: the master JSON (RFC 8785), or another format, which derives from it."""
        wanted = FORMATS[form]
        work = partial(self._render, statement, wanted.render)
        headers = {
            "content-security-policy": NO_SCRIPT,
            "content-disposition": f'inline; filename="{statement}.{wanted.suffix}"',
        }
        return Response(await self._office.desk.run(work), 200, headers, wanted.media_type)

    def _bounds(self, body: NewStatement) -> tuple[int, int]:
        self._office.store.tenant(body.tenant)
        hours = self._office.ledger.hours() if body.period == "all" else None
        return bounds_of(body.period, now_us=self._office.clock.unix_us(), hours=hours)

    def _make(self, tenant: str, start_us: int, end_us: int) -> Statement:
        office = self._office
        order = Order(tenant=tenant, start_us=start_us, end_us=end_us)
        return issue(order, config=office.config, files=office.statements, fold=self._fold)

    def _fold(self, members: Mapping[str, Any]) -> Mapping[str, Any]:
        office = self._office
        return office.fold(
            Job(kind="statement", ledger=office.ledger.url, files=str(office.ledger.path), scope=dict(members))
        )

    def _keep(self, statement: Statement) -> tuple[StatementLine, bool]:
        is_new = self._office.statements.put(statement)
        return self._line(statement), is_new

    def _render(self, statement_id: str, render: Callable[[Statement], bytes]) -> bytes:
        return render(self._office.statements.get(statement_id))

    def _line(self, statement: Statement) -> StatementLine:
        document: Mapping[str, Any] = statement.document
        return StatementLine(
            statement=statement.statement_id,
            tenant=statement.tenant,
            start=iso(statement.start_us),
            end=iso(statement.end_us),
            made=self._office.statements.made(statement.statement_id),
            size=document["proof"]["size"],
            chain=document["proof"]["chain"],
        )


def _tenant_of(statement_id: str) -> str:
    """Behind the tenant come two times of 13 characters and 12 digits of the chain, each after a hyphen."""
    return statement_id[: -(2 * 14 + 13)]
