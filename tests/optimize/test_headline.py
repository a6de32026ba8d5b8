"""Joules per request."""

import pytest

from greenserve.optimize.headline import Headline, headline


def made(*, cpu_ns: list[int], baseline_cpu_ns: list[int], text_cpu_s: float = 0.0) -> Headline:
    """Groups of ten rows at 2 W."""
    return headline(
        cpu_ns=cpu_ns,
        baseline_cpu_ns=baseline_cpu_ns,
        rows=[10] * len(cpu_ns),
        text_cpu_s=text_cpu_s,
        dynamic_w_per_cpu=2.0,
    )


def test_joules_are_power_times_cpu_time_per_request_plus_the_tokenizers() -> None:
    """10 ms for ten rows are 1 ms each, with the tokenizer 1.5 ms: 3 mJ at 2 W."""
    found = made(cpu_ns=[10_000_000] * 3, baseline_cpu_ns=[20_000_000] * 3, text_cpu_s=0.0005)

    assert pytest.approx(found.energy_j.value) == 0.003
    assert pytest.approx(found.ratio.value) == 2.5 / 1.5
    assert pytest.approx(found.saved_j.value) == 0.002


def test_pairing_groups_removes_what_moves_both() -> None:
    """Groups differ by a factor of four, the ratio does not: its interval is a point."""
    found = made(cpu_ns=[1_000_000, 4_000_000, 2_000_000], baseline_cpu_ns=[2_000_000, 8_000_000, 4_000_000])

    assert found.ratio.low == pytest.approx(2.0)
    assert found.energy_j.low is not None
    assert found.energy_j.low < 0.5 * found.energy_j.value
