"""What a declared baseline would have caused for the same requests: information beside the totals, never in them."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from greenserve.carbon.cuts import intensity_in
from greenserve.carbon.emissions import emissions_ng, facility_uj
from greenserve.carbon.entries import it_uj
from greenserve.carbon.terms import Baseline
from greenserve.units import decimal_grams, decimal_joules

BASIS_POINTS = 10_000


class Counterfactual:
    """Sums of the requests that can be compared. State: counters, changed by `add` alone; [uJ] and [ng]."""

    def __init__(self, baselines: Sequence[Baseline]) -> None:
        self._baselines = {one.model: one for one in baselines}
        self._name = baselines[0].name if baselines else None
        self.requests = self.not_compared = 0
        self.actual_uj = self.actual_ng = self.baseline_uj = self.baseline_ng = 0
        self.spread_uj = self.spread_ng = 0

    def add(self, body: Mapping[str, Any]) -> None:
        """Price one request at its own hour: by the baseline's energy, its own PUE, its own or a declared intensity."""
        declared, energy_uj, actual_ng = self._baselines.get(body["model"]), it_uj(body), body["loc_lifecycle_ng"]
        own = None if energy_uj is None else intensity_in(body, "lifecycle", energy_uj)
        if declared is None or energy_uj is None or actual_ng is None or own is None or body["outcome"] != "ok":
            self.not_compared += 1
            return
        intensity = own if declared.mg_per_kwh is None else declared.mg_per_kwh
        ng = emissions_ng(facility_uj(declared.request_uj, body["pue_milli"]), intensity)
        self.requests += 1
        self.actual_uj += energy_uj
        self.actual_ng += actual_ng
        self.baseline_uj += declared.request_uj
        self.baseline_ng += ng
        # The baseline's error is common to all its requests: half widths add, they do not average out.
        self.spread_uj += -(-declared.request_uj * declared.half_width_bp // BASIS_POINTS)
        self.spread_ng += -(-ng * declared.half_width_bp // BASIS_POINTS)

    def document(self) -> dict[str, object] | None:
        """The comparison, None without a baseline; avoided = baseline - actual, negative where it is."""
        if self._name is None:
            return None
        avoided_uj, avoided_ng = self.baseline_uj - self.actual_uj, self.baseline_ng - self.actual_ng
        return {
            "baseline": self._name,
            "declared": [
                {
                    "model": one.model,
                    "about": one.about,
                    "request_joules": decimal_joules(one.request_uj),
                    "half_width_pct": f"{Decimal(one.half_width_bp).scaleb(-2):f}",
                    "intensity": "each request's own" if one.mg_per_kwh is None else "declared",
                    "source": one.source,
                }
                for _, one in sorted(self._baselines.items())
            ],
            "rule": "every answered request run once on the baseline, without a cache, at its own hour, zone and PUE",
            "requests_compared": self.requests,
            "requests_not_compared": self.not_compared,
            "actual_joules": decimal_joules(self.actual_uj),
            "baseline_joules": decimal_joules(self.baseline_uj),
            "avoided_joules": decimal_joules(avoided_uj),
            "avoided_low_joules": decimal_joules(avoided_uj - self.spread_uj),
            "avoided_high_joules": decimal_joules(avoided_uj + self.spread_uj),
            "actual_loc_lifecycle_gco2e": decimal_grams(self.actual_ng),
            "baseline_loc_lifecycle_gco2e": decimal_grams(self.baseline_ng),
            "avoided_gco2e": decimal_grams(avoided_ng),
            "avoided_low_gco2e": decimal_grams(avoided_ng - self.spread_ng),
            "avoided_high_gco2e": decimal_grams(avoided_ng + self.spread_ng),
            "range": "the baseline's declared half width alone; the actual figures' ranges stand with the totals",
        }
