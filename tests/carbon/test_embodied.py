"""Embodied emissions: a rate per second of life, a share by the time that a request held the device."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.carbon.embodied import embodied_ng, rates_ng_per_s
from greenserve.carbon.terms import SECONDS_PER_YEAR, Hardware

GPU_NG_PER_S = 5_818_747


def a_part(embodied_g: int, *, years: int = 4, share_ppm: int = 1_000_000) -> Hardware:
    return Hardware(
        device="gpu0", name="a part", embodied_g=embodied_g, life_s=years * SECONDS_PER_YEAR, share_ppm=share_ppm,
        source="a test",
    )  # fmt: skip


def a_body(**changes: Any) -> dict[str, Any]:
    return {"cache": "miss", "device": "gpu0", "held_ns": 5_000_000} | changes


def test_the_parts_of_a_device_add() -> None:
    """The worked example of E10: a board of 164 kg over 4 years and 1/8 of a server of 5,700 kg over 5 years."""
    rates = rates_ng_per_s([a_part(164_000), a_part(5_700_000, years=5, share_ppm=125_000)])

    assert {"gpu0": GPU_NG_PER_S} == dict(rates)
    assert GPU_NG_PER_S * 5 // 1000 == embodied_ng(a_body(), rates)


def test_what_is_not_known_is_none_and_a_hit_held_nothing() -> None:
    """A device without a rate and a request without its time are unknown; the cache holds no device: 0 is true."""
    rates = {"gpu0": GPU_NG_PER_S}

    assert (None, None, None) == tuple(
        embodied_ng(body, rates) for body in (a_body(device="cpu"), a_body(device=None), a_body(held_ns=None))
    )
    assert 0 == embodied_ng(a_body(cache="hit", device=None, held_ns=None), rates)


@given(st.integers(0, 10**12), st.integers(0, 10**12), st.integers(0, 10**8))
def test_cutting_a_time_loses_less_than_a_nanogram(one_ns: int, other_ns: int, rate: int) -> None:
    """Shares are rounded down, so parts never exceed the whole."""
    rates = {"gpu0": rate}
    parts = [embodied_ng(a_body(held_ns=ns), rates) or 0 for ns in (one_ns, other_ns)]

    whole = embodied_ng(a_body(held_ns=one_ns + other_ns), rates)

    assert whole is not None
    assert 0 <= whole - sum(parts) <= 1


def test_hardware_without_a_life_is_refused() -> None:
    """A life of 0 s would divide by nothing."""
    with pytest.raises(ValueError, match="a life > 0 s"):
        a_part(1, years=0)
