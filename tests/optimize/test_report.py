"""The printed table."""

import copy
from typing import Any

import pytest

from greenserve.optimize.report import summary, table
from greenserve.optimize.run import Outcome


def variant(name: str, **changes: Any) -> dict[str, Any]:
    """An entry with the members that the table reads."""
    given: dict[str, Any] = {
        "verdict": "pass",
        "delta": 0.2,
        "ci95": [-0.5, 0.9],
        "j": 0.0284,
        "ratio": 2.2,
        "p95_s": 0.0058,
        "rows": None,
        "flags": [],
    } | changes
    return {
        "name": name,
        "files": [{"bytes": 23_041_512}],
        "flags": given["flags"],
        "quality": {
            "value": 0.816,
            "delta_points": given["delta"],
            "ci95_points": given["ci95"],
            "verdict": given["verdict"],
            "rows_to_decide": given["rows"],
        },
        "profiles": [
            {
                "tier": "class_average",
                "cells": [{"b": 1, "L": 64, "t_p95_s": given["p95_s"]}],
                "headline": {
                    "j_per_request": given["j"],
                    "ci95_j": [given["j"] * 0.97, given["j"] * 1.03],
                    "ratio_to_baseline": given["ratio"],
                },
            }
        ],
        "breakeven": {"requests_energy": 97_333},
    }


@pytest.fixture
def document() -> dict[str, Any]:
    """Four variants, one of each verdict."""
    return {
        "variants": [
            variant("fp32", verdict="baseline", j=0.0638, ratio=1.0, p95_s=0.0129),
            variant("int8-dyn"),
            variant("drop3-int8-dyn", verdict="undecided", delta=-0.7, ci95=[-1.6, 0.2], rows=18_000, j=0.0151),
            variant(
                "static-256-int8",
                verdict="below_gate",
                delta=-14.8,
                ci95=[-16.4, -13.2],
                j=0.00056,
                ratio=114.0,
                p95_s=None,
                flags=["noisy"],
            ),
        ],
        "baseline": "fp32",
        "recommended": "int8-dyn",
        "front": ["int8-dyn", "static-256-int8"],
        "embedding": None,
        "gates": {"metric": "accuracy", "p95_at": {"b": 1, "L": 64}},
        "protocol": {"systematic_pct": 60},
        "run": {
            "energy_uj": {"gross": 3_448_000_000, "idle": 1_368_000_000, "tier": "class_average"},
            "wall_s": 152.0,
            "emissions_ng": None,
            "intensity": [],
        },
    }


def test_the_table_reads_as_designed(document: dict[str, Any]) -> None:
    """Loss is baseline minus variant in points; a star marks the front; an unknown p95 is a dash."""
    wanted = """\
  variant           MB mJ/request (95 %)       vs acc % loss (95 %)       p95ms
  fp32            23.0 63.8 [61.9, 65.7]     1.0x  81.6 baseline           12.9
    baseline
* int8-dyn        23.0 28.4 [27.5, 29.3]     2.2x  81.6 -0.2 [-0.9, +0.5]   5.8
    pass, recommended
  drop3-int8-dyn  23.0 15.1 [14.6, 15.6]     2.2x  81.6 +0.7 [-0.2, +1.6]   5.8
    undecided: 18,000 test rows would decide
* static-256-int8 23.0 0.560 [0.543, 0.577]  114x  81.6 +15 [+13, +16]        -
    below gate; noisy
* not beaten in joules, loss and p95 together (Pareto front); loss in points"""

    assert wanted.splitlines() == table(document)


def test_many_warnings_go_on_in_the_next_line(document: dict[str, Any]) -> None:
    """Indented like the verdict, within 80 columns."""
    document["variants"][1]["flags"] = ["noisy", "class:negative -48.6 points", "nearest_10_accuracy -12.0 points"]

    lines = table(document)

    at = lines.index("    pass, recommended; noisy; class:negative -48.6 points; nearest_10_accuracy")
    assert "    -12.0 points" == lines[at + 1]
    assert max(map(len, lines)) <= 80


def test_no_line_is_wider_than_a_terminal(tiny_outcome: Outcome) -> None:
    """80 columns."""
    lines = [*table(tiny_outcome.document), *summary(tiny_outcome.document)]

    assert max(map(len, lines)) <= 80


def test_unknown_carbon_is_said_and_never_zero(document: dict[str, Any]) -> None:
    """Without an intensity there is no figure, only how to get one."""
    said = "\n".join(summary(document))

    assert "carbon of this run: unknown: no grid intensity given" in said
    assert "0 g" not in said
    assert "3.45 kJ in 152 s (tier class_average, 1.37 kJ of it idle)" in said
    assert "after 97,333 requests on int8-dyn" in said


def test_a_stated_intensity_is_named_with_the_grams(document: dict[str, Any]) -> None:
    """The figure's origin stands beside it."""
    document["run"] |= {"emissions_ng": 206_688_444, "intensity": [{"zone": "GB", "mg_per_kwh": 215_800}]}

    assert any("0.207 g CO2e at 215.8 g/kWh in GB, as stated" in line for line in summary(document))


def test_the_baseline_is_never_called_recommended(document: dict[str, Any]) -> None:
    """Where none passed the table recommends nothing, and nothing is repaid."""
    changed = copy.deepcopy(document) | {"recommended": "fp32"}
    changed["variants"][0]["breakeven"]["requests_energy"] = None

    assert not any("recommended" in line or "repaid" in line for line in [*table(changed), *summary(changed)])
