"""E10: making the hardware, spread over its life."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.carbon.embodied import Part, embodied_ng, rate_ng_per_s, unused_ng

H100 = [Part(name="H100", grams=164_000, life_years=4), Part(name="server", grams=5_700_000, life_years=5, per=8)]


def test_the_rate_of_the_method_page() -> None:
    """164 kg over 4 years and an eighth of 5,700 kg over 5: 5,818,747 ng/s, 20.9 g/h."""
    assert 5_818_747 == rate_ng_per_s(H100)
    assert 20_947_489_200 == embodied_ng(3_600 * 10**9, 1_000, rate_ng_per_s(H100))


def test_an_unknown_rate_stays_unknown() -> None:
    """Never 0 g."""
    assert embodied_ng(10**9, 1_000, None) is None
    assert unused_ng(10**9, None, []) is None
    assert 0 == rate_ng_per_s([])


@given(st.lists(st.tuples(st.integers(0, 10**12), st.integers(0, 1_000)), max_size=8), st.integers(0, 10**8))
def test_spans_and_what_is_unused_make_up_the_hour(spans: list[tuple[int, int]], rate: int) -> None:
    """Rounded down each, they never exceed the whole unless the device is overbooked."""
    held = [embodied_ng(device_ns, share, rate) or 0 for device_ns, share in spans]
    whole = embodied_ng(10**13, 1_000, rate)

    rest = unused_ng(10**13, rate, held)

    assert whole is not None
    assert rest == max(0, whole - sum(held))


@pytest.mark.parametrize(("device_ns", "share"), [(-1, 0), (0, 1_001), (0, -1)])
def test_impossible_times_and_shares_are_refused(device_ns: int, share: int) -> None:
    """Nothing gives hardware back."""
    with pytest.raises(ValueError, match=r"share of 0\.\.1000"):
        embodied_ng(device_ns, share, 1)


def test_impossible_parts_are_refused() -> None:
    """A life of no years, negative emissions."""
    with pytest.raises(ValueError, match="life of at least a year"):
        Part(name="x", grams=1, life_years=0)
    with pytest.raises(ValueError, match=">= 0 ng/s"):
        embodied_ng(1, 1, -1)
