"""The shipped tables: whole, consistent, and their codes free of slips."""

import string

import pytest

from greenserve.carbon.factors.tables import (
    cloud_regions,
    country_of,
    fuel_codes,
    fuel_factors,
    grid_zone,
    zones,
)
from greenserve.carbon.fuel_mix import NOT_GENERATION

EIC_SIGNS = string.digits + string.ascii_uppercase + "-"


def check_sign(code: str) -> str:
    """The sixteenth sign of an EIC code from the fifteen before it."""
    total = sum(EIC_SIGNS.index(sign) * weight for sign, weight in zip(code[:15], range(16, 1, -1), strict=True))
    return EIC_SIGNS[36 - (total - 1) % 37]


@pytest.mark.parametrize("code", sorted(z.codes["entso-e"] for z in zones().values() if "entso-e" in z.codes))
def test_every_eic_code_has_its_check_sign(code: str) -> None:
    """A code with a slip in it would ask for another zone's power stations, or for none."""
    assert 16 == len(code)
    assert check_sign(code) == code[15]


def test_no_two_zones_share_a_code() -> None:
    """Each provider's code means one zone."""
    codes = [pair for zone in zones().values() for pair in zone.codes.items()]

    assert len(codes) == len(set(codes))
    assert len(codes) > 60


@pytest.mark.parametrize("provider", ["eia", "entso-e", "neso"])
def test_every_fuel_code_means_a_fuel_with_factors(provider: str) -> None:
    """Or something that is no generation; both bases have the same fuels."""
    factors = fuel_factors()

    assert set(fuel_codes(provider).values()) <= set(factors.lifecycle) | NOT_GENERATION
    assert factors.lifecycle.keys() == factors.direct.keys()
    assert all(factors.direct[fuel] <= factors.lifecycle[fuel] for fuel in factors.direct)


def test_the_factors_are_named_with_version_and_digest() -> None:
    """So a reading says which table made it."""
    assert fuel_factors().name.startswith("E13 fuels 2026.1 sha256:")
    assert (820_000, 760_000) == (fuel_factors().of("lifecycle")["coal"], fuel_factors().of("direct")["coal"])


def test_a_cloud_region_stands_in_a_grid_zone() -> None:
    """Every one in a zone of the table; a zone's own name is itself."""
    assert set(cloud_regions().values()) <= zones().keys()
    assert ("DE", "SE", "NOWHERE") == tuple(map(grid_zone, ("gcp:europe-west3", "SE", "NOWHERE")))
    assert ("DEU", "USA", None) == tuple(map(country_of, ("gcp:europe-west3", "US-CAL-CISO", "NOWHERE")))
