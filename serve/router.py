"""Routing as the gateway uses it: one snapshot per model, made again when the grid's readings change.

Feeds answer from memory: what providers tell comes in beside the requests, and no request waits for it.

State: snapshots and the routing state of this replica, changed only on the event loop.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from types import MappingProxyType
from typing import Protocol

from greenserve.carbon.emissions import emissions_ng, facility_uj
from greenserve.config import Config
from greenserve.errors import DeadlineExceeded, GreenServeError, InvalidRequest, NoFeasibleRoute
from greenserve.ports import Clock, IntensityFeed
from greenserve.records import Admitted, Decision, Hints, InferenceRequest, IntensityReading
from greenserve.routing.build import Served, snapshot_from
from greenserve.routing.defer import Slot
from greenserve.routing.judge import least_open
from greenserve.routing.picker import pick
from greenserve.routing.records import Features, Objective, PoolState, Region, Snapshot, features_of
from greenserve.routing.state import RoutingState
from greenserve.serve.batching.batcher import Batcher
from greenserve.serve.cache import floor_of
from greenserve.serve.models import Models, ServedModel
from greenserve.units import MILLI, NS_PER_S, US_PER_S, grams_per_joule, uj_from_joules

US_PER_DAY = 86_400 * US_PER_S
US_PER_HOUR = 3_600 * US_PER_S
HOURS_PER_DAY = 24
ASK_AGAIN_US = 5 * US_PER_S
"""How soon the feeds are asked again while a reading still holds: a better source than the one that answered, or any
for an unknown zone, may have come back."""
MOST_SLOTS = 1_000
"""How far an outlook goes: more than a day of the shortest slots of any grid."""

TYPICAL_TOKENS = 32
UNKNOWN_GRID_MG_PER_KWH = 820_000
UNKNOWN_ENERGY_J = 1.0
NONE_SICK: Mapping[str, str] = MappingProxyType({})
PATIENCE_NS = 86_400 * NS_PER_S


class ReadBoth(Protocol):
    """A zone's reading at a moment [us UTC], perhaps with its counterpart; None is unknown."""

    def __call__(self, *, zone: str, at_us: int) -> IntensityReading | None:
        """Answers from memory."""


