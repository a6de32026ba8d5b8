"""Ask a provider over HTTP: one client for all, a limit of time and size, and every refusal as GridUnavailable."""

import asyncio
import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

import httpx

from greenserve.errors import GridUnavailable
from greenserve.ports import Clock
from greenserve.units import US_PER_S

TIMEOUT_S = 5.0
LARGEST_BODY = 32 * 2**20
LONGEST_PAUSE_S = 86_400
OK, NO_CONTENT = 200, 204
DENIED = frozenset({401, 403})
BUSY = frozenset({429, 503})
UNREACHABLE = "unreachable"
"""In an error's details where nothing was answered at all: other questions would not be answered either."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """The body of an answer, its SHA-256 in hex, and when it came [us UTC]."""

    body: bytes
    sha256: str
    retrieved_us: int


class _WithoutQuery(logging.Filter):
    """httpx logs each URL whole; some providers take their key in the query, and no log may hold one."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Cut what stands behind the path; keep the record."""
        if isinstance(record.args, tuple):
            record.args = tuple(
                part.copy_with(query=None) if isinstance(part, httpx.URL) else part for part in record.args
            )
        return True


_without_query = _WithoutQuery()


class Fetcher:
    """One HTTP client for all providers; give it back with `close`. A test may shorten `timeout_s` [s].

    Proxies and certificates are taken from the usual environment variables unless `trust_env` is False.
    """

    def __init__(self, *, clock: Clock, timeout_s: float = TIMEOUT_S, trust_env: bool = True) -> None:
        logging.getLogger("httpx").addFilter(_without_query)
        self._clock = clock
        self._timeout_s = timeout_s
        self._client = httpx.AsyncClient(timeout=timeout_s, trust_env=trust_env, follow_redirects=False)

    async def get(
        self,
        url: str,
        *,
        provider: str,
        params: Mapping[str, str | list[str]] | None = None,
        headers: Mapping[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        accept_status: frozenset[int] = frozenset(),
    ) -> Fetched:
        """The answer to one GET with status 200 or one of `accept_status`.

        Raises GridUnavailable: no answer within the limit, another status, a body over 32 MiB; `retry_after_s` is what
        a 429 or 503 asked for. Messages name the provider and the path, never the query, which may hold a key.
        """
        path = httpx.URL(url).path
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                self._client.stream("GET", url, params=params, headers=headers, auth=auth) as answer,
            ):
                if answer.status_code != OK and answer.status_code not in accept_status:
                    raise self._refused(provider, path, answer)
                body = await _whole(answer, provider)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, ValueError) as error:
            slow = isinstance(error, TimeoutError | httpx.TimeoutException)
            # Of what was refused before it was sent the message may repeat headers, and so a key: its kind says enough.
            told = f": {error!s:.120}" if isinstance(error, httpx.NetworkError) else ""
            why = f"no answer within {self._timeout_s:g} s" if slow else f"{type(error).__name__}{told}"
            raise GridUnavailable(
                f"{provider}: {path}: {why}; it is asked again later", details={UNREACHABLE: True}
            ) from None
        return Fetched(body=body, sha256=hashlib.sha256(body).hexdigest(), retrieved_us=self._clock.unix_us())

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    def _refused(self, provider: str, path: str, answer: httpx.Response) -> GridUnavailable:
        status = answer.status_code
        pause_s = self._pause_s(answer.headers.get("retry-after")) if status in BUSY else None
        if status in DENIED:
            todo = "its key is not accepted for this: check the key, and what the contract covers"
        elif status in BUSY:
            todo = "it asks for fewer calls" if pause_s is None else f"it asks to wait {pause_s} s"
        else:
            todo = "it is asked again later"
        return GridUnavailable(f"{provider}: {path} answered {status}; {todo}", retry_after_s=pause_s)

    def _pause_s(self, text: str | None) -> int | None:
        """Seconds, or a date, of a Retry-After header [s]; None where it has none that can be read."""
        if text is None:
            return None
        if text.strip().isdecimal():
            return min(int(text.strip()[:9]), LONGEST_PAUSE_S)
        try:
            until = parsedate_to_datetime(text).timestamp()
        except (ValueError, TypeError):
            return None
        return max(0, min(LONGEST_PAUSE_S, round(until - self._clock.unix_us() / US_PER_S)))


async def _whole(answer: httpx.Response, provider: str) -> bytes:
    parts, size = [], 0
    async for part in answer.aiter_bytes():
        size += len(part)
        if size > LARGEST_BODY:
            raise GridUnavailable(f"{provider}: the answer is over {LARGEST_BODY} bytes; it is not read")
        parts.append(part)
    return b"".join(parts)
