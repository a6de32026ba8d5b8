"""Trouble that lasts, told when it begins, when it changes and when it ends; not each time that it is met again."""

import logging

from greenserve.errors import GreenServeError


class Trouble:
    """What goes wrong with something that is tried over and over. State: the last fault, and how often it was met."""

    def __init__(self, log: logging.Logger, words: str) -> None:
        """`words` say what goes wrong and what follows, without a full stop."""
        self._log = log
        self._words = words
        self._last = ""
        self._count = 0

    def __repr__(self) -> str:
        return f"<Trouble {self._words!r}, {self._count} times>"

    def met(self, error: Exception) -> None:
        """It went wrong: logged unless it is what went wrong the last time; with a trace where it was not foreseen."""
        self._count += 1
        found = f"{type(error).__name__}: {error}"
        if found != self._last:
            self._last = found
            foreseen = isinstance(error, (GreenServeError, OSError))
            self._log.error("%s: %s", self._words, error, exc_info=None if foreseen else error)

    def over(self) -> None:
        """It went well: logged where it did not the last time."""
        if self._count:
            self._log.warning("%s: over after %d failures", self._words, self._count)
            self._last, self._count = "", 0
