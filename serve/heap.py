"""The garbage collector of a process that serves."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

COLLECT = (3_000, 20, 100)
"""Young objects are looked through after so many new ones: requests in flight are a few thousand, and at Python's 700
most of them were looked through several times; at 50,000 they no longer fit the processor's cache."""


@contextmanager
def quiet_heap() -> Iterator[None]:
    """What was loaded before is not looked through while this lasts: that took a tenth of a replica's time."""
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
