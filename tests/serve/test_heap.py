"""The garbage collector while a replica serves."""

import gc

from greenserve.serve.heap import COLLECT, quiet_heap


def test_what_was_loaded_is_left_alone_while_it_lasts() -> None:
    """Frozen inside, looked through again afterwards, with the pace of before."""
    before = gc.get_threshold()

    with quiet_heap():
        assert COLLECT == gc.get_threshold()
        assert gc.get_freeze_count() > 0

    assert before == gc.get_threshold()
    assert 0 == gc.get_freeze_count()
