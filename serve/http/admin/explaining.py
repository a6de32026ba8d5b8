"""`/admin/v1/routes:explain`: why this variant and region, and why not the others; nothing is run."""

from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from typing import Annotated

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import BaseModel, Field

from greenserve.config import Config
from greenserve.errors import InvalidRequest
from greenserve.inputs import bucket_of
from greenserve.ports import Clock
from greenserve.records import IntensityReading, Policy, Tenant
from greenserve.routing.build import Served, snapshot_from
from greenserve.routing.explain import Explanation, explain, with_intensity
from greenserve.routing.records import Features, Objective, Region, Snapshot
from greenserve.routing.state import RoutingState
from greenserve.serve.gateway import Gateway
from greenserve.serve.http.admin import fields
from greenserve.serve.http.admin.answers import Problems, answer
from greenserve.serve.http.admin.grid import IntensityShown, reading_shown
from greenserve.serve.http.admin.office import Office, check_names
from greenserve.serve.models import ServedModel
from greenserve.units import MILLI, US_PER_S, mg_per_kwh_from_g, ns_from_seconds

HOUR_US = 3_600 * US_PER_S
Grams = Annotated[float, Field(ge=0, le=2_000)]


class Question(fields.Body):
    """A request to weigh. What is left out is the model's, or the tenant's where one is named."""

    model: fields.Text | None = None
    tenant: fields.Text | None = None
    tokens: Annotated[int, Field(ge=1, le=1_000_000)] = 12
    rows: Annotated[int, Field(ge=1, le=4_096)] = 1
    p95_ms: Annotated[float, Field(gt=0, le=3_600_000)] | None = None
    min_quality: fields.Share | None = None
    policy: Policy | None = None
    regions: fields.Names | None = None
    variant: fields.Text | None = None
    intensity_gco2e_per_kwh: Annotated[list[Grams], Field(min_length=1, max_length=20)] | None = None


class Candidate(BaseModel):
    """One way to answer, with what it would take and why it lost; null is unknown. Energy and emissions are predictions
    from a profile of `tier`."""

    region: str
    variant: str
    quality: float
    eta_s: float | None
    energy_j: float | None
    tier: str | None
    emissions_g: float | None
    capacity_g: float | None
    quality_g: float | None
    latency_g: float | None
    score_g: float | None
    picked: bool
    verdict: str


class Weighed(BaseModel):
    """The choice on one grid, and every candidate, best first."""

    intensity: dict[str, IntensityShown | None]
    picked: str | None
    reason: str | None
    flags: list[str]
    refusal: str | None
    candidates: list[Candidate]


class Explained(BaseModel):
    """What would be picked, with queues taken as empty and no quality owed."""

    model: str
    tenant: str | None
    padded_tokens: int
    latency_s: float
    emulated_regions: list[str]
    grids: list[Weighed]


