"""Whether this replica can answer: one place that everybody who is asked looks at.

State: what is still missing, and whether the replica drains; changed by the replica's start and stop alone.
"""


class Health:
    """Ready once nothing is missing and until it drains."""

    def __init__(self, *, missing: set[str]) -> None:
        self._missing = set(missing)
        self.draining = False

    def __repr__(self) -> str:
        return f"<Health {'draining' if self.draining else 'ready' if self.ready else f'waits for {self.missing}'}>"

    @property
    def ready(self) -> bool:
        """Whether requests are taken."""
        return not self._missing and not self.draining

    @property
    def missing(self) -> list[str]:
        """What the replica still waits for."""
        return sorted(self._missing) + (["draining"] if self.draining else [])

    def has(self, part: str) -> None:
        """A part of the replica is there now."""
        self._missing.discard(part)

    def lost(self, part: str) -> None:
        """A part of the replica is gone."""
        self._missing.add(part)
