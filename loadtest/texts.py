"""Short made-up posts to classify, one for each index, so that no two requests of a run share an answer."""

from collections.abc import Sequence
from random import Random

OPENERS: tuple[str, ...] = (
    "honestly", "ok so", "just landed and", "update:", "well", "again", "no joke,", "for the record,", "tbh",
    "day three:", "not sure why but", "fyi", "wow,", "sigh,", "finally,", "so apparently",
)  # fmt: skip
SUBJECTS: tuple[str, ...] = (
    "the night train", "my new phone", "that support line", "the gate agent", "this update", "the coffee place",
    "our delivery", "the hotel shuttle", "their web shop", "the ticket app", "seat 14C", "the rental car",
    "customer care", "the bus to town", "breakfast here", "the crew on board", "the old battery", "the wifi",
    "my refund", "the queue at security", "the whole team", "this playlist", "the spare part",
)  # fmt: skip
VERDICTS: tuple[str, ...] = (
    "was late by an hour", "made my morning", "lost two of my bags", "answered within a minute", "is broken again",
    "works like a charm", "cost me forty euros", "could not have been kinder", "keeps freezing", "is fine, I guess",
    "got cancelled without a word", "saved the trip", "charged me twice", "smells of fresh paint", "beats the old one",
    "needs a second try", "left without us", "was worth the wait", "went exactly as planned",
)  # fmt: skip
ENDINGS: tuple[str, ...] = (
    "thanks a lot", "never again", "what a day", "please fix it", "10/10", "I want my money back", "see you next time",
    "can anyone help?", "still smiling", "still waiting", "that is all", "so tired", "recommended", "your call",
    "let's see tomorrow", "fair enough", "ugh",
)  # fmt: skip
PARTS: tuple[Sequence[str], ...] = (ENDINGS, VERDICTS, SUBJECTS, OPENERS)
COMBINATIONS = len(OPENERS) * len(SUBJECTS) * len(VERDICTS) * len(ENDINGS)
STRIDE = 48_611
REPEATED = 32


def text_of(index: int) -> str:
    """The post of that index: neighbours differ in most words, and no two indexes share a text."""
    turn, place = divmod(index, COMBINATIONS)
    rest = place * STRIDE % COMBINATIONS
    words = []
    for part in PARTS:
        rest, chosen = divmod(rest, len(part))
        words.append(part[chosen])
    ending, verdict, subject, opener = words
    number = f" (no {turn})" if turn else ""
    return f"{opener} {subject} {verdict}, {ending}{number}"


class Texts:
    """The texts of a run. State: the seeded generator that decides which repeat; only `next_text` moves it."""

    def __init__(self, *, first: int, repeat_share: float, seed: int) -> None:
        self._next = first + REPEATED
        self._first = first
        self._repeat_share = repeat_share
        self._random = Random(f"texts {seed}")

    def next_text(self) -> str:
        """The next text: new, or with the share `repeat_share` one of a small set."""
        if self._random.random() < self._repeat_share:
            return text_of(self._first + self._random.randrange(REPEATED))
        self._next += 1
        return text_of(self._next - 1)
