"""The host's description, and when two descriptions mean the same machine."""

from typing import Any

import pytest

from greenserve.host import describe_host, fingerprint

GIB = 2**30
ALIKE: dict[str, Any] = {
    "cpu": "Example CPU",
    "cores": 2,
    "isa": ["avx2"],
    "memory_bytes": 8 * GIB,
    "virtualised": True,
    "gpu": None,
    "os": "Linux x86_64",
    "onnxruntime": "1.24.0",
}


def test_the_description_names_what_a_measurement_depends_on() -> None:
    """All members are there, cores and memory are counted, and it carries its own fingerprint."""
    described = describe_host()

    assert {*ALIKE, "fingerprint"} == set(described)
    assert isinstance(described["cores"], int)
    assert isinstance(described["memory_bytes"], int)
    assert described["cores"] >= 1
    assert described["memory_bytes"] > 2**26
    assert fingerprint(described) == described["fingerprint"]


def test_the_same_machine_has_the_same_fingerprint() -> None:
    """Asked twice, and also where the kernel reports a few bytes more or less."""
    assert describe_host() == describe_host()
    assert fingerprint(ALIKE) == fingerprint(ALIKE | {"memory_bytes": 8 * GIB + 4096, "fingerprint": "x"})


@pytest.mark.parametrize(
    "change",
    [{"cpu": "Other"}, {"cores": 4}, {"isa": []}, {"memory_bytes": 16 * GIB}, {"onnxruntime": None}, {"gpu": "H"}],
    ids=lambda change: next(iter(change)),
)
def test_a_machine_that_measures_differently_has_another_fingerprint(change: dict[str, Any]) -> None:
    """A profile of another machine is never taken for one of this."""
    assert fingerprint(ALIKE) != fingerprint(ALIKE | change)
