"""BoAmps reports, one per model: the energy of an AI task in the form that Boavizta collects."""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import orjson

from greenserve.carbon.formats.mapping import mapping_file, value_of
from greenserve.records import TIERS, Statement
from greenserve.units import J_PER_KWH

MAPPING = "boamps.yaml"
HIGH, MEDIUM = Decimal("0.10"), Decimal("0.25")
"""Half widths up to which a report's quality is high and medium, as BoAmps defines the words."""
SUMMED = ("energy_joules", "facility_joules", "energy_low_joules", "energy_high_joules", "loc_lifecycle_gco2e")
_PART = re.compile(r"([A-Za-z]+)(?:\[(\d+)\])?")


def render(statement: Statement) -> bytes:
    """A JSON list of reports; members that are not known are left out, since BoAmps has no null."""
    document: Mapping[str, Any] = statement.document
    specs: Mapping[str, Any] = mapping_file(MAPPING)["report"]
    reports = []
    for model in _models(document):
        report: dict[str, Any] = {}
        for path, spec in specs.items():
            value = value_of(spec, {"statement": document, "model": model})
            if value is not None:
                _put(report, path, orjson.Fragment(value) if spec.get("number") else value)
        reports.append(report)
    return orjson.dumps(reports, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _models(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    by_model: dict[str, list[Mapping[str, Any]]] = {}
    for line in document["breakdown"]:
        by_model.setdefault(line["model"], []).append(line)
    duration = datetime.fromisoformat(document["end"]) - datetime.fromisoformat(document["start"])
    for model, lines in sorted(by_model.items()):
        sums = {name: _sum(line[name] for line in lines) for name in SUMMED}
        tokens = sum(line["tokens_in"] for line in lines)
        yield {
            "model": model,
            "requests": sum(line["requests"] for line in lines),
            "start": _moment(document["start"]),
            "end": _moment(document["end"]),
            "status": "draft" if document["watermarks"] else "corrective" if document["replaces"] else "final",
            "watermark": ", ".join(mark["mark"] for mark in document["watermarks"]) or "none",
            "duration_s": int(duration.total_seconds()),
            "algorithms": [
                {"algorithmName": model, "quantization": variant}
                for variant in sorted({line["variant"] or "unknown" for line in lines})
            ],
            "dataset": [{"dataUsage": "input", "dataType": "token", "dataQuantity": tokens}],
            "components": [
                {"componentName": device["device"], "componentType": _kind(device["device"]), "nbComponent": 1}
                for device in document["data_quality"]["devices"]
            ]
            or [{"componentName": "unknown", "componentType": "other", "nbComponent": 1}],
            "sources": ", ".join(document["reconciliation"]["sources"]) or "no meter",
            "zones": ", ".join(sorted({factor["zone"] for factor in document["factors"] if "zone" in factor})) or None,
            "tier": _weakest(lines),
            "quality": _quality(sums),
            "energy_kwh": _kwh(sums["energy_joules"]),
            "intensity": _intensity(sums),
        } | {name: None if value is None else f"{value:f}" for name, value in sums.items()}


def _sum(values: Iterator[str | None]) -> Decimal | None:
    """The sum of what is known; None where nothing is."""
    known = [Decimal(value) for value in values if value is not None]
    return sum(known, Decimal(0)) if known else None


def _kwh(joules: Decimal | None) -> str | None:
    return None if joules is None else f"{(joules / J_PER_KWH).quantize(Decimal(1).scaleb(-15)):f}"


def _intensity(sums: Mapping[str, Decimal | None]) -> str | None:
    """Mean intensity of the site's energy [gCO2e/kWh], from the sums themselves."""
    grams, joules = sums["loc_lifecycle_gco2e"], sums["facility_joules"]
    return None if grams is None or not joules else f"{(grams * J_PER_KWH / joules).quantize(Decimal('0.001')):f}"


def _quality(sums: Mapping[str, Decimal | None]) -> str | None:
    joules, low, high = (sums[name] for name in ("energy_joules", "energy_low_joules", "energy_high_joules"))
    if not joules or low is None or high is None:
        return None
    half = (high - low) / (2 * joules)
    return "high" if half <= HIGH else "medium" if half <= MEDIUM else "low"


def _weakest(lines: Sequence[Mapping[str, Any]]) -> str | None:
    tiers = [line["tier"] for line in lines if line["tier"] is not None]
    return max(tiers, key=TIERS.index) if tiers else None


def _kind(device: str) -> str:
    return next((kind for kind in ("gpu", "cpu") if kind in device.lower()), "other")


def _moment(text: str) -> str:
    return text.replace("T", " ").removesuffix("Z")


def _put(report: dict[str, Any], path: str, value: Any) -> None:
    here: Any = report
    parts = [(name, index) for name, index in _PART.findall(path)]
    for place, (name, index) in enumerate(parts):
        last = place == len(parts) - 1
        if index:
            row = here.setdefault(name, [])
            while len(row) <= int(index):
                row.append({})
            here = row[int(index)]
        elif last:
            here[name] = value
        else:
            here = here.setdefault(name, {})
