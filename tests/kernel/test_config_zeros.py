"""Quantities of nothing: where a zero would stop every request, the configuration refuses it."""

from pathlib import Path

import pytest

from greenserve.config import load_config
from greenserve.errors import ConfigInvalid
from greenserve.quantities import parse_bytes

GOOD = """\
version: 1
server: {limits: {request_timeout: 30s, max_body: 8MiB}}
models: [{name: sentiment, manifest: manifest.json, objective: {p95: 200ms}}]
regions: [{name: north, zone: SE, pue: {value: 1.12, source: a test}}]
intensity: {sources: [{kind: annual, values: {SE: 31gCO2e/kWh}, year: 2025, source: a test}]}
tenancy: {defaults: {rate: 5/s}}
"""


@pytest.mark.parametrize(
    ("key", "value", "nothing"),
    [
        ("server.limits.request_timeout", "30s", "0s"),
        ("server.limits.max_body", "8MiB", "0MiB"),
        ("models[0].objective.p95", "200ms", "0ms"),
        ("tenancy.defaults.rate", "5/s", "0/s"),
    ],
)
def test_a_limit_of_nothing_is_a_fault(key: str, value: str, nothing: str, tmp_path: Path) -> None:
    """A gateway that could answer nobody, or would divide by its rate, does not start."""
    file = tmp_path / "greenserve.yaml"
    file.write_text(GOOD)
    load_config(file)
    file.write_text(GOOD.replace(value, nothing))

    with pytest.raises(ConfigInvalid, match="Input should be greater than 0") as refused:
        load_config(file)

    assert f"  {key}: " in str(refused.value)


@pytest.mark.parametrize("written", ["1.5B", "0.3333KiB"])
def test_a_part_of_a_byte_is_not_dropped_silently(written: str) -> None:
    """Such a size is a mistake of whoever wrote it."""
    with pytest.raises(ValueError, match="a whole number of bytes is needed"):
        parse_bytes(written)
