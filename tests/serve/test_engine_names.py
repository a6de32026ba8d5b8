"""Engines' names of devices and the boards behind them."""

from greenserve.carbon.meters.nvml import Board
from greenserve.serve.metering import engine_names


def a_board(index: int, name: str = "A") -> Board:
    return Board(handle=None, index=index, uuid=f"GPU-{index}", name=name, driver="1", power_limit_mw=None, mig=None)


def test_a_name_stands_for_a_board_only_where_it_can_mean_no_other() -> None:
    """One board, or several alike that every process sees; else no name is taken for a board."""
    alike, mixed = [a_board(0), a_board(1)], [a_board(0), a_board(1, "B")]

    assert {"cuda:0": "GPU-0"} == engine_names(alike[:1], masked=True)
    assert {"cuda:0": "GPU-0", "cuda:1": "GPU-1"} == engine_names(alike, masked=False)
    assert {} == engine_names(alike, masked=True)
    assert {} == engine_names(mixed, masked=False)
