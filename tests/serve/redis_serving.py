"""A real redis-server of the tests' own, and a proxy before it that is slow or silent when a test says so."""

import asyncio
import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.gateway_process import wait_until

REMEDY = "no redis-server on this machine; install it with `apt-get install redis-server`"


@contextlib.contextmanager
def redis_server() -> Iterator[Path]:
    """The UNIX socket of a redis-server that keeps nothing on disk; skips the test where there is none."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip(REMEDY)
    with tempfile.TemporaryDirectory(prefix="gs-") as folder:
        path = Path(folder) / "redis"
        arguments = ["--port", "0", "--unixsocket", str(path), "--save", "", "--appendonly", "no", "--dir", folder]
        process = subprocess.Popen([program, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            assert wait_until(path.exists, 10.0)
            yield path
        finally:
            process.terminate()
            process.wait(10.0)


def client_of(path: Path) -> Any:
    """A client of the Redis behind a UNIX socket."""
    from redis.asyncio import Redis  # an optional library, as the server is an optional program

    return Redis.from_url(f"unix://{path}")


class Proxy:
    """Hands bytes on, replies `delay_s` [s] late, and counts those; `cut` ends all connections until `mend`."""

    def __init__(self, behind: Path, path: Path) -> None:
        self.delay_s = 0.0
        self.replies = 0
        self.path = path
        self._behind = behind
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def mend(self) -> None:
        """Listen."""
        self._server = await asyncio.start_unix_server(self._serve, self.path)

    async def cut(self) -> None:
        """As if Redis had been killed."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            to_redis, from_redis = await asyncio.open_unix_connection(self._behind)
            try:
                await asyncio.gather(
                    self._pass(reader, from_redis, late=False), self._pass(to_redis, writer, late=True)
                )
            finally:
                from_redis.close()
        except (asyncio.CancelledError, OSError):
            pass  # the test cut it, or the client left
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _pass(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, late: bool) -> None:
        while data := await source.read(65_536):
            if late and self.delay_s:
                await asyncio.sleep(self.delay_s)
            target.write(data)
            await target.drain()
            self.replies += late
        target.close()


@contextlib.asynccontextmanager
async def proxy_before(behind: Path) -> AsyncIterator[Proxy]:
    """A running proxy before a redis-server's socket."""
    proxy = Proxy(behind, behind.with_name("proxy"))
    await proxy.mend()
    try:
        yield proxy
    finally:
        await proxy.cut()
