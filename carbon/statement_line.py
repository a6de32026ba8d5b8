"""One line of a statement, or its total: the sums of its requests, what they do not cover, and figures per request."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from greenserve.carbon.buckets import bucket_bounds
from greenserve.carbon.embodied import HALF_WIDTH_BP
from greenserve.carbon.entries import it_uj
from greenserve.carbon.market import Priced
from greenserve.carbon.quantiles import Histogram, bucket_of
from greenserve.carbon.tally import BASIS_POINTS, Tally
from greenserve.units import decimal_grams, decimal_joules

PLACES = Decimal(1).scaleb(-15)
THOUSAND = 1_000


class Line:
    """Sums over requests. State: the tally, the histogram and counters, changed by `add`, `take` and `price` alone.

    `embodied` says whether hardware is declared at all: if not, embodied figures are null and the SCI is operational.
    """

    def __init__(self, *, embodied: bool) -> None:
        self.tally = Tally()
        self.histogram = Histogram()
        self._embodied = embodied
        self.embodied_ng = self.embodied_known = self.embodied_unknown = 0
        self.market: Priced | None = None
        self.scored = self.scored_ng = self.tokens = self.tokens_ng = 0

    def add(self, body: Mapping[str, Any], embodied_ng: int | None) -> None:
        """Count one request, by its newest line, and its share of the hardware [ng]."""
        self.tally.add(body)
        energy_uj, known_ng = it_uj(body), body["loc_lifecycle_ng"]
        if energy_uj is not None:
            self.histogram.add(energy_uj)
        if self._embodied and embodied_ng is None:
            self.embodied_unknown += 1
            return
        self.embodied_known += self._embodied
        self.embodied_ng += embodied_ng or 0
        if known_ng is None:
            return
        self.scored += 1
        self.scored_ng += known_ng + (embodied_ng or 0)
        if body["tokens_in"]:
            self.tokens += body["tokens_in"]
            self.tokens_ng += known_ng + (embodied_ng or 0)

    def take(self, tally: Tally) -> None:
        """Count all requests of an hour's row. ValueError where hardware is declared: shares of it are rounded per
        request and not kept in sums. Close it after the last one."""
        if self._embodied:
            raise ValueError("embodied emissions are rounded per request: fold the single lines")
        self.tally.merge(tally)

    def keep(self, tally: Tally) -> None:
        """Take all requests of a row whose lines were erased: their share of the hardware cannot be known any more."""
        self.tally.merge(tally)
        self.histogram.merge(Histogram({bucket_of(bucket_bounds(one)[0]): n for one, n in tally.histogram.items()}))
        if self._embodied:
            self.embodied_unknown += tally.requests
            return
        self.scored += tally.loc_lifecycle_covered
        self.scored_ng += tally.loc_lifecycle_ng
        self.tokens += tally.scored_tokens
        self.tokens_ng += tally.scored_tokens_ng

    def close(self) -> None:
        """After all rows were taken: what follows from their sums alone."""
        tally = self.tally
        self.histogram = Histogram({bucket_of(bucket_bounds(one)[0]): n for one, n in tally.histogram.items()})
        self.scored, self.scored_ng = tally.loc_lifecycle_covered, tally.loc_lifecycle_ng
        self.tokens, self.tokens_ng = tally.scored_tokens, tally.scored_tokens_ng

    def price(self, priced: Priced) -> None:
        """Take the market-based emissions of all its requests; they are known per hour and region, not per request."""
        old = self.market or Priced(emissions_ng=0, uncovered_uj=0)
        self.market = Priced(
            emissions_ng=old.emissions_ng + priced.emissions_ng, uncovered_uj=old.uncovered_uj + priced.uncovered_uj
        )

    def document(self) -> dict[str, Any]:
        """All figures as members; quantities are decimal strings with the unit in the name, unknown is None."""
        return self.tally.document() | self._embodied_members() | self._market_members() | self._per_request()

    def known_embodied_ng(self) -> int | None:
        """Embodied emissions [ng]; None where none of its requests' is known."""
        known = self._embodied and (self.embodied_known or not self.tally.requests)
        return self.embodied_ng if known else None

    def _embodied_members(self) -> dict[str, object]:
        total = self.known_embodied_ng()
        return {
            "embodied_gco2e": _grams(total),
            "embodied_low_gco2e": _grams(
                None if total is None else total * (BASIS_POINTS - HALF_WIDTH_BP) // BASIS_POINTS
            ),
            "embodied_high_gco2e": _grams(
                None if total is None else -(-total * (BASIS_POINTS + HALF_WIDTH_BP) // BASIS_POINTS)
            ),
            "embodied_unknown_requests": self.embodied_unknown if self._embodied else self.tally.requests,
        }

    def _market_members(self) -> dict[str, object]:
        if self.market is None:
            return dict.fromkeys(("market_gco2e", "market_low_gco2e", "market_high_gco2e", "market_uncovered_joules"))
        ng, width = self.market.emissions_ng, self.tally.half_width_bp(grid=None)
        known = not self.tally.requests or self.tally.facility_uj > self.market.uncovered_uj
        return {
            "market_gco2e": _grams(ng if known else None),
            "market_low_gco2e": _grams(ng * max(0, BASIS_POINTS - width) // BASIS_POINTS if known else None),
            "market_high_gco2e": _grams(-(-ng * (BASIS_POINTS + width) // BASIS_POINTS) if known else None),
            "market_uncovered_joules": decimal_joules(self.market.uncovered_uj),
        }

    def _per_request(self) -> dict[str, object]:
        p50, p95 = self.histogram.percentile(50), self.histogram.percentile(95)
        return {
            "request_p50_joules": None if p50 is None else decimal_joules(p50),
            "request_p95_joules": None if p95 is None else decimal_joules(p95),
            "sci_per_request_gco2e": _ratio(self.scored_ng, self.scored),
            "sci_per_1k_tokens_gco2e": _ratio(self.tokens_ng * THOUSAND, self.tokens),
            "sci_requests": self.scored,
        }


def _grams(ng: int | None) -> str | None:
    return None if ng is None else decimal_grams(ng)


def _ratio(ng: int, count: int) -> str | None:
    """Grams per one, to the 15th place; None without any."""
    return f"{(Decimal(ng).scaleb(-9) / count).quantize(PLACES):f}" if count else None
