"""Logs as one JSON object per line; requests with their ids, times and energy, never with payloads or keys."""

import logging
import time

import orjson

from greenserve.serve.telemetry.facts import OK, Facts
from greenserve.units import MILLI

log = logging.getLogger("greenserve.requests")
FACTS = "facts"


class JsonFormatter(logging.Formatter):
    """Every record as a JSON object: time (UTC), level, logger, message, and a request's facts."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        document: dict[str, object] = {
            "time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        document |= getattr(record, FACTS, {})
        if record.exc_info:
            document["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(document, default=str).decode()


def log_request(facts: Facts) -> None:
    """One line about a request: errors of ours as errors, refusals as warnings."""
    level = logging.INFO if facts.code == OK else logging.ERROR if facts.code == "internal" else logging.WARNING
    text = "answered" if facts.code == OK else facts.message or facts.code
    log.log(level, "%s", text, extra={FACTS: described(facts)})


def described(facts: Facts) -> dict[str, object]:
    """What a line says of a request; unknown is left out, times in ms, energy in uJ with its tier."""
    known: dict[str, object] = {
        "request_id": facts.request_id,
        "client_id": facts.client_id,
        "tenant": facts.tenant,
        "model": facts.model,
        "version": facts.version,
        "variant": facts.variant,
        "region": facts.region,
        "protocol": facts.protocol,
        "code": facts.code,
        "cache": facts.cache,
        "tokens": facts.tokens,
        "duration_ms": round(facts.duration_s * MILLI, 3),
        "stages_ms": {stage: round(duration_s * MILLI, 3) for stage, duration_s in facts.stages_s()},
        "energy_uj": facts.energy_uj,
        "tier": facts.tier,
        "state": facts.state,
        "emissions_ng": facts.emissions_ng,
    }
    return {name: value for name, value in known.items() if value is not None and value != ""}