class Explainer:
    """Weighs requests by what the gateway knows now."""

    def __init__(self, *, gateway: Gateway, config: Config, clock: Clock, fingerprint: str) -> None:
        self._gateway, self._config, self._clock, self._fingerprint = gateway, config, clock, fingerprint

    def explained(self, body: Question, tenant: Tenant | None) -> Explained:
        """Every candidate for a request; raises InvalidRequest for a model, region or variant that is not there."""
        served = self._served(body)
        now_us = self._clock.unix_us()
        snapshot = self._snapshot(served, body)
        features = self._features(body, served, tenant)
        grids = [snapshot]
        if body.intensity_gco2e_per_kwh is not None:
            grids = [
                with_intensity(snapshot, _given(snapshot, grams, now_us)) for grams in body.intensity_gco2e_per_kwh
            ]
        return Explained(
            model=served.name,
            tenant=None if tenant is None else tenant.tenant_id,
            padded_tokens=features.length,
            latency_s=snapshot.objective.latency_s,
            emulated_regions=sorted({arc.region for arc in snapshot.arcs if arc.emulated}),
            grids=[_weighed(grid, explain(grid, RoutingState(), features, 0), now_us) for grid in grids],
        )

    def _served(self, body: Question) -> ServedModel:
        check_names("model", "model", None if body.model is None else [body.model], self._gateway.models.names)
        check_names("regions", "region", body.regions, {region.name for region in self._config.regions})
        served = next(model for model in self._gateway.models if body.model in (None, model.name))
        if body.variant is not None and body.variant not in served.variants:
            there = ", ".join(served.variants)
            raise InvalidRequest(f"variant: no variant {body.variant!r:.80} of {served.name}; there are {there}")
        return served

    def _snapshot(self, served: ServedModel, body: Question) -> Snapshot:
        config, objective = self._config, served.settings.objective
        return snapshot_from(
            Served(name=served.name, manifest=served.manifest, loaded=frozenset(served.variants)),
            [
                Region(name=region.name, zone=region.zone, pue_milli=region.pue_milli, emulated=region.emulated)
                for region in config.regions
            ],
            self._gateway.router.readings,
            fingerprint=self._fingerprint,
            objective=Objective(
                latency_s=objective.p95_s if body.p95_ms is None else body.p95_ms / MILLI,
                quality_floor=objective.quality_floor,
                quality_mean=objective.quality_mean,
                policy=config.routing.policy,
            ),
            max_batch=served.settings.batching.max_batch,
        )

    def _features(self, body: Question, served: ServedModel, tenant: Tenant | None) -> Features:
        pre = served.manifest.preprocessing
        length = body.tokens if pre is None else bucket_of(min(body.tokens, pre.max_length), pre.buckets)
        return Features(
            tenant="example" if tenant is None else tenant.tenant_id,
            length=length,
            rows=body.rows,
            deadline_ns=ns_from_seconds(self._config.server.limits.request_timeout_s),
            quality_floor=None if tenant is None else tenant.quality_floor,
            quality_mean=None if tenant is None else tenant.quality_mean,
            min_quality=body.min_quality,
            policy=body.policy or (None if tenant is None else tenant.policy),
            tenant_regions=None if tenant is None else tenant.regions,
            regions=None if body.regions is None else frozenset(body.regions),
            variant=body.variant,
        )


class RoutePaths:
    """Weigh a request."""

    def __init__(self, office: Office) -> None:
        self._office = office
        self._explainer = Explainer(
            gateway=office.gateway, config=office.config, clock=office.clock, fingerprint=office.fingerprint
        )

    def router(self) -> APIRouter:
        """All paths."""
        router = APIRouter(route_class=Problems, tags=["routing"])
        router.post("/routes:explain", responses={200: {"model": Explained}})(self.explain)
        return router

    async def explain(self, body: Question) -> Response:
        """Every candidate for a request, on the grid as it is or on others."""
        office = self._office
        tenant = None
        if body.tenant is not None:
            tenant = (await office.desk.run(partial(office.store.tenant, body.tenant))).tenant
        return answer(await office.desk.run(partial(self._explainer.explained, body, tenant)))


def _given(snapshot: Snapshot, grams: float, now_us: int) -> Mapping[str, IntensityReading | None]:
    """That intensity [g/kWh] in every zone."""
    return {
        zone: IntensityReading(
            zone=zone,
            start_us=now_us,
            end_us=now_us + HOUR_US,
            mg_per_kwh=mg_per_kwh_from_g(grams),
            basis="lifecycle",
            kind="average",
            origin="estimated",
            provider="given with the question",
            retrieved_us=now_us,
        )
        for zone in snapshot.readings
    }


def _weighed(grid: Snapshot, found: Explanation, now_us: int) -> Weighed:
    made = found.decision
    return Weighed(
        intensity={
            zone: None if reading is None else reading_shown(reading, now_us) for zone, reading in grid.readings.items()
        },
        picked=None if made is None else f"{made.region}/{made.variant}",
        reason=None if made is None else made.reason,
        flags=[] if made is None else list(made.flags),
        refusal=found.refusal,
        candidates=[Candidate(**asdict(row)) for row in found.rows],
    )
