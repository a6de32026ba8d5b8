"""Run a command under a tracker."""

import subprocess
from collections.abc import Sequence
from typing import IO

from greenserve.carbon.tracked import CarbonReport
from greenserve.carbon.tracker import CarbonTracker
from greenserve.cli.output import messages

NOT_FOUND, NOT_RUN, SIGNALLED = 127, 126, 128
"""Exit codes as a shell gives them."""


def run_tracked(
    tracker: CarbonTracker, command: Sequence[str], *, output: IO[str] | None = None
) -> tuple[int, CarbonReport]:
    """The command's exit code (128 + n for signal n) and what it used; `output` takes its stdout instead of ours.

    Ctrl-C reaches the command by the terminal; its end is waited for, so that what it used is told.
    """
    tracker.start()
    try:
        process = subprocess.Popen(command, stdout=output)
    except OSError as error:
        messages.print(f"{command[0]} cannot be run: {error.strerror}", markup=False)
        return NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_RUN, tracker.stop(type(error).__name__)
    while True:
        try:
            code = process.wait()
            break
        except KeyboardInterrupt:
            messages.print("waiting for the command to end", markup=False)
    return code if code >= 0 else SIGNALLED - code, tracker.stop()
