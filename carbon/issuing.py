"""Making a statement: what it covers, which version it is, and whether it is signed. For the command and the API."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from greenserve import __version__
from greenserve.canonical import canonical_json
from greenserve.carbon.budgets import iso
from greenserve.carbon.declared import config_digest, terms_of
from greenserve.carbon.ledger.statement_files import StatementFiles
from greenserve.carbon.periods import moment_us
from greenserve.carbon.revision import revise
from greenserve.carbon.signing import Signer, read_signer, signing_key_path
from greenserve.config import Config
from greenserve.errors import NotFound
from greenserve.records import Statement

ISSUERS = ("statement_id", "version", "replaces", "corrections", "signature")
"""Members that follow from earlier statements and from the key, not from the ledger."""
Folding = Callable[[Mapping[str, Any]], Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Whose statement (`folded.EVERYBODY`: the operator's), of which time [us UTC], against which declared baseline."""

    tenant: str
    start_us: int
    end_us: int
    baseline: str | None = None


def scope_members(order: Order, config: Config) -> dict[str, Any]:
    """The members of `Scope` but the ledger's head, as JSON."""
    return {
        "tenant": order.tenant,
        "start_us": order.start_us,
        "end_us": order.end_us,
        "issuer": config.reporting.issuer,
        "software": f"greenserve {__version__}",
        "config_sha256": config_digest(config),
        "terms": terms_of(config, order.baseline).members(),
    }


def issue(order: Order, *, config: Config, files: StatementFiles, fold: Folding) -> Statement:
    """The statement of an order: folded, numbered after the newest one that is kept, signed where it may be.

    `fold` makes a document from the members of a scope. The same figures as in the newest one give that one again.
    """
    members = scope_members(order, config)
    compared = members["terms"]["baselines"]
    before = newest(files, order, baseline=compared[0]["name"] if compared else None)
    revised = revise(fold(members), before)
    if revised["signature"] is None and not revised["watermarks"]:
        revised = signer_of(config).sign(revised)
    return Statement(
        statement_id=revised["statement_id"],
        tenant=order.tenant,
        start_us=order.start_us,
        end_us=order.end_us,
        document=revised,
    )


def rederived(document: Mapping[str, Any], *, config: Config, fold: Folding) -> tuple[str, ...]:
    """The members of a statement that a fold of the ledger does not give again; empty where all agree.

    `fold` reads the ledger up to the size that the statement names. Version, corrections and signature are the
    issuer's; the configuration must declare the same factors.
    """
    compared = document["counterfactual"]
    order = Order(
        tenant=document["tenant"],
        start_us=moment_us(document["start"]),
        end_us=moment_us(document["end"]),
        baseline=None if compared is None else compared["baseline"],
    )
    stated = {name: document[name] for name in ("issuer", "software", "config_sha256")}
    proof = {name: document["proof"][name] for name in ("size", "chain")}
    again = fold(scope_members(order, config) | stated | proof)
    return tuple(
        f"{name}: the statement has {str(document.get(name))[:200]}, the ledger gives {str(value)[:200]}"
        for name, value in again.items()
        if name not in ISSUERS and canonical_json(document.get(name)) != canonical_json(value)
    )


def signer_of(config: Config) -> Signer:
    """Who signs: the configured key, else the one beside the ledger, made on first use."""
    return read_signer(config.carbon.signing_key or signing_key_path(config.ledger.path))


def newest(files: StatementFiles, order: Order, *, baseline: str | None) -> Mapping[str, Any] | None:
    """The kept statement of the highest version for the same tenant, period and baseline; None where there is none."""
    start, end = (iso(at_us)[:13].replace("T", "h") for at_us in (order.start_us, order.end_us))
    prefix = f"{order.tenant.lstrip('_')}-{start}-{end}-"
    found: Mapping[str, Any] | None = None
    for statement_id in files.ids():
        if not statement_id.startswith(prefix) or len(statement_id) != len(prefix) + 12:
            continue
        try:
            document: Mapping[str, Any] = files.get(statement_id).document
        except NotFound:
            continue
        if document["tenant"] != order.tenant or "version" not in document:
            continue
        if _baseline(document) == baseline and (found is None or document["version"] > found["version"]):
            found = document
    return found


def _baseline(document: Mapping[str, Any]) -> str | None:
    compared = document["counterfactual"]
    name: str | None = None if compared is None else compared["baseline"]
    return name
