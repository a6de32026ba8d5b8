"""The factors appendix: every constant that a statement's emissions rest on, with its value, unit and origin."""

from greenserve.carbon.embodied import HALF_WIDTH_BP, rates_ng_per_s
from greenserve.carbon.folded import Folded
from greenserve.carbon.tally import decimal_g_per_kwh
from greenserve.units import decimal_grams


def factor_lines(folded: Folded) -> list[dict[str, object]]:
    """Grid intensities, PUE, hardware and contracts, in this order."""
    return [*_grid(folded), *_pue(folded), *_hardware(folded), *_market(folded)]


def _grid(folded: Folded) -> list[dict[str, object]]:
    return [
        {
            "factor": "grid intensity",
            "zone": zone,
            "provider": provider,
            "origin": origin,
            "basis": basis,
            "kind": kind,
            "min_gco2e_per_kwh": decimal_g_per_kwh(low),
            "max_gco2e_per_kwh": decimal_g_per_kwh(high),
        }
        for (zone, provider, origin, basis, kind), (low, high) in sorted(folded.factors.items())
    ]


def _pue(folded: Folded) -> list[dict[str, object]]:
    sources = folded.terms.pue_sources or {}
    return [
        {
            "factor": "PUE",
            "region": region or None,
            "pue": None if pue_milli is None else decimal_g_per_kwh(pue_milli),
            "source": sources.get(region),
            "requests": requests,
        }
        for (region, pue_milli), requests in sorted(folded.sites.items(), key=str)
    ]


def _hardware(folded: Folded) -> list[dict[str, object]]:
    lines: list[dict[str, object]] = [
        {
            "factor": "embodied",
            "device": part.device,
            "part": part.name,
            "embodied_gco2e": str(part.embodied_g),
            "life_s": part.life_s,
            "share_ppm": part.share_ppm,
            "source": part.source,
        }
        for part in folded.terms.hardware
    ]
    rates = rates_ng_per_s(folded.terms.hardware)
    return lines + [
        {
            "factor": "embodied rate",
            "device": device,
            "rate_gco2e_per_s": decimal_grams(rate),
            "half_width_pct": str(HALF_WIDTH_BP // 100),
        }
        for device, rate in sorted(rates.items())
    ]


def _market(folded: Folded) -> list[dict[str, object]]:
    market = folded.terms.market
    if market is None:
        return []
    return [{"factor": "contracts file", "sha256": market.sha256, "instruments": len(market.instruments)}] + [
        {
            "factor": "residual mix",
            "region": one.region,
            "intensity_gco2e_per_kwh": decimal_g_per_kwh(one.mg_per_kwh),
            "source": one.source,
        }
        for one in market.residuals
    ]
