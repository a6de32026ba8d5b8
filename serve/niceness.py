"""Who goes first on full cores: the event loops, then the engines that they feed."""

import logging
import os
import sys
import threading
from collections.abc import Iterable

log = logging.getLogger("greenserve.engines")
STEP, LAST = 3, 19
"""How much nicer an engine is: Linux gives it half the time of a thread without that, where both want all of it."""


def give_way() -> None:
    """The calling thread runs batches from now on: a loop that has an answer to send, or to refuse, goes first."""
    threads_give_way((threading.get_native_id(),))


def threads_give_way(threads: Iterable[int]) -> None:
    """So do threads of this process that the engine began, by their kernel ids; those that have ended are left out.

    Only Linux has a niceness for each thread; elsewhere nothing changes.
    """
    if sys.platform != "linux":
        return
    for thread in threads:
        try:
            os.setpriority(os.PRIO_PROCESS, thread, min(LAST, os.getpriority(os.PRIO_PROCESS, thread) + STEP))
        except ProcessLookupError:
            continue
        except PermissionError as error:  # a sandbox may forbid even this; the engine runs all the same
            log.warning("thread %d cannot give way to the event loops (%s): refusals take longer", thread, error)