class Router:
    """Picks region and variant for each request."""

    def __init__(
        self,
        *,
        config: Config,
        models: Models,
        feed: IntensityFeed,
        clock: Clock,
        fingerprint: str,
        marginal: IntensityFeed | None = None,
        read_both: ReadBoth | None = None,
    ) -> None:
        """`marginal` steers in place of the average where `intensity.routing_signal` asks for it; it accounts never.

        `read_both` is the feed's reading with that of the other basis beside it, which requests are accounted by too.
        """
        self._models = models
        self._feed = feed
        self._read: ReadBoth = feed.read if read_both is None else read_both
        self._marginal = marginal if config.intensity.routing_signal == "marginal" else None
        self._clock = clock
        self._fingerprint = fingerprint
        self._policy = config.routing.policy
        self._regions = tuple(
            Region(name=region.name, zone=region.zone, pue_milli=region.pue_milli, emulated=region.emulated)
            for region in config.regions
        )
        self._profiles = {served.key: served.profile for model in models for served in model.variants.values()}
        self._state = RoutingState()
        self._snapshots: dict[str, Snapshot] = {}
        self._readings: dict[str, IntensityReading | None] = {}
        self._steering: dict[str, IntensityReading | None] = {}
        self._sick: dict[str, Mapping[str, str]] = {}
        self._home_grid: tuple[float | None, float | None] | None = None
        self._valid_from_us = self._valid_until_us = 0
        self._day = 0
        self.refresh()

    @property
    def readings(self) -> dict[str, IntensityReading | None]:
        """The readings in force, by zone."""
        return dict(self._readings)

    def refresh(self) -> None:
        """Ask the feeds every 5 s, where a reading has run out and where the clock was set back; what differs goes
        into new snapshots."""
        now_us = self._clock.unix_us()
        if self._valid_from_us <= now_us < self._valid_until_us:
            return
        readings = {region.zone: self._read(zone=region.zone, at_us=now_us) for region in self._regions}
        known = [reading for reading in readings.values() if reading is not None]
        ends_us = [each.end_us for one in known for each in (one, one.counterpart) if each is not None]
        self._valid_from_us, self._valid_until_us = now_us, min([now_us + ASK_AGAIN_US, *ends_us])
        steering = self._steering_at(now_us, readings)
        self._home_grid = None
        if (readings, steering) != (self._readings, self._steering) or not self._snapshots:
            self._readings, self._steering = readings, steering
            self._take_snapshots()
        if now_us // US_PER_DAY != self._day:
            self._day = now_us // US_PER_DAY
            self._state.start_window()

    def home_grid(self) -> tuple[float | None, float | None]:
        """The home region's grid intensity and its mean of the last 24 hours [mg/kWh]; None where no feed knows it."""
        if self._home_grid is None:
            zone, now_us = self._regions[0].zone, self._clock.unix_us()
            hours = (self._feed.read(zone=zone, at_us=now_us - hour * US_PER_HOUR) for hour in range(HOURS_PER_DAY))
            known = [reading.mg_per_kwh for reading in hours if reading is not None]
            reading = self._readings.get(zone)
            self._home_grid = (None if reading is None else reading.mg_per_kwh, fmean(known) if known else None)
        return self._home_grid

    def outlook(self, admitted: Admitted, until_us: int) -> tuple[Slot, ...]:
        """The cleanest region that a request may use, slot by slot from now until then [us UTC], as feeds know it."""
        allowed = [only for only in (admitted.tenant.regions, admitted.request.hints.regions) if only is not None]
        regions = [each for each in self._regions if all(each.name in only for only in allowed)]
        slots: list[Slot] = []
        at_us = self._clock.unix_us()
        while at_us <= until_us and len(slots) < MOST_SLOTS:
            readings = [(region, self._feed.read(zone=region.zone, at_us=at_us)) for region in regions]
            known = [(region.pue_milli, reading) for region, reading in readings if reading is not None]
            end_us = min([reading.end_us for _, reading in known], default=at_us + ASK_AGAIN_US)
            rates = [reading.mg_per_kwh * pue_milli / MILLI for pue_milli, reading in known]
            slots.append(Slot(at_us, end_us, min(rates, default=None)))
            at_us = end_us
        return tuple(slots)

    def models_changed(self) -> None:
        """A model was replaced by another manifest's: route by that one."""
        self._profiles = {served.key: served.profile for model in self._models for served in model.variants.values()}
        self._take_snapshots()

    def _take_snapshots(self) -> None:
        for model in self._models:
            self._take_snapshot(model)

    def _take_snapshot(self, model: ServedModel) -> None:
        sick = self._sick.get(model.name, {})
        well = frozenset(name for name, served in model.variants.items() if served.key not in sick)
        self._snapshots[model.name] = snapshot_from(
            Served(name=model.name, manifest=model.manifest, loaded=well),
            self._regions,
            self._steering,
            fingerprint=self._fingerprint,
            objective=self._objective(model),
            version=self._clock.unix_us() // US_PER_S,
            max_batch=model.settings.batching.max_batch,
        )

    def _steering_at(
        self, now_us: int, readings: dict[str, IntensityReading | None]
    ) -> dict[str, IntensityReading | None]:
        """What arcs are ranked by: the marginal signal where every zone has one, since signals do not compare."""
        if self._marginal is None:
            return readings
        told = {zone: self._marginal.read(zone=zone, at_us=now_us) for zone in readings}
        return readings if None in told.values() else told

    def _leave_out(self, name: str, sick: Mapping[str, str]) -> None:
        """Variants that fail are not routed to until they run again; every batcher knows of its own models alone."""
        self._sick[name] = dict(sick)
        self._take_snapshot(self._models.find(name))

    def route(self, admitted: Admitted, model: ServedModel, batcher: Batcher) -> Decision:
        """The choice for a request, given what waits now; `answered` counts it where it is carried out.

        Raises InvalidRequest for a variant or region that does not exist, DeadlineExceeded where only the time is
        missing, else NoFeasibleRoute.
        """
        sick = batcher.unhealthy
        if sick != self._sick.get(model.name, NONE_SICK):
            self._leave_out(model.name, sick)
        snapshot = self._snapshots[model.name]
        features = _features(admitted, batcher)
        self._check(admitted.request.hints, model)
        self._observe(batcher)
        try:
            decision = pick(snapshot, self._state, features, self._clock.monotonic_ns())
        except NoFeasibleRoute as error:
            raise self._refusal(snapshot, features, error) from None
        return decision if self._steering is self._readings else self._accounted(decision)

    def least_quality(self, admitted: Admitted, model: ServedModel, batcher: Batcher) -> float:
        """The least quality of a kept answer, or of one under way, for this request: the floor; and while the mean is
        owed so much that the guard would not let it run, that of what would run instead."""
        floor = floor_of(admitted, model)
        if _has_no_mean(admitted, model):
            return floor
        snapshot, features = self._snapshots[model.name], _features(admitted, batcher)
        least = least_open(snapshot, self._state, features)
        if least <= floor:
            return floor
        self._observe(batcher)
        try:
            instead = pick(snapshot, self._state, features, self._clock.monotonic_ns())
        except NoFeasibleRoute:
            return floor
        return max(floor, min(least, model.variants[instead.variant].variant.value_low))

    def answered(self, admitted: Admitted, model: ServedModel, batcher: Batcher, qualities: Sequence[float]) -> None:
        """Count an answer towards the mean of its tenant and model: one request, by the qualities of all its items."""
        if not _has_no_mean(admitted, model):
            features = _features(admitted, batcher)
            self._state.answered(fmean(qualities), snapshot=self._snapshots[model.name], features=features)

    def priced_now(self, model: str, decision: Decision) -> Decision:
        """A stored answer's decision at the grid's present intensity: a hit uses host energy now, in that region."""
        reading = self._readings.get(decision.zone)
        return replace(decision, reason="cache", intensity=reading, beaten=(), energy_j=None, emissions_g=None)

    def _accounted(self, decision: Decision) -> Decision:
        """A decision that the marginal signal steered, with the average one that it is accounted by."""
        reading, emissions_g = self._readings.get(decision.zone), None
        if reading is not None and decision.energy_j is not None:
            emissions_g = decision.energy_j * grams_per_joule(reading.mg_per_kwh, decision.pue_milli)
        flags = (*decision.flags, "marginal-signal")
        return replace(decision, intensity=reading, emissions_g=emissions_g, flags=flags)

    def cost_bound(
        self, model: ServedModel, request: InferenceRequest, floor: float | None, which: Callable[[list[float]], float]
    ) -> tuple[int, int]:
        """(uJ, ng) that a request may cost by the dearest (`which` = max) or cheapest (min) variant over the floor.

        Twice the prediction, since held and host energy come on top, in the dirtiest region; an unknown grid counts
        as coal. Only for budgets.
        """
        least_quality = model.settings.objective.quality_floor if floor is None else floor
        rows, tokens = len(request.rows), request.tokens
        joules = [
            2.0 * served.profile.q99 * rows * served.profile.joules(batch=1, length=tokens / rows)
            for served in model.variants.values()
            if served.profile is not None and served.variant.value_low >= least_quality
        ]
        energy_uj = uj_from_joules(which(joules) if joules else UNKNOWN_ENERGY_J)
        dirtiest_ng = 0
        for region in self._regions:
            reading = self._readings.get(region.zone)
            mg_per_kwh = UNKNOWN_GRID_MG_PER_KWH if reading is None else reading.mg_per_kwh
            dirtiest_ng = max(dirtiest_ng, emissions_ng(facility_uj(energy_uj, region.pue_milli), mg_per_kwh))
        return energy_uj, dirtiest_ng

    def _check(self, hints: Hints, model: ServedModel) -> None:
        if hints.variant is not None and hints.variant not in model.variants:
            raise InvalidRequest(
                f"parameters.greenserve_variant: no variant {hints.variant!r}; there are {', '.join(model.variants)}"
            )
        names = {region.name for region in self._regions}
        if hints.regions is not None and (unknown := sorted(hints.regions - names)):
            raise InvalidRequest(f"GreenServe-Regions: no region {unknown[0]!r}; there are {', '.join(sorted(names))}")

    def _refusal(self, snapshot: Snapshot, features: Features, error: NoFeasibleRoute) -> GreenServeError:
        patient = replace(features, deadline_ns=features.deadline_ns + PATIENCE_NS)
        try:
            pick(snapshot, self._state, patient, self._clock.monotonic_ns())
        except NoFeasibleRoute:
            return error
        return DeadlineExceeded(f"the deadline has passed or cannot be met, nothing was run. {error}")

    def _objective(self, model: ServedModel) -> Objective:
        wanted = model.settings.objective
        return Objective(
            latency_s=wanted.p95_s,
            quality_floor=wanted.quality_floor,
            quality_mean=wanted.quality_mean,
            policy=self._policy,
        )

    def _observe(self, batcher: Batcher) -> None:
        waiting = batcher.backlog()
        backlog_s = 0.0
        for key, rows in waiting.items():
            profile = self._profiles.get(key)
            if rows and profile is not None:
                backlog_s += profile.seconds(batch=rows, length=TYPICAL_TOKENS)
        state = PoolState(backlog_s=backlog_s / batcher.policy.executors, residual_s=batcher.residual_s())
        self._state.observe(self._regions[0].name, state)


def _features(admitted: Admitted, batcher: Batcher) -> Features:
    return features_of(admitted, length=max(map(len, admitted.request.rows)), brownout=batcher.brownout)


def _has_no_mean(admitted: Admitted, model: ServedModel) -> bool:
    """Whether neither tenant nor model promises a mean, so that nothing is ever owed."""
    return admitted.tenant.quality_mean is None and model.settings.objective.quality_mean is None
