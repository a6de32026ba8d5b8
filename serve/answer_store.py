"""Answers in this process's memory: W-TinyLFU by number of answers, with an age limit."""

from datetime import timedelta

from theine import Cache

from greenserve.ports import CachedAnswer

LARGEST_ANSWER_BYTES = 65_536
TYPICAL_ENTRY_BYTES = 4_096


class MemoryAnswers:
    """A ResponseCache of about `max_bytes`, each answer kept for `ttl_s` [s]. Used by one thread."""

    def __init__(self, *, max_bytes: int, ttl_s: float) -> None:
        self._store: Cache[bytes, CachedAnswer] = Cache(max(16, max_bytes // TYPICAL_ENTRY_BYTES), nolock=True)
        self._ttl = timedelta(seconds=ttl_s)

    def __repr__(self) -> str:
        return f"<MemoryAnswers, each for {self._ttl}>"

    def get(self, key: bytes) -> CachedAnswer | None:
        """The stored answer, or None."""
        answer: CachedAnswer | None = self._store.get(key)[0]
        return answer

    def put(self, key: bytes, answer: CachedAnswer) -> None:
        """Keep an answer; one over 64 KiB is not worth its place."""
        if answer.size_bytes <= LARGEST_ANSWER_BYTES:
            self._store.set(key, answer, self._ttl)

    def close(self) -> None:
        """Stop the store's own thread."""
        self._store.close()
