"""Who may call, and how much: authentication, rate, carbon budget, in this order.

State: tenants, keys and budgets as last read from the ledger's store, keys that proved themselves since, arrival
times per tenant, and what this replica has promised of each budget; changed only on the event loop.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil

from greenserve.carbon.budgets import Budget, judge
from greenserve.carbon.keys import hmac_of, parse, same_hmac
from greenserve.carbon.ledger.tenancy import Tenancy
from greenserve.config import TenantDefaults
from greenserve.errors import InvalidKey, RateLimited
from greenserve.ports import Clock
from greenserve.records import Admitted, InferenceRequest, Reservation, Tenant
from greenserve.serve.recorder import Recorded
from greenserve.units import NS_PER_S

UNBOUND = Reservation(budget_id=None, amount=0)
ANONYMOUS = Tenant(tenant_id="anonymous", name="anonymous callers", exposure="off")
SETTLE_NS = 3 * NS_PER_S
"""How long a recorded amount counts as promised: after that the ledger's own balance holds it."""


CostBound = Callable[[], tuple[int, int]]
"""Tells [uJ, ng]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """A tenant that proved itself, by which key, and until when that proof holds [us UTC]."""

    tenant: Tenant
    key_id: str
    expires_us: int | None = None


class Admission:
    """Lets requests in. `replicas` gateways share each tenant's rate and what is left of its budgets equally."""

    def __init__(self, *, auth: str, defaults: TenantDefaults, replicas: int, clock: Clock) -> None:
        self._auth = auth
        self._defaults = defaults
        self._replicas = replicas
        self._clock = clock
        self._tenancy: Tenancy | None = None
        self._used: Mapping[str, int] = {}
        self._callers: dict[str, Caller] = {}
        self._theoretical_ns: dict[str, int] = {}
        self._reserved: defaultdict[str, int] = defaultdict(int)
        self._recent: defaultdict[str, deque[tuple[int, int]]] = defaultdict(deque)

    def refresh(self, tenancy: Tenancy, used: Mapping[str, int]) -> None:
        """Take what the ledger's store says now: tenants, keys, budgets, and each budget's balance."""
        if self._tenancy is None or tenancy.revision != self._tenancy.revision:
            self._callers.clear()
        self._tenancy = tenancy
        self._used = used
        known_ns = self._clock.monotonic_ns() - SETTLE_NS
        for budget_id, recent in self._recent.items():
            while recent and recent[0][0] < known_ns:
                self._reserved[budget_id] -= recent.popleft()[1]

    def authenticate(self, credential: str | None) -> Caller:
        """Whose key it is; raises InvalidKey that says what is wrong, never more about keys than the caller knows."""
        if credential is None:
            if self._auth == "anonymous":
                return Caller(tenant=ANONYMOUS, key_id="anonymous")
            raise InvalidKey("a key is needed: send `Authorization: Bearer gs_...`, made by `greenserve key create`")
        caller = self._callers.get(credential)
        if caller is None or (caller.expires_us is not None and caller.expires_us <= self._clock.unix_us()):
            caller = self._callers[credential] = self._proven(credential)
        return caller

    def admit(
        self, caller: Caller, request: InferenceRequest, *, upper: CostBound, least: CostBound | None = None
    ) -> Admitted:
        """Let a request in under its tenant's rate and budgets.

        `upper` tells what it may cost at most, `least` what it costs at most by the cheapest answer that is allowed
        (None: as much). Neither is asked where no budget is.
        """
        self._pace(caller.tenant)
        budgets = self._tenancy.budgets.get(caller.tenant.tenant_id, ()) if self._tenancy else ()
        reservation = self._reserve(budgets, upper, least or upper) if budgets else UNBOUND
        return Admitted(request=request, tenant=caller.tenant, key_id=caller.key_id, reservation=reservation)

    def release(self, admitted: Admitted) -> None:
        """Give back what was reserved; what was used instead comes by `settle`."""
        if admitted.reservation.budget_id is not None:
            self._reserved[admitted.reservation.budget_id] -= admitted.reservation.amount

    def settle(self, admitted: Admitted, recorded: Recorded) -> None:
        """Count what was recorded until the ledger's own balance holds it."""
        budget_id = admitted.reservation.budget_id
        if budget_id is None or self._tenancy is None:
            return
        for budget in self._tenancy.budgets.get(admitted.tenant.tenant_id, ()):
            if budget.budget_id == budget_id:
                actual = {
                    "J": recorded.usage.energy_uj,
                    "requests": 1,
                    "gCO2e": admitted.reservation.amount if recorded.emissions_ng is None else recorded.emissions_ng,
                }[budget.unit]
                self._reserved[budget_id] += actual
                self._recent[budget_id].append((self._clock.monotonic_ns(), actual))

    def _proven(self, credential: str) -> Caller:
        key_id, secret = parse(credential)
        tenancy = self._tenancy
        record = tenancy.keys.get(key_id) if tenancy else None
        proof = hmac_of(tenancy.pepper if tenancy else b"", secret)
        if tenancy is None or not same_hmac(record.hmac if record else bytes(len(proof)), proof) or record is None:
            raise InvalidKey("no such key is known here; check that it was copied whole and made for this gateway")
        now_us = self._clock.unix_us()
        if record.revoked_us is not None:
            raise InvalidKey(f"key {key_id} was revoked; ask for a new one")
        if record.expires_us is not None and record.expires_us <= now_us:
            raise InvalidKey(f"key {key_id} has expired; ask for a new one")
        return Caller(tenant=tenancy.tenants[record.tenant_id], key_id=key_id, expires_us=record.expires_us)

    def _pace(self, tenant: Tenant) -> None:
        """GCRA: a request may come when its theoretical arrival time is at most `burst` intervals ahead."""
        rate = tenant.rate_per_s or self._defaults.rate_per_s
        burst = tenant.burst or self._defaults.burst
        interval_ns = ceil(NS_PER_S * self._replicas / rate)
        now_ns = self._clock.monotonic_ns()
        expected_ns = max(now_ns, self._theoretical_ns.get(tenant.tenant_id, 0))
        ahead_ns = expected_ns - now_ns - interval_ns * max(0, ceil(burst / self._replicas) - 1)
        if ahead_ns > 0:
            raise RateLimited(
                f"tenant {tenant.tenant_id} sends faster than {rate:g}/s with bursts of {burst}; slow down",
                retry_after_s=ceil(ahead_ns / NS_PER_S),
            )
        self._theoretical_ns[tenant.tenant_id] = expected_ns + interval_ns

    def _reserve(self, budgets: tuple[Budget, ...], upper: CostBound, least: CostBound) -> Reservation:
        """All budgets must pass; the tightest one is reserved on. What is left is shared equally by the replicas.

        A `degrade` budget refuses only where not even the cheapest allowed answer fits: before that it asks for it.
        """
        now_us = self._clock.unix_us()
        tightest = UNBOUND
        for budget in budgets:
            estimate = _in_unit(budget, upper())
            used, reserved = self._used.get(budget.budget_id, 0), self._reserved[budget.budget_id]
            others = reserved * (self._replicas - 1)
            verdict = judge(budget, used, reserved + others, estimate, now_us)
            degrade = verdict.degrade
            if verdict.refusal is not None and budget.mode == "degrade":
                estimate, degrade = _in_unit(budget, least()), 1.0
                verdict = judge(budget, used, reserved + others, estimate, now_us)
            if verdict.refusal is not None:
                raise verdict.refusal
            if tightest.budget_id is None or degrade > tightest.degrade:
                tightest = Reservation(budget_id=budget.budget_id, amount=estimate, degrade=degrade)
        if tightest.budget_id is not None:
            self._reserved[tightest.budget_id] += tightest.amount
        return tightest


def _in_unit(budget: Budget, cost: tuple[int, int]) -> int:
    return {"J": cost[0], "gCO2e": cost[1], "requests": 1}[budget.unit]
