"""When a provider is asked again: usual rhythm with jitter, back-off after failures, and what a 429 asked for."""

FIRST_RETRY_S = 30.0
LONGEST_RETRY_S = 3_600.0
MOST_DOUBLINGS = 20


def next_try_s(*, every_s: float, failures: int, retry_after_s: float | None, draw: float) -> float:
    """How long to wait [s]; `failures` are those in a row, `draw` a random number in [0, 1).

    Without a failure: `every_s`, up to a tenth more or less, so that gateways do not all ask at once. After failures:
    30 s, doubled each time up to an hour, of which a random half is taken off; never less than `retry_after_s`.
    """
    if not 0 <= draw < 1 or failures < 0 or every_s <= 0:
        raise ValueError(f"needs a draw in [0, 1), failures >= 0 and a rhythm > 0 s, got {draw}, {failures}, {every_s}")
    if failures == 0:
        return every_s * (0.9 + 0.2 * draw)
    backed_off_s = min(LONGEST_RETRY_S, FIRST_RETRY_S * 2.0 ** min(failures - 1, MOST_DOUBLINGS))
    return max(backed_off_s * (0.5 + 0.5 * draw), retry_after_s or 0.0)
