"""After how many requests a run of the optimizer has paid for itself."""

from math import ceil


def requests_to_repay(*, run_j: float, saved_j: float, saved_low_j: float) -> int | None:
    """Requests until `run_j` [J] is repaid at `saved_j` [J] each.

    None unless the saving is surely above zero (`saved_low_j`, its lower bound, is positive).
    """
    if run_j < 0:
        raise ValueError(f"a run costs >= 0 J, got {run_j}")
    if saved_low_j <= 0 or saved_j <= 0:
        return None
    return ceil(run_j / saved_j)
