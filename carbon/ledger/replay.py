"""A statement again from the ledger's entries: every member the same, or what differs."""

from collections.abc import Mapping
from typing import Any

import orjson

from greenserve.carbon.issuing import rederived
from greenserve.carbon.ledger.book import SqlLedger
from greenserve.carbon.ledger.lookup import row_at
from greenserve.carbon.ledger.stating import kept_in, restated_in
from greenserve.carbon.ledger.verify import old_chain_at
from greenserve.carbon.removed_keys import is_erased
from greenserve.carbon.scope import EVERYBODY
from greenserve.carbon.statement import Scope, build_statement
from greenserve.carbon.statement_audit import faults_of
from greenserve.config import Config
from greenserve.errors import InvalidRequest


def replay(ledger: SqlLedger, given: bytes, *, config: Config) -> list[str]:
    """Differences between a statement's JSON and what its entries give now, empty where no member differs.

    Version, corrections and signature are the issuer's; `config` must declare the same factors. InvalidRequest for a
    file that is no statement, or one of a longer ledger than this.
    """
    try:
        document: Mapping[str, Any] = orjson.loads(given)
        size, chain = int(document["proof"]["size"]), str(document["proof"]["chain"])
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise InvalidRequest(
            f"this is no statement ({type(error).__name__} {error}): give the JSON that `greenserve report` wrote"
        ) from None
    findings = list(faults_of(document))
    if findings:
        return findings
    root = ledger.root_at(size)
    if root is None:
        raise InvalidRequest(f"the statement covers {size} entries, the ledger has {ledger.head().size}")
    # Statements of formats 1 and 2 carry the chain hash that stood there then.
    if root != chain and old_chain_at(ledger.rows(), size) != chain:
        return [f"proof.chain: the statement says {chain}, the ledger's root at {size} is {root}"]

    if (subject := _erased_subject(ledger, document)) is not None:
        raise InvalidRequest(
            "the entries of this statement were erased, with their tenant: they cannot be folded again; its totals are "
            f"in the hourly sums of {subject}, and `greenserve ledger verify` says when and why"
        )
    restated, kept = restated_in(ledger), kept_in(ledger)

    def fold(members: Mapping[str, Any]) -> Mapping[str, Any]:
        return build_statement(ledger.entries(), Scope(**members), restated, kept).document

    return list(rederived(document, config=config, fold=fold))


def _erased_subject(ledger: SqlLedger, document: Mapping[str, Any]) -> str | None:
    """The stand-in of the tenant whose statement it was; None where its first entry is not erased, or it has none."""
    first = document["proof"].get("first_index")
    row = None if first is None or document["tenant"] == EVERYBODY else row_at(ledger, int(first))
    return row.tenant if row is not None and is_erased(row.tenant) else None
