"""The table of a manifest for an 80-column terminal."""

import textwrap
from collections.abc import Mapping
from typing import Any

from greenserve.optimize.entry import p95_s
from greenserve.optimize.kinds import KINDS
from greenserve.units import NG_PER_G, UJ_PER_J

BYTES_PER_MB = 1_000_000
WIDTH = 80
HEADINGS = {kind.metric: kind.heading for kind in KINDS.values()}


def table(document: Mapping[str, Any]) -> list[str]:
    """Lines for every variant: size, energy, ratio, quality, loss in points, p95; below it the verdict."""
    quality = HEADINGS[document["gates"]["metric"]]
    lines = [
        f"  {'variant':<15}{'MB':>5} {'mJ/request (95 %)':<20} {'vs':>5} {quality:>5} {'loss (95 %)':<17} {'p95ms':>5}"
    ]
    for variant in document["variants"]:
        lines.extend(_variant_lines(variant, document))
    lines.append("* not beaten in joules, loss and p95 together (Pareto front); loss in points")
    if document.get("embedding"):
        lines.append(
            f"rec: share of the ten nearest texts in an index of {document['baseline']}'s vectors that is found"
        )
        lines.append("too; vote: how often the majority of those texts has the right label")
    return lines


def summary(document: Mapping[str, Any]) -> list[str]:
    """What the joules rest on, what the run cost, when it is repaid."""
    profile = document["variants"][0]["profiles"][0]
    half_width = document["protocol"]["systematic_pct"]
    energy = document["run"]["energy_uj"]
    grams = document["run"]["emissions_ng"]
    if grams is None:
        carbon = "unknown: no grid intensity given (--intensity G, in g/kWh)"
    else:
        stated = document["run"]["intensity"][0]
        zone = f" in {stated['zone']}" if stated["zone"] else ""
        carbon = f"{grams / NG_PER_G:.3g} g CO2e at {stated['mg_per_kwh'] / 1000:g} g/kWh{zone}, as stated"
    lines = [
        f"joules: CPU-time model, tier {profile['tier']}: absolute +-{half_width} %, ratios as shown;",
        "  engine and tokenizer at batch 8 over the test rows, without the gateway",
        f"this run: {_joules(energy['gross'])} in {document['run']['wall_s']:.0f} s (tier {energy['tier']}, "
        f"{_joules(energy['idle'])} of it idle)",
        f"  carbon of this run: {carbon}",
    ]
    best = next(one for one in document["variants"] if one["name"] == document["recommended"])
    repaid = best["breakeven"]["requests_energy"]
    if repaid is not None:
        lines.append(f"  repaid after {repaid:,} requests on {best['name']} instead of {document['baseline']}")
    return lines


def _variant_lines(variant: Mapping[str, Any], document: Mapping[str, Any]) -> list[str]:
    quality, profile = variant["quality"], variant["profiles"][0]
    headline = profile["headline"]
    megabytes = sum(file["bytes"] for file in variant["files"]) / BYTES_PER_MB
    slow = p95_s(profile["cells"], document["gates"]["p95_at"])
    baseline = variant["name"] == document["baseline"]
    low, high = quality["ci95_points"]
    loss = "baseline" if baseline else _loss(-quality["delta_points"], -high, -low)
    mark = "*" if variant["name"] in document["front"] else " "
    cells = (
        f"{mark} {variant['name']:<15}{megabytes:5.1f}",
        f"{_millijoules(headline):<20}",
        f"{_ratio(headline['ratio_to_baseline']):>5}",
        f"{100 * quality['value']:5.1f}",
        f"{loss:<17}",
        "    -" if slow is None else f"{_short(1000 * slow):>5}",
    )
    said = textwrap.wrap(_verdict(variant, document), WIDTH, initial_indent="    ", subsequent_indent="    ")
    return [" ".join(cells), *said]


def _verdict(variant: Mapping[str, Any], document: Mapping[str, Any]) -> str:
    quality = variant["quality"]
    words = {"baseline": "baseline", "pass": "pass", "undecided": "undecided", "below_gate": "below gate"}
    said = words[quality["verdict"]]
    if quality["rows_to_decide"] is not None:
        said += f": {quality['rows_to_decide']:,} test rows would decide"
    if variant["name"] == document["recommended"] != document["baseline"]:
        said += ", recommended"
    probe = quality.get("probe")
    if probe is not None:
        said += f"; vote {100 * probe['value']:.1f} %"
    return "; ".join([said, *variant["flags"]])


def _millijoules(headline: Mapping[str, Any]) -> str:
    value, bounds = 1000 * headline["j_per_request"], headline["ci95_j"]
    places = 1 if value >= 10 else 2 if value >= 1 else 3
    if bounds is None:
        return f"{value:.{places}f}"
    return f"{value:.{places}f} [{1000 * bounds[0]:.{places}f}, {1000 * bounds[1]:.{places}f}]"


def _ratio(ratio: float) -> str:
    return f"{ratio:.0f}x" if ratio >= 100 else f"{ratio:.1f}x"


def _loss(points: float, low: float, high: float) -> str:
    places = 1 if max(abs(points), abs(low), abs(high)) < 10 else 0
    return f"{points:+.{places}f} [{low:+.{places}f}, {high:+.{places}f}]"


def _short(value: float) -> str:
    return f"{value:.3g}" if value >= 1 else f"{value:.2f}"


def _joules(energy_uj: int) -> str:
    joules = energy_uj / UJ_PER_J
    return f"{joules / 1000:.2f} kJ" if joules >= 1000 else f"{joules:.0f} J"
