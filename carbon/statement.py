"""A tenant's statement: a fold over the ledger's entries, the same bytes whoever folds them."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from greenserve.carbon.assembling import Budgets, Parts, assembled
from greenserve.carbon.budgets import iso
from greenserve.carbon.counterfactual import Counterfactual
from greenserve.carbon.embodied import embodied_ng, rates_ng_per_s
from greenserve.carbon.entries import HOURLY, RESERVATION, US_PER_HOUR, counted_us
from greenserve.carbon.facts import fact_of
from greenserve.carbon.folded import EVERYBODY, Folded, Scope
from greenserve.carbon.held_lines import HeldLines
from greenserve.carbon.hour_check import HourCheck
from greenserve.carbon.ledger.rollup import RollupKey, rollup_key
from greenserve.carbon.market import MarketFold
from greenserve.carbon.pooled import Pooled
from greenserve.carbon.reconciliation import Reconciliation
from greenserve.carbon.restated_keys import CAUSES
from greenserve.carbon.restating import RESTATED, more_uj
from greenserve.carbon.shared import Shared
from greenserve.carbon.statement_changes import Changes
from greenserve.carbon.statement_document import BREAKDOWN, SCHEMA, document_of
from greenserve.carbon.statement_line import Line
from greenserve.carbon.tally import Tally
from greenserve.carbon.terms import Terms
from greenserve.errors import LedgerUnavailable
from greenserve.records import Entry, Statement

__all__ = ["BREAKDOWN", "EVERYBODY", "SCHEMA", "Scope", "build_statement", "fold", "statement_from"]
Body = Mapping[str, Any]


def build_statement(
    entries: Iterable[tuple[int, Entry]],
    scope: Scope,
    restated: Iterable[RollupKey] = (),
    kept: Iterable[tuple[RollupKey, Tally]] = (),
) -> Statement:
    """Fold all entries of the ledger, in order of index up to `scope.size`, into the tenant's statement.

    `restated` are the rows that `restated` entries among them change, `kept` those that stand for erased lines."""
    return statement_from(fold(entries, scope, restated, kept))


def statement_from(folded: Folded) -> Statement:
    """The statement of sums, whoever folded them."""
    document, scope = document_of(folded), folded.scope
    return Statement(
        statement_id=str(document["statement_id"]),
        tenant=scope.tenant,
        start_us=scope.start_us,
        end_us=scope.end_us,
        document=document,
    )


def fold(
    entries: Iterable[tuple[int, Entry]],
    scope: Scope,
    restated: Iterable[RollupKey] = (),
    kept: Iterable[tuple[RollupKey, Tally]] = (),
) -> Folded:
    """The sums of a statement from single entries, in order of index up to `scope.size`.

    LedgerUnavailable where a settled line has no open one before it, or a restatement's row is not in `restated`.
    """
    folding = _Fold(scope, HeldLines(restated))
    folding.run(entries)
    for row, tally in kept:
        folding.keep(row, tally)
    return folding.folded()


class _Fold:
    """State: the total and the lines of the breakdown, the reconciliation, facts that need a watermark or a factor."""

    def __init__(self, scope: Scope, held: HeldLines) -> None:
        self._scope, self._terms, self._held = scope, Terms.of(scope.terms), held
        self._changes = Changes(scope)
        self._rates = rates_ng_per_s(self._terms.hardware)
        self._total = self._line()
        self._lines: dict[tuple[str, ...], Line] = {}
        self._tenants: dict[str, Line] = {}
        self._reconciliation = Reconciliation(
            tenant=scope.tenant, start_us=scope.start_us, end_us=scope.end_us, everybody=scope.tenant == EVERYBODY
        )
        self._market, self._pooled, self._shared = MarketFold(), Pooled(), Shared(scope)
        self._check = HourCheck()
        self._counterfactual = Counterfactual(self._terms.baselines)
        self._uncharged = 0
        self._facts: Counter[tuple[str, str]] = Counter()
        self._budgets = Budgets(scope)
        self._first: int | None = None
        self._last: int | None = None

    def run(self, entries: Iterable[tuple[int, Entry]]) -> None:
        """Fold the newest line of each request of the period, every device interval and every budget's change."""
        for body in self._newest(entries):
            counted = counted_us(body)
            if not self._scope.holds(counted):
                continue
            own, hour = self._scope.covers(body["tenant"]), counted // US_PER_HOUR
            if not body["charged"]:
                self._uncharged += own
                continue
            key = (iso(counted)[:10], body["model"], body["variant"] or "", body["region"] or "")
            self._market.add(body, hour, key if own else None)
            self._pooled.add(body, hour)
            if own:
                self._take(body, key)

    def keep(self, row: RollupKey, tally: Tally) -> None:
        """Take the sums of an hour whose lines were erased."""
        if not self._scope.holds(row.hour * US_PER_HOUR):
            return
        own = self._scope.covers(row.tenant)
        self._reconciliation.lose(tally.energy_uj - tally.provisional_uj - tally.unreconciled_uj)
        self._uncharged += tally.not_charged if own else 0
        if not tally.requests:
            return
        key = (iso(row.hour * US_PER_HOUR)[:10], row.model, row.variant, row.region)
        if tally.facility_uj:
            energy_uj = tally.energy_uj - tally.facility_unknown_uj
            place = (row.hour, row.region)
            self._market.add_sum(place, key if own else None, facility_uj=tally.facility_uj, energy_uj=energy_uj)
        self._pooled.add_sums(tally, row.hour)
        if own:
            for line in (
                self._total,
                self._lines.setdefault(key, self._line()),
                self._tenants.setdefault(row.tenant, self._line()),
            ):
                line.keep(tally)
            self._counterfactual.not_compared += tally.requests
            for fact, requests in tally.facts.items():
                self._facts[row.region, fact] += requests

    def _take(self, body: Body, key: tuple[str, ...]) -> None:
        share_ng = embodied_ng(body, self._rates)
        lines = [self._total, self._lines.setdefault(key, self._line())]
        if self._scope.tenant == EVERYBODY:
            lines.append(self._tenants.setdefault(body["tenant"], self._line()))
        for line in lines:
            line.add(body, share_ng)
        self._counterfactual.add(body)
        self._changes.late.add(body)
        self._facts[body["region"] or "", fact_of(body)] += 1

    def _newest(self, entries: Iterable[tuple[int, Entry]]) -> Iterator[Body]:
        """Each usage once: settled over provisional. A provisional line waits here until its settled one comes."""
        waiting: dict[tuple[str, int], Body] = {}
        expected = 0
        for idx, entry in entries:
            if idx >= self._scope.size:
                break
            if idx != expected:
                # Rows between were erased: who had a part of their hours cannot be derived any more.
                self._check.skip(idx - expected)
                self._reconciliation.lose()
            expected = idx + 1
            if entry.kind == "device_interval":
                self._close(idx, entry.body)
            elif entry.kind in HOURLY:
                self._hourly(idx, entry)
            elif entry.kind == "budget":
                self._budgets.take(entry.body)
            elif entry.kind == RESERVATION:
                self._check.reserve(entry.body)
            elif entry.kind in CAUSES:
                self._held.causes[idx] = entry.body
            elif entry.kind == RESTATED:
                self._restate(idx, entry.body)
            if entry.kind != "usage":
                continue
            if self._scope.covers(entry.tenant) and self._scope.holds(counted_us(entry.body)):
                self._first = idx if self._first is None else self._first
                self._last = idx
            request = (entry.key, entry.attempt)
            if entry.revision == 0:
                waiting[request] = entry.body
            else:
                if request not in waiting:
                    raise LedgerUnavailable(
                        f"entry {idx} settles {entry.key}, which has no open line: run `greenserve ledger verify`"
                    )
                self._reconciliation.settle(entry.body)
                first = waiting.pop(request)
                self._check.settle(idx, entry.body, first)
                whole = {**first, **entry.body}
                if self._held and self._held.wants(row := rollup_key(whole, entry.hour)):
                    self._held.hold(row, request, whole)
                else:
                    yield whole
        yield from self._held.lines()
        yield from waiting.values()

    def _hourly(self, idx: int, entry: Entry) -> None:
        """A closed hour or a share of it, where it is what the lines and intervals before it give."""
        of_hour = entry.kind == "device_hour"
        findings = self._check.hour(idx, entry.body) if of_hour else self._check.share(idx, entry.body)
        for finding in findings:
            raise LedgerUnavailable(f"entry {idx} ({entry.kind}): {finding}: run `greenserve ledger verify`")
        if of_hour:
            self._shared.hour(entry.body)
        else:
            self._shared.share(entry.body)

    def _restate(self, idx: int, body: Body) -> None:
        try:
            self._held.restate(body)
        except ValueError as error:
            raise LedgerUnavailable(f"entry {idx} restates nothing: {error}; run `greenserve ledger verify`") from None
        if self._scope.holds(body["hour"] * US_PER_HOUR):
            self._reconciliation.restate(body["tenant"], more_uj(body))
        self._changes.restated(idx, body, self._held.causes)

    def _close(self, idx: int, body: Body) -> None:
        self._check.close(idx, body)
        self._shared.interval(idx, body)
        self._reconciliation.close(body)
        if self._scope.holds(body["at_us"]):
            hour = body["at_us"] // US_PER_HOUR
            self._market.close(hour, body["metered_uj"])
            self._pooled.close(body, hour)

    def _line(self) -> Line:
        return Line(embodied=bool(self._rates))

    def folded(self) -> Folded:
        """The sums, contracts applied."""
        self._reconciliation.fill()
        return assembled(
            self._scope,
            self._terms,
            Parts(
                total=self._total,
                lines=self._lines,
                tenants=self._tenants,
                reconciliation=self._reconciliation,
                market=self._market,
                pooled=self._pooled,
                shared=self._shared,
                counterfactual=self._counterfactual,
                uncharged=self._uncharged,
                facts=self._facts,
                budgets=self._budgets,
                indexes=(self._first, self._last),
                changes=self._changes,
            ),
        )
