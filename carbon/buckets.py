"""Energies in buckets of a sixteenth of a power of two, for histograms that add up. Pure."""

_FRACTION_BITS = 4


def bucket_of(energy_uj: int) -> int:
    """The histogram's bucket of an energy [uJ]: 16 x bit length + the next four bits, at most 6.25 % wide."""
    length = energy_uj.bit_length()
    if length <= _FRACTION_BITS:
        return (length << _FRACTION_BITS) | (energy_uj << (_FRACTION_BITS + 1 - length) & 15 if length else 0)
    return (length << _FRACTION_BITS) | ((energy_uj >> (length - 1 - _FRACTION_BITS)) & 15)


def bucket_bounds(bucket: int) -> tuple[int, int]:
    """The energies [uJ] of a bucket: the first one, and the first one behind it."""
    length, fraction = bucket >> _FRACTION_BITS, bucket & 15
    if not length:
        return 0, 1
    shift = length - 1 - _FRACTION_BITS
    if shift < 0:
        return (16 + fraction) >> -shift, ((16 + fraction) >> -shift) + 1
    return (16 + fraction) << shift, (17 + fraction) << shift
