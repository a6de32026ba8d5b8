"""Who may call, and how much: authentication, scope, rate, budgets, in this order.

State: tenants, keys and budgets as last read from the ledger's store, keys that proved themselves since, who has sent
how fast, and what this replica has promised of each budget; changed only on the event loop.
"""

from collections.abc import Mapping
from types import MappingProxyType

from greenserve.carbon.budgets import Budget, subjects_of
from greenserve.carbon.keys import hmac_of, parse, same_hmac
from greenserve.carbon.tenancy import INFERENCE, KeyRecord, KeyRules, Tenancy
from greenserve.errors import InvalidKey, InvalidRequest, KeyBlocked, ModelNotAllowed
from greenserve.ports import Clock
from greenserve.record import record
from greenserve.records import Admitted, InferenceRequest, Protocol, Tenant
from greenserve.sections import TenantDefaults
from greenserve.serve.call import Call, deadline_ns_of
from greenserve.serve.door import Door
from greenserve.serve.finished import Recorded
from greenserve.serve.pacing import Limits, Pacer, limits_of
from greenserve.serve.reservations import UNBOUND, CostBound, Reservations
from greenserve.units import NS_PER_S, US_PER_S

NO_WEIGHTS: Mapping[str, float] = MappingProxyType({})
ANONYMOUS = Tenant(tenant_id="anonymous", name="anonymous callers", exposure="off")
ENDPOINTS = MappingProxyType(
    {
        "http": "/v2/models/{model}/infer",
        "grpc": "/inference.GRPCInferenceService/ModelInfer",
        "openai": "/v1/embeddings",
    }
)
"""The path that a key's scope must hold, by the protocol of a request."""
_UNKNOWN = "no such key is known here; check that it was copied whole and made for this gateway"


@record(frozen=True, slots=True, kw_only=True)
class Caller:
    """A tenant that proved itself, by which key, what that key may do, and until when it works [us UTC].

    `limits` are this replica's parts of the tenant's and the key's.
    """

    tenant: Tenant
    key_id: str
    rules: KeyRules = INFERENCE
    expires_us: int | None = None
    limits: tuple[Limits, ...] = ()


@record(frozen=True, slots=True, kw_only=True)
class Administrator:
    """Who proved itself by an admin key, which sees every tenant."""

    key_id: str


