"""What all client scripts share: named calls against the gateway, one JSON line for each.

Standard library only, because it runs in the environments of the clients.
"""

import asyncio
import contextlib
import inspect
import json
import sys
import traceback
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

Call = Callable[[Any], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The gateway that is asked: host:port of both protocols, and keys by tenant."""

    http: str
    grpc: str
    keys: dict[str, str]

    @property
    def url(self) -> str:
        """Where HTTP answers."""
        return f"http://{self.http}"

    def bearer(self, tenant: str = "acme") -> dict[str, str]:
        """The header or metadata that carries a tenant's key."""
        return {"authorization": f"Bearer {self.keys[tenant]}"}


def read_target() -> Target:
    """The target from standard input, so that no key stands in a list of processes."""
    return Target(**json.load(sys.stdin))


@dataclass
class Calls:
    """The calls of one kind of client in the order they are written; `made` grows while the module is imported."""

    made: dict[str, Call] = field(default_factory=dict)

    def named(self, name: str) -> Callable[[Call], Call]:
        """Registers a call under the name that the table shows."""

        def register(call: Call) -> Call:
            if name in self.made:
                raise ValueError(f"two calls are named {name!r}")
            self.made[name] = call
            return call

        return register

    async def run(self, client: str, asked: Any, *, leave_out: Sequence[str] = ()) -> None:
        """Make every call with `asked` as its only argument, and print how each went."""
        for name in leave_out:
            if name not in self.made:
                raise ValueError(f"no call {name!r} to leave out")
        for name, call in self.made.items():
            if name not in leave_out:
                tell(client, name, await _failure(call, asked))


def tell(client: str, call: str, failure: str | None) -> None:
    """Print one line of the result; `failure` is None for a call that went well."""
    line = {"client": client, "call": call, "ok": failure is None, "detail": failure or ""}
    print(json.dumps(line), flush=True)


async def _failure(call: Call, asked: Any) -> str | None:
    try:
        await settled(call(asked))
    except asyncio.CancelledError:
        raise
    except BaseException as error:
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "conformance" in frame.filename]
        line = f" at line {frames[-1].lineno}: {frames[-1].line}" if frames else ""
        return f"{type(error).__name__}: {error}{line}"[:1500]
    return None


async def settled(value: Any) -> Any:
    """The value, awaited if it needs that: the same call serves synchronous and asynchronous clients."""
    if isinstance(value, Awaitable) or inspect.isawaitable(value):
        return await value
    return value


def check_equal(expected: object, actual: object) -> None:
    """Raise with both values where they differ."""
    if expected != actual:
        raise AssertionError(f"expected {expected!r:.300}, got {actual!r:.300}")


def check_holds(text: object, *words: str) -> None:
    """Raise where a text lacks one of the words."""
    for word in words:
        if word not in str(text):
            raise AssertionError(f"{word!r} is not in {text!s:.500}")


class Refusal:
    """What a call that must fail raised; `error` is set when the block has ended."""

    error: Any = None


@contextlib.contextmanager
def refused(kind: type[BaseException] | tuple[type[BaseException], ...], *words: str) -> Iterator[Refusal]:
    """The block must raise `kind` with a message that holds the words."""
    seen = Refusal()
    try:
        yield seen
    except kind as error:
        seen.error = error
        check_holds(error, *words)
        return
    raise AssertionError(f"{kind} was expected, the call went well")
