"""`/admin/v1/models`: what is served, with which variants, what was left out and why; and loading one again."""

from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import BaseModel

from greenserve.errors import NotImplementedHere
from greenserve.serve.http.admin.answers import Problems, answer
from greenserve.serve.http.admin.office import Office
from greenserve.serve.http.admin.pages import Cursor, Limit, Page, after_of, cut
from greenserve.serve.models import ServedModel, ServedVariant


class VariantShown(BaseModel):
    """A variant that answers. `tier` is the evidence of its energy profile on this host; null: never measured."""

    variant: str
    digest: str
    quality: float
    engine: str
    max_batch: int
    tier: str | None


class LeftOut(BaseModel):
    """A variant of the manifest that this machine does not serve."""

    variant: str
    reason: str


class ModelShown(BaseModel):
    """A served model; `quality` of its variants is the proven lower bound of the manifest's metric."""

    model: str
    version: str
    task: str
    placement: str
    manifest_digest: str
    recommended: str
    p95_s: float
    quality_floor: float
    quality_mean: float | None
    variants: list[VariantShown]
    left_out: list[LeftOut]


class Reloaded(BaseModel):
    """What loading a model again changed, as whoever did it tells."""

    model: str
    result: dict[str, Any]


class ModelPaths:
    """List, show and reload models."""

    def __init__(self, office: Office) -> None:
        self._office = office

    def router(self) -> APIRouter:
        """All paths."""
        router = APIRouter(route_class=Problems, tags=["models"])
        router.get("/models", responses={200: {"model": Page[ModelShown]}})(self.page)
        router.get("/models/{model}", responses={200: {"model": ModelShown}})(self.show)
        router.post("/models/{model}:reload", responses={200: {"model": Reloaded}})(self.reload)
        return router

    async def page(self, limit: Limit = 50, cursor: Cursor = None) -> Response:
        """Models by name."""
        after = after_of(cursor, "models", [str])
        ordered = sorted(self._office.gateway.models, key=lambda model: model.name)
        items, next_cursor = cut(ordered, key=lambda model: (model.name,), after=after, limit=limit, name="models")
        return answer(Page(items=[model_shown(model) for model in items], next_cursor=next_cursor))

    async def show(self, model: str) -> Response:
        """One model."""
        return answer(model_shown(self._office.gateway.models.find(model)))

    async def reload(self, model: str) -> Response:
        """Load a model's manifest and variants again; the old ones answer until the new ones are ready."""
        served = self._office.gateway.models.find(model)
        if self._office.reload is None:
            raise NotImplementedHere(
                "this gateway does not load a model again while it runs; stop and start it "
                "(`greenserve stop`, `greenserve serve`)"
            )
        return answer(Reloaded(model=served.name, result=dict(await self._office.reload(served.name))))


def model_shown(model: ServedModel) -> ModelShown:
    """A model as the API shows it."""
    manifest, objective = model.manifest, model.settings.objective
    return ModelShown(
        model=model.name,
        version=model.version,
        task=manifest.task,
        placement=model.settings.placement,
        manifest_digest=manifest.digest,
        recommended=manifest.recommended,
        p95_s=objective.p95_s,
        quality_floor=objective.quality_floor,
        quality_mean=objective.quality_mean,
        variants=[_variant(served) for served in model.variants.values()],
        left_out=[LeftOut(variant=name, reason=reason) for name, reason in model.left_out.items()],
    )


def _variant(served: ServedVariant) -> VariantShown:
    variant = served.variant
    return VariantShown(
        variant=variant.name,
        digest=variant.digest,
        quality=variant.value_low,
        engine=str(variant.engine.get("kind", "onnxruntime")),
        max_batch=served.max_batch,
        tier=None if served.profile is None else served.profile.tier,
    )