class Admission:
    """Lets requests in. `replicas` gateways share each limit and what is left of each budget equally.

    `timeout_s` [s] is the longest that any request may take, `max_defer_s` [s] one that may wait for a cleaner grid.
    """

    def __init__(
        self,
        *,
        auth: str,
        defaults: TenantDefaults,
        replicas: int,
        timeout_s: float,
        clock: Clock,
        max_defer_s: float = 900.0,
    ) -> None:
        self.door = Door()
        self._timeout_s = timeout_s
        self._max_defer_s = max_defer_s
        self._auth = auth
        self._defaults = defaults
        self._clock = clock
        self._tenancy: Tenancy | None = None
        self.weights: Mapping[str, float] = NO_WEIGHTS
        """Tenants' parts of a crowded queue: their rates over the default one; 1 for those that are not named."""
        self._callers: dict[str, Caller] = {}
        self._matching: dict[tuple[str, str], tuple[Budget, ...]] = {}
        self._pacer = Pacer()
        self._reservations = Reservations(replicas=replicas)
        self._anonymous = self._caller(ANONYMOUS, "anonymous", INFERENCE, None)

    def __repr__(self) -> str:
        revision = None if self._tenancy is None else self._tenancy.revision
        return f"<Admission at revision {revision}: {self._pacer!r}, {self._reservations!r}>"

    @property
    def watched(self) -> tuple[str, ...]:
        """The requests, newest first, whose lines in the ledger `refresh` waits for."""
        return self._reservations.watched

    def refresh(self, tenancy: Tenancy, used: Mapping[str, int], *, confirmed: str | None = None) -> None:
        """Take what the ledger's store says now: tenants, keys, budgets, and each budget's balance.

        `confirmed` is the first of the watched requests that the ledger held before the balances were read.
        """
        if self._tenancy is None or tenancy.revision != self._tenancy.revision:
            self._callers.clear()
            self._matching.clear()
            self.weights = _weights(tenancy, self._defaults.rate_per_s)
        self._tenancy = tenancy
        self._reservations.refresh(used, confirmed=confirmed)

    def promised(self, budget_id: str) -> int:
        """What this replica has promised of a budget beside its balance, in its unit's integer."""
        return self._reservations.promised(budget_id)

    def budgets_left(self) -> dict[str, float]:
        """What is left of each tenant's tightest budget, 0..1, by tenant; tenants without one are left out."""
        left: dict[str, float] = {}
        now_us = self._clock.unix_us()
        for owned in self._tenancy.budgets.values() if self._tenancy else ():
            for budget in owned:
                limit = budget.limit_at(now_us)
                if budget.tenant is not None and limit > 0:
                    share = max(0.0, 1.0 - self._reservations.used(budget.budget_id) / limit)
                    left[budget.tenant] = min(share, left.get(budget.tenant, 1.0))
        return left

    def share_among(self, replicas: int) -> None:
        """Enforce the part of one of so many gateways from now on."""
        self._reservations.replicas = replicas
        self._callers.clear()
        self._anonymous = self._caller(ANONYMOUS, "anonymous", INFERENCE, None)

    def authenticate(self, credential: str | None, *, path: str | None = None) -> Caller:
        """Whose key it is; raises InvalidKey that says what is wrong, never more about keys than the caller knows.

        KeyBlocked for an admin key, and where `path` (None: judged by `admit`) is not in the key's scope.
        """
        if credential is None:
            if self._auth == "anonymous":
                return self._anonymous
            raise InvalidKey("a key is needed: send `Authorization: Bearer gs_...`, made by `greenserve key create`")
        caller = self._callers.get(credential)
        if caller is None or (caller.expires_us is not None and caller.expires_us <= self._clock.unix_us()):
            caller = self._callers[credential] = self._called_by(self._proven(credential))
            self.door.proven(credential)
        if path is not None:
            _check_path(caller.key_id, caller.rules, path)
        return caller

    def authenticate_admin(self, credential: str | None, *, path: str | None = None) -> Administrator:
        """Who administers; a key is needed also where anonymous callers may infer.

        KeyBlocked for an inference key, and where `path` is not in the key's scope.
        """
        if credential is None:
            raise InvalidKey(
                "an admin key is needed: send `Authorization: Bearer gs_...`, made by "
                "`greenserve key create --kind admin`"
            )
        record = self._proven(credential)
        if record.rules.kind != "admin":
            raise KeyBlocked(f"key {record.key_id} is for inference and cannot administer; use an admin key")
        if path is not None:
            _check_path(record.key_id, record.rules, path)
        return Administrator(key_id=record.key_id)

    def deadline_ns(self, call: Call) -> int:
        """When a call must be answered [monotonic ns]; raises InvalidRequest for a time to wait that is not to come."""
        longest_s, until_us = self._timeout_s, call.hints.defer_until_us
        if until_us is not None:
            longest_s = (until_us - self._clock.unix_us()) / US_PER_S
            if not 0.0 < longest_s <= self._max_defer_s:
                far = f"{-longest_s:.0f} s ago" if longest_s <= 0 else f"{longest_s:.0f} s from now"
                raise InvalidRequest(
                    f"GreenServe-Defer-Until: a time within the next {self._max_defer_s:g} s is needed, it is {far}"
                )
            longest_s += (self._clock.monotonic_ns() - call.received_ns) / NS_PER_S
        return deadline_ns_of(call, longest_s=longest_s)

    def check_scope(self, caller: Caller, *, model: str, variant: str | None, protocol: Protocol) -> None:
        """Raises ModelNotAllowed or KeyBlocked where a key may not ask that model, pin a variant, use that protocol."""
        rules = caller.rules
        if rules.models is not None and model not in rules.models:
            raise ModelNotAllowed(
                f"key {caller.key_id} may not use the model {model}; it may use {', '.join(sorted(rules.models))}"
            )
        if variant is not None and not rules.pin:
            raise ModelNotAllowed(
                f"key {caller.key_id} may not pin a variant, and {variant} was asked for; leave it out, and routing "
                "chooses one"
            )
        if rules.paths is not None:
            _check_path(caller.key_id, rules, ENDPOINTS[protocol].format(model=model))

    def pace(self, caller: Caller) -> None:
        """Count a call against the rates that is answered without being admitted, or admitted once it is decoded;
        raises RateLimited."""
        self._pacer.take(caller.limits, self._clock.monotonic_ns(), 0)

    def admit(
        self,
        caller: Caller,
        request: InferenceRequest,
        *,
        upper: CostBound,
        least: CostBound | None = None,
        paced: bool = False,
    ) -> Admitted:
        """Let a request in that its key may send, under the limits and budgets of its tenant and key.

        `upper` tells what it may cost at most, `least` what it costs at most by the cheapest answer that is allowed
        (None: as much). Neither is asked where no budget of energy or carbon is.
        `paced`: it was counted before it was decoded, all but its tokens.
        """
        self.check_scope(caller, model=request.model, variant=request.hints.variant, protocol=request.protocol)
        self._pacer.take(caller.limits, self._clock.monotonic_ns(), request.tokens, counted=paced)
        budgets, reservation = self._budgets_of(caller, request.model), UNBOUND
        if budgets:
            reservation = self._reservations.reserve(
                budgets,
                upper=upper,
                least=least or upper,
                tokens=request.tokens,
                now_us=self._clock.unix_us(),
                exposure=caller.tenant.exposure,
            )
        self._pacer.began(caller.limits)
        return Admitted(
            request=request,
            tenant=caller.tenant,
            key_id=caller.key_id,
            reservation=reservation,
            project=caller.rules.project,
        )

    def release(self, admitted: Admitted) -> None:
        """A request is over: give back its place and what was reserved; what was used instead comes by `settle`."""
        self._pacer.ended(_policies(admitted.tenant, admitted.key_id))
        self._reservations.release(admitted.reservation)

    def settle(self, admitted: Admitted, recorded: Recorded) -> None:
        """Count what was recorded until the ledger's own balance holds it."""
        self._reservations.settle(
            admitted.reservation,
            admitted.request.request_id,
            energy_uj=recorded.usage.energy_uj,
            ng=recorded.emissions_ng,
            tokens=admitted.request.tokens,
        )

    def _proven(self, credential: str) -> KeyRecord:
        key_id, secret = parse(credential)
        tenancy = self._tenancy
        record = tenancy.keys.get(key_id) if tenancy else None
        proof = hmac_of(tenancy.pepper if tenancy else b"", secret)
        if not same_hmac(record.hmac if record else bytes(len(proof)), proof) or record is None:
            raise InvalidKey(_UNKNOWN)
        if record.revoked_us is not None:
            raise InvalidKey(f"key {key_id} was revoked; ask for a new one")
        if record.state(self._clock.unix_us()) == "expired":
            successor = "" if record.replaced_by is None else f": it was rotated to {record.replaced_by}"
            raise InvalidKey(f"key {key_id} has expired{successor or '; ask for a new one'}")
        return record

    def _called_by(self, record: KeyRecord) -> Caller:
        if record.rules.kind != "inference":
            raise KeyBlocked(f"key {record.key_id} is an admin key and cannot infer; use a key of a tenant")
        tenant = self._tenancy.tenants.get(record.tenant_id) if self._tenancy else None
        if tenant is None:
            raise InvalidKey(_UNKNOWN)
        return self._caller(tenant, record.key_id, record.rules, record.expires_us)

    def _caller(self, tenant: Tenant, key_id: str, rules: KeyRules, expires_us: int | None) -> Caller:
        replicas = self._reservations.replicas
        of_tenant, of_key = _policies(tenant, key_id)
        limits = (
            limits_of(
                of_tenant,
                f"tenant {tenant.tenant_id}",
                rate_per_s=tenant.rate_per_s or self._defaults.rate_per_s,
                burst=tenant.burst or self._defaults.burst,
                tokens_per_s=tenant.tokens_per_s,
                concurrency=tenant.concurrency,
                replicas=replicas,
            ),
            limits_of(
                of_key,
                f"key {key_id} of {tenant.tenant_id}",
                rate_per_s=rules.rate_per_s,
                burst=rules.burst,
                tokens_per_s=rules.tokens_per_s,
                concurrency=rules.concurrency,
                replicas=replicas,
            ),
        )
        return Caller(tenant=tenant, key_id=key_id, rules=rules, expires_us=expires_us, limits=limits)

    def _budgets_of(self, caller: Caller, model: str) -> tuple[Budget, ...]:
        tenancy = self._tenancy
        if tenancy is None or not tenancy.budgets:
            return ()
        found = self._matching.get((caller.key_id, model))
        if found is None:
            tenant = caller.tenant
            subjects = subjects_of(tenant.org, tenant.tenant_id, caller.rules.project, caller.key_id, model)
            found = tuple(budget for subject in subjects for budget in tenancy.budgets.get(subject, ()))
            self._matching[caller.key_id, model] = found
        return found


def _weights(tenancy: Tenancy, default_per_s: float) -> Mapping[str, float]:
    """Who may send more has a larger part of what can be answered."""
    rates = {name: tenant.rate_per_s for name, tenant in tenancy.tenants.items()}
    return MappingProxyType({name: rate / default_per_s for name, rate in rates.items() if rate is not None})


def _policies(tenant: Tenant, key_id: str) -> tuple[str, str]:
    return tenant.tenant_id, f"key-{key_id}"


def _check_path(key_id: str, rules: KeyRules, path: str) -> None:
    if not rules.allows_path(path):
        raise KeyBlocked(f"key {key_id} may not use {path}; it may use {', '.join(rules.paths or ())}")
