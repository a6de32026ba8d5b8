"""`/admin/v1/ledger` and `/audit`: the ledger's head and rows, whether it verifies, and who may do what since when."""

from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query
from fastapi.responses import Response
from pydantic import BaseModel, Field

from greenserve.carbon.budgets import iso
from greenserve.carbon.ledger.lookup import changes, line_at
from greenserve.carbon.ledger.offline import Job
from greenserve.carbon.ledger.proofs import newest_note, verifiers
from greenserve.carbon.receipt import Line
from greenserve.errors import NotFound
from greenserve.serve.http.admin import fields
from greenserve.serve.http.admin.answers import Problems, answer
from greenserve.serve.http.admin.office import Office
from greenserve.serve.http.admin.pages import Cursor, Limit, Page, after_of, cut_of

LARGEST_INDEX = 2**62
Head = Annotated[str, Field(pattern=r"^[0-9]{1,18}:[0-9a-fA-F]{64}$", description="SIZE:HASH as a checkpoint has it.")]


class Checkpoint(BaseModel):
    """The ledger's head: keep `head`, and `ledger/verify` against it later finds what was changed or cut since.

    `note` is the newest signed checkpoint (C2SP signed note), `verifier_keys` check it; null for an empty ledger.
    """

    size: int
    chain: str
    head: str
    at: str
    signed: bool
    note: str | None
    verifier_keys: list[str]
    provisional_requests: int


class EntryShown(BaseModel):
    """A row: its body is canonical JSON, `body_sha256` its digest; its leaf in the ledger's Merkle tree (RFC 6962) is
    `leaf_hash`, SHA-256(00 || `salt` || body)."""

    index: int
    salt: str
    leaf_hash: str
    body_sha256: str
    body: dict[str, Any]


class Against(fields.Body):
    """A head kept earlier; null: the ledger alone."""

    against: Head | None = None


class Verified(BaseModel):
    """Whether everything re-derives; each finding names the first bad index."""

    verified: bool
    size: int
    chain: str
    findings: list[str]


class ChangeShown(BaseModel):
    """An administrative change, by its entry in the ledger: what was true of the subject from then on."""

    index: int
    at: str
    kind: Literal["tenant", "key", "budget"]
    subject: str
    tenant: str
    revision: int
    actor: str | None = Field(description="Who made it, as key:ID or cli:USER; null where the entry does not tell.")
    change: dict[str, Any]


class BookPaths:
    """Read the ledger."""

    def __init__(self, office: Office) -> None:
        self._office = office

    def router(self) -> APIRouter:
        """All paths."""
        router = APIRouter(route_class=Problems, tags=["ledger"])
        router.get("/ledger/checkpoint", responses={200: {"model": Checkpoint}})(self.checkpoint)
        router.get("/ledger/entries/{index}", responses={200: {"model": EntryShown}})(self.entry)
        router.post("/ledger/verify", responses={200: {"model": Verified}})(self.verify)
        router.get("/audit", responses={200: {"model": Page[ChangeShown]}})(self.audit)
        return router

    async def checkpoint(self) -> Response:
        """The ledger's head now, with its signed note."""
        office = self._office

        def work() -> Checkpoint:
            head = office.ledger.head()
            note = newest_note(office.ledger) if head.size else None
            return Checkpoint(
                size=head.size,
                chain=head.root,
                head=str(head),
                at=iso(office.clock.unix_us()),
                signed=note is not None,
                note=note,
                verifier_keys=[key.text for key in verifiers(office.ledger)],
                provisional_requests=len(office.ledger.unsettled()),
            )

        return answer(await office.desk.run(work))

    async def entry(self, index: Annotated[int, Path(ge=0, le=LARGEST_INDEX)]) -> Response:
        """One row by its index."""
        ledger = self._office.ledger

        def work() -> EntryShown:
            line = line_at(ledger, index)
            if line is None:
                raise NotFound(f"the ledger has no entry {index}; it has {ledger.head().size}, counted from 0")
            return EntryShown(
                index=index,
                salt=line.salt,
                leaf_hash=line.leaf_hash,
                body_sha256=line.body_sha256,
                body=dict(line.body),
            )

        return answer(await self._office.desk.run(work))

    async def verify(self, body: Against | None = None) -> Response:
        """Derive again everything that can be, in a process of its own; one such call at a time."""
        ledger, fold = self._office.ledger, self._office.fold
        against = None if body is None else body.against

        def work() -> Verified:
            found = fold(Job(kind="verify", ledger=ledger.url, files=str(ledger.path)))
            findings = [*_changed(against, None if against is None else ledger.root_at(_size(against)))]
            findings += found["findings"]
            return Verified(verified=not findings, size=found["size"], chain=found["chain"], findings=findings)

        return answer(await self._office.archive.run(work))

    async def audit(
        self,
        limit: Limit = 50,
        cursor: Cursor = None,
        kind: Literal["tenant", "key", "budget"] | None = None,
        tenant: Annotated[str | None, Query(max_length=200)] = None,
    ) -> Response:
        """Changes of tenants, keys and budgets, newest first."""
        after = after_of(cursor, "audit", [int])
        work = partial(
            changes,
            self._office.ledger,
            before=None if after is None else int(after[0]),
            limit=limit + 1,
            kind=kind,
            tenant=tenant,
        )
        found = await self._office.desk.run(work)
        items, next_cursor = cut_of(found, key=lambda line: (line.index,), limit=limit, name="audit")
        return answer(Page(items=[_change(line) for line in items], next_cursor=next_cursor))


def _size(against: str) -> int:
    return int(against.partition(":")[0])


def _changed(against: str | None, now: str | None) -> list[str]:
    """What a head that was kept earlier says of the ledger now, whose root hash at that size is `now`."""
    if against is None:
        return []
    size, chain = _size(against), against.partition(":")[2].lower()
    if now is None:
        return [f"the ledger had {size} entries and has fewer now: its tail was cut"]
    if now != chain:
        return [f"entry {size - 1}: the root hash was {chain}, now {now}: an entry up to here was changed"]
    return []


def _change(line: Line) -> ChangeShown:
    body = line.body
    kind = body["kind"]
    subject = body["tenant"] if kind == "tenant" else body[f"{kind}_id"]
    about = {"kind", "tenant", f"{kind}_id", "revision", "at_us", "v", "actor"}
    return ChangeShown(
        index=line.index,
        at=iso(body["at_us"]),
        kind=kind,
        subject=subject,
        tenant=body["tenant"],
        revision=body["revision"],
        actor=body.get("actor"),
        change={name: value for name, value in body.items() if name not in about},
    )
