"""How fast and how many at once: GCRA for requests and tokens, and requests in progress. Time is an argument.

Each of N replicas enforces its part of a limit, so that together they keep the whole of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from greenserve.errors import RateLimited
from greenserve.units import NS_PER_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """One replica's part of what a tenant or a key may do; None = without limit.

    A request comes every `interval_ns` [ns], or up to `slack_ns` [ns] early; a token takes `token_ns` [ns] of at most
    a second in advance; `places` requests are in progress at once. The rest says the whole limit in messages.
    """

    policy: str
    owner: str
    rate_per_s: float | None
    burst: int
    tokens_per_s: float | None
    concurrency: int | None
    interval_ns: int | None
    slack_ns: int
    token_ns: float | None
    places: int | None


def limits_of(
    policy: str,
    owner: str,
    *,
    rate_per_s: float | None,
    burst: int | None,
    tokens_per_s: float | None,
    concurrency: int | None,
    replicas: int,
) -> Limits:
    """A replica's part: rates are divided, a burst rounded up to whole requests, places down, but to no less than one.

    A rate without a burst has a second's worth of it.
    """
    most = max(1, ceil(rate_per_s or 0)) if burst is None else burst
    interval_ns = None if rate_per_s is None else ceil(NS_PER_S * replicas / rate_per_s)
    return Limits(
        policy=policy,
        owner=owner,
        rate_per_s=rate_per_s,
        burst=most,
        tokens_per_s=tokens_per_s,
        concurrency=concurrency,
        interval_ns=interval_ns,
        slack_ns=(interval_ns or 0) * max(0, ceil(most / replicas) - 1),
        token_ns=None if tokens_per_s is None else NS_PER_S * replicas / tokens_per_s,
        places=None if concurrency is None else max(1, concurrency // replicas),
    )


class _Track:
    """What one tenant or key has taken: theoretical arrival times [ns] of requests and tokens, requests under way."""

    __slots__ = ("request_ns", "running", "token_ns")

    def __init__(self) -> None:
        self.request_ns = self.token_ns = self.running = 0


class Pacer:
    """Counts against limits. State: a track per policy; as many as there are tenants and keys that sent something."""

    def __init__(self) -> None:
        self._tracks: dict[str, _Track] = {}

    def __repr__(self) -> str:
        return f"<Pacer: {len(self._tracks)} tracks, {sum(one.running for one in self._tracks.values())} in progress>"

    def take(self, limits: Sequence[Limits], now_ns: int, tokens: int, *, counted: bool = False) -> None:
        """Let a request of so many tokens pass under all limits, or raise RateLimited and count nothing.

        Tokens are let in whole while any of a second's worth is left: no request is too long ever to pass. `counted`:
        it passed before, when nobody knew its tokens, and has its place among the requests; others may have come since.
        """
        tracks = [self._track(one.policy) for one in limits]
        for one, track in zip(limits, tracks, strict=True):
            if one.places is not None and track.running >= one.places:
                raise _crowded(one, track.running)
            if not counted and one.interval_ns is not None and track.request_ns - now_ns > one.slack_ns:
                raise _too_fast(one, track.request_ns - now_ns - one.slack_ns)
            if one.token_ns is not None and track.token_ns - now_ns >= NS_PER_S:
                raise _too_many_tokens(one, track.token_ns - now_ns - NS_PER_S + 1)
        for one, track in zip(limits, tracks, strict=True):
            if not counted and one.interval_ns is not None:
                track.request_ns = max(now_ns, track.request_ns) + one.interval_ns
            if one.token_ns is not None:
                track.token_ns = max(now_ns, track.token_ns) + ceil(tokens * one.token_ns)

    def began(self, limits: Sequence[Limits]) -> None:
        """A request that was let in is in progress."""
        for one in limits:
            self._track(one.policy).running += 1

    def ended(self, policies: Sequence[str]) -> None:
        """It is over."""
        for policy in policies:
            self._track(policy).running -= 1

    def _track(self, policy: str) -> _Track:
        track = self._tracks.get(policy)
        if track is None:
            track = self._tracks[policy] = _Track()
        return track


def _crowded(limits: Limits, running: int) -> RateLimited:
    return _limited(
        limits,
        "concurrency",
        f"{limits.owner} has {running} requests in progress here, its part of {limits.concurrency} at once; "
        "wait for one of them",
        retry_after_s=1,
        details={"unit": "requests at once", "limit": str(limits.concurrency), "window_s": None},
    )


def _too_fast(limits: Limits, wait_ns: int) -> RateLimited:
    return _limited(
        limits,
        "rate",
        f"{limits.owner} sends faster than {limits.rate_per_s:g}/s with bursts of {limits.burst}; slow down",
        retry_after_s=ceil(wait_ns / NS_PER_S),
        details={"unit": "requests/s", "limit": f"{limits.rate_per_s:g}", "burst": str(limits.burst), "window_s": 1},
    )


def _too_many_tokens(limits: Limits, wait_ns: int) -> RateLimited:
    return _limited(
        limits,
        "tokens",
        f"{limits.owner} sends more than {limits.tokens_per_s:g} tokens/s; send fewer or shorter texts",
        retry_after_s=ceil(wait_ns / NS_PER_S),
        details={"unit": "tokens/s", "limit": f"{limits.tokens_per_s:g}", "window_s": 1},
    )


def _limited(limits: Limits, kind: str, message: str, *, retry_after_s: int, details: dict[str, object]) -> RateLimited:
    about: dict[str, object] = {
        "policy": f"{limits.policy}-{kind}",
        "resets_at": None,
        "actions": ["wait", "raise-rate"],
    }
    return RateLimited(message, retry_after_s=retry_after_s, details=about | details)
