"""What every administrative path works with."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from fastapi import Request

from greenserve.carbon.ledger.book import SqlLedger
from greenserve.carbon.ledger.offline import Job
from greenserve.carbon.ledger.statement_files import StatementFiles
from greenserve.carbon.ledger.tenancy import TenancyStore
from greenserve.carbon.periods import moment_us
from greenserve.config import Config
from greenserve.errors import InvalidRequest
from greenserve.ports import Clock
from greenserve.quantities import parse_duration_s
from greenserve.serve.admission import Administrator
from greenserve.serve.gateway import Gateway
from greenserve.serve.http.admin.desk import Desk
from greenserve.units import US_PER_S

Reload = Callable[[str], Awaitable[Mapping[str, object]]]
Reserved = Callable[[str], int]
Folding = Callable[[Job], dict[str, Any]]
ADMINISTRATOR_KEY = "greenserve.administrator"
LONGEST_US = 100 * 366 * 86_400 * US_PER_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Office:
    """The gateway and its ledger; `desk` for calls that block, `archive` for `fold`, one at a time.

    `reserved` tells what this replica has promised of a budget by its id (ledger integer), `reload` loads a model's
    manifest again; None: not offered.
    """

    gateway: Gateway
    config: Config
    ledger: SqlLedger
    store: TenancyStore
    statements: StatementFiles
    clock: Clock
    fingerprint: str
    desk: Desk
    archive: Desk
    fold: Folding
    reserved: Reserved | None
    reload: Reload | None

    def store_for(self, request: Request) -> TenancyStore:
        """The store for a change: entries name the admin key that makes it."""
        return self.store.by(f"key:{administrator_of(request).key_id}")

    def check_models(self, field: str, names: list[str] | frozenset[str] | None) -> None:
        """InvalidRequest where one of the names is no model that is served."""
        known = {model.name for model in self.gateway.models}
        check_names(field, "model", names, known)

    def check_regions(self, field: str, names: list[str] | frozenset[str] | None) -> None:
        """InvalidRequest where one of the names is no region."""
        check_names(field, "region", names, {region.name for region in self.config.regions})

    def end_us(self, field: str, text: str | None) -> int | None:
        """`90d` from now or a time as us UTC; InvalidRequest names the field."""
        if text is None:
            return None
        now_us = self.clock.unix_us()
        try:
            return now_us + self.length_us(field, text) if text[-1:] in {"s", "m", "h", "d"} else moment_us(text)
        except InvalidRequest as error:
            raise InvalidRequest(f"{field}: {str(error).removeprefix(f'{field}: ')}") from None

    @staticmethod
    def length_us(field: str, text: str) -> int:
        """`24h` as us; InvalidRequest names the field."""
        try:
            length_us = round(parse_duration_s(text) * US_PER_S)
        except (ValueError, OverflowError) as error:
            raise InvalidRequest(f"{field}: {error}") from None
        if length_us > LONGEST_US:
            raise InvalidRequest(f"{field}: up to 36600d, got {text!r:.40}")
        return length_us


def administrator_of(request: Request) -> Administrator:
    """Who asks; proven before the request came here."""
    found = request.scope[ADMINISTRATOR_KEY]
    assert isinstance(found, Administrator)
    return found


def check_names(field: str, kind: str, names: Collection[str] | None, known: AbstractSet[str]) -> None:
    """InvalidRequest where one of the names is none of the known ones."""
    unknown = sorted(set(names) - known) if names else []
    if unknown:
        raise InvalidRequest(f"{field}: no {kind} {unknown[0]!r:.80}; there are {', '.join(sorted(known))}")
