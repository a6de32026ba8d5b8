"""Names and values of the facts that every answer carries: HTTP headers, gRPC metadata, response parameters."""

import re
from functools import lru_cache

from greenserve.records import Usage
from greenserve.serve.call import Answer
from greenserve.units import MILLI, decimal_grams, decimal_joules, two_digits

REQUEST_ID = "GreenServe-Request-Id"
ROUTE = "GreenServe-Route"
ENERGY = "GreenServe-Energy"
ENERGY_JOULES = "GreenServe-Energy-Joules"
CARBON = "GreenServe-Carbon"
CARBON_GRAMS = "GreenServe-Carbon-Grams"
RECEIPT = "GreenServe-Receipt"
CACHE = "GreenServe-Cache"
REPLAYED = "GreenServe-Replayed"
SERVER_TIMING = "Server-Timing"
POLICY = "greenserve-policy"
DEADLINE_MS = "greenserve-deadline-ms"
MIN_QUALITY = "greenserve-min-quality"
REGIONS = "greenserve-regions"
CACHE_HINT = "greenserve-cache"
DEFER_UNTIL = "greenserve-defer-until"
IDEMPOTENCY_KEY = "idempotency-key"

NS_PER_MS = 1_000_000
TOKEN = re.compile(r"[A-Za-z*][!#$%&'*+\-.^_`|~0-9A-Za-z:/]*")
Facts = list[tuple[str, str]]


def facts_of(answer: Answer) -> Facts:
    """(name, value) in the spelling of HTTP; energy and carbon as far as the tenant's exposure allows."""
    decision = answer.decision
    emulated = ";emulated" if decision.emulated else ""
    shown = answer.tenant.exposure != "off"
    facts = [
        (REQUEST_ID, answer.request_id),
        (ROUTE, f"{decision.region}/{decision.variant};reason={decision.reason}{emulated}"),
        (CACHE, answer.cache),
        (RECEIPT, f'"/v1/receipts/{answer.request_id}";state={answer.usage.state}' if shown else "withheld"),
        (SERVER_TIMING, _server_timing(answer)),
    ]
    if answer.replayed:
        facts.append((REPLAYED, "true"))
    return facts + _energy_facts(answer) + _carbon_facts(answer) if shown else facts


def parameters_of(answer: Answer) -> dict[str, str | int]:
    """The same as response parameters: integers of the ledger, decimals as strings, unknown left out."""
    parameters: dict[str, str | int] = {
        "greenserve_request_id": answer.request_id,
        "greenserve_variant": answer.decision.variant,
        "greenserve_region": answer.decision.region,
        "greenserve_emulated": "true" if answer.decision.emulated else "false",
        "greenserve_reason": answer.decision.reason,
        "greenserve_cached": answer.cache,
    }
    if answer.replayed:
        parameters["greenserve_replayed"] = "true"
    if answer.tenant.exposure == "off":
        return parameters
    energy_uj, emissions_ng = _shown(answer)
    parameters |= {
        "greenserve_energy_uj": energy_uj,
        "greenserve_energy_joules": decimal_joules(energy_uj),
        "greenserve_tier": answer.usage.tier,
        "greenserve_state": answer.usage.state,
    }
    if emissions_ng is not None:
        parameters |= {
            "greenserve_carbon_ng": emissions_ng,
            "greenserve_carbon_grams": decimal_grams(emissions_ng),
        }
    return parameters


def _shown(answer: Answer) -> tuple[int, int | None]:
    energy_uj, emissions_ng = answer.usage.energy_uj, answer.emissions_ng
    if answer.tenant.exposure == "exact":
        return energy_uj, emissions_ng
    return two_digits(energy_uj), None if emissions_ng is None else two_digits(emissions_ng)


def _energy_facts(answer: Answer) -> Facts:
    usage, (energy_uj, _) = answer.usage, _shown(answer)
    bounds = f";low={usage.low_uj};high={usage.high_uj}" if answer.tenant.exposure == "exact" else ""
    return [
        (ENERGY, f"{energy_uj};u=uJ{bounds};{_evidence(usage)}"),
        (ENERGY_JOULES, decimal_joules(energy_uj)),
    ]


def _carbon_facts(answer: Answer) -> Facts:
    reading, (_, emissions_ng) = answer.decision.intensity, _shown(answer)
    if reading is None or emissions_ng is None:
        return []
    basis = f"basis={reading.basis};origin={reading.origin};provider={sf_word(reading.provider)}"
    place = f"zone={reading.zone};intensity={reading.mg_per_kwh};pue={answer.decision.pue_milli / MILLI:g}"
    return [
        (CARBON, f"{emissions_ng};u=ng;{place};{basis};state={answer.usage.state}"),
        (CARBON_GRAMS, decimal_grams(emissions_ng)),
    ]


@lru_cache(maxsize=256)
def sf_word(text: str) -> str:
    """A word of a structured field (RFC 9651): a token as it is, anything else as a string."""
    return text if TOKEN.fullmatch(text) else sf_string(text)


def sf_string(text: str) -> str:
    """A string of a structured field: between quotes, and what is not printable ASCII as a question mark."""
    plain = "".join(each if each.isascii() and each.isprintable() else "?" for each in text)
    return '"' + plain.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _evidence(usage: Usage) -> str:
    return f"tier={usage.tier};state={usage.state}"


def _server_timing(answer: Answer) -> str:
    parts, (_, before_ns) = [], answer.times_ns[0]
    for stage, at_ns in answer.times_ns[1:]:
        parts.append(f"{stage};dur={(at_ns - before_ns) / NS_PER_MS:.2f}")
        before_ns = at_ns
    return ", ".join(parts)
