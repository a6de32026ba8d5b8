"""`Idempotency-Key`: what a key stands for is answered, recorded and charged once, however often it is asked for.

A call with a key is answered by a task of its own, which goes on when its client leaves: the client that comes again,
to this replica or another one of the node, gets that answer and no second one is made.

State: the keys that are being answered here, each with its task, and those answered whose answer the store did not
take: they stay, are answered from here and offered to the store again; changed on the event loop alone.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial

from greenserve.errors import (
    DeadlineExceeded,
    Draining,
    GreenServeError,
    IdempotencyConflict,
    NotReady,
    Overloaded,
)
from greenserve.ports import Clock
from greenserve.serve.admission import Admission, Caller
from greenserve.serve.call import Answer, Call
from greenserve.serve.call_thread import CallThread
from greenserve.serve.kept import KEPT_NS, Claim, KeptAnswers, Wanted
from greenserve.serve.kept_codec import content_of, decode, encode, name_of
from greenserve.trouble import Trouble
from greenserve.units import NS_PER_S

log = logging.getLogger("greenserve.once")
POLL_S = 0.02
"""How often a call looks whether another replica has answered its key."""

KEEP_AGAIN_S = 1.0
"""How often an answer that the store did not take is offered to it again, for as long as answers are kept."""

MOST_UNKEPT = 1_000
CLOSING_S = 10.0
Handle = Callable[[Call], Awaitable[Answer]]
Counted = Callable[[str], None]


@dataclass(frozen=True, slots=True, eq=False)
class _Running:
    content: bytes
    task: "asyncio.Task[Answer]"


@dataclass(frozen=True, slots=True, eq=False)
class _Unkept:
    wanted: Wanted
    answer: bytes
    until_ns: int


class Once:
    """Answers calls that carry a key. `kept` is the node's store; `counted` is told `kept`, `joined` or `conflict`."""

    def __init__(
        self, kept: KeptAnswers, *, admission: Admission, clock: Clock, counted: Counted = lambda result: None
    ) -> None:
        self._kept = kept
        self._admission = admission
        self._clock = clock
        self._counted = counted
        self._thread = CallThread("kept-answers")
        self._running: dict[bytes, _Running] = {}
        self._unkept: dict[bytes, _Unkept] = {}
        self._keeping: asyncio.Task[None] | None = None
        self._trouble = Trouble(log, "idempotency keys are not written")
        self.closing_s = CLOSING_S
        """How long `close` waits for what is under way [s]."""
        self.keep_again_s = KEEP_AGAIN_S

    def __repr__(self) -> str:
        return f"<Once {len(self._running)} under way, {self._kept!r}>"

    async def close(self) -> None:
        """Let what is under way end, cancel what does not, close the store."""
        if self._running:
            tasks = [one.task for one in self._running.values()]
            _, late = await asyncio.wait(tasks, timeout=self.closing_s)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.wait([self._keeping])
        self._thread.close()
        self._kept.close()

    async def handle(self, call: Call, handle: Handle) -> Answer:
        """The answer to a call with a key, made by `handle` unless there is one.

        Raises what `handle` raises, IdempotencyConflict where the key stands for something else, Overloaded where no
        room for keys is left, DeadlineExceeded where another call's answer is not there in time.
        """
        assert call.idempotency_key is not None
        caller = self._admission.authenticate(call.credential)
        self._admission.check_scope(caller, model=call.model, variant=call.hints.variant, protocol=call.protocol)
        tenant = caller.tenant.tenant_id
        wanted = Wanted(name=name_of(tenant, call.idempotency_key), tenant=tenant, content=content_of(call))
        ends_ns = self._admission.deadline_ns(call)
        while True:
            running = self._running.get(wanted.name)
            joins = running is not None
            if running is None:
                running = self._start(wanted, call, handle, ends_ns)
            elif running.content != wanted.content:
                self._again(caller, "conflict")
                raise _conflict(call.idempotency_key)
            try:
                answer = await self._awaited(running.task, ends_ns)
            except DeadlineExceeded:
                if joins and running.task.done() and self._clock.monotonic_ns() < ends_ns:
                    continue  # the one whose answer was awaited had less time
                if joins:
                    self._admission.pace(caller)
                raise
            except IdempotencyConflict:
                self._again(caller, "conflict")
                raise
            if joins or answer.replayed:
                self._again(caller, "joined" if joins else "kept")
                times_ns = (("received", call.received_ns), ("kept", self._clock.monotonic_ns()))
                return replace(answer, client_id=call.client_id, tenant=caller.tenant, times_ns=times_ns, replayed=True)
            return answer

    def _start(self, wanted: Wanted, call: Call, handle: Handle, ends_ns: int) -> _Running:
        task = asyncio.get_running_loop().create_task(self._run(wanted, call, handle, ends_ns), name="idempotent")
        running = self._running[wanted.name] = _Running(wanted.content, task)

        def ended(done: "asyncio.Task[Answer]") -> None:
            if self._running.get(wanted.name) is running and wanted.name not in self._unkept:
                del self._running[wanted.name]
            if not done.cancelled():
                done.exception()  # its client may have left

        task.add_done_callback(ended)
        return running

    async def _run(self, wanted: Wanted, call: Call, handle: Handle, ends_ns: int) -> Answer:
        while (claim := await self._asked(wanted)).kind == "held":
            if self._clock.monotonic_ns() >= ends_ns:
                raise DeadlineExceeded("another call with this Idempotency-Key is not answered yet; ask again later")
            await asyncio.sleep(POLL_S)
        if claim.kind == "other":
            raise _conflict(str(call.idempotency_key))
        if claim.kind == "full":
            raise Overloaded(
                "no room is left for idempotency keys, each is kept for 600 s; come again later, or send the request "
                "without one",
                retry_after_s=claim.retry_after_s,
            )
        if claim.answer is not None:
            # Who it is for is filled in by whoever awaits it.
            tenant = self._admission.authenticate(call.credential).tenant
            return decode(claim.answer, tenant=tenant, client_id=None, times_ns=())
        try:
            answer = await handle(replace(call, idempotency_key=None))
        except BaseException:
            await self._stored(self._kept.release, wanted)
            raise
        encoded = encode(answer)
        if not await self._stored(partial(self._kept.keep, answer=encoded), wanted):
            self._keep_later(_Unkept(wanted, encoded, self._clock.monotonic_ns() + KEPT_NS))
        return answer

    def _keep_later(self, unkept: _Unkept) -> None:
        if len(self._unkept) >= MOST_UNKEPT:
            return  # whoever asks again has it answered again: the store says that the key is held by nobody
        self._unkept[unkept.wanted.name] = unkept
        if self._keeping is None or self._keeping.done():
            self._keeping = asyncio.get_running_loop().create_task(self._keep_again(), name="keeping answers")

    async def _keep_again(self) -> None:
        while self._unkept:
            await asyncio.sleep(self.keep_again_s)
            for name, unkept in list(self._unkept.items()):
                if self._clock.monotonic_ns() < unkept.until_ns:
                    if not await self._stored(partial(self._kept.keep, answer=unkept.answer), unkept.wanted):
                        break  # as little as the others
                else:
                    await self._stored(self._kept.release, unkept.wanted)
                del self._unkept[name], self._running[name]

    async def _asked(self, wanted: Wanted) -> Claim:
        try:
            return await self._thread.submit(self._kept.claim, wanted)
        except Exception as error:
            log.exception("idempotency keys cannot be looked up")
            raise NotReady(
                "idempotency keys cannot be kept at the moment; try again later, or send the request without one",
                retry_after_s=1,
            ) from error

    async def _stored(self, change: Callable[[Wanted], None], wanted: Wanted) -> bool:
        """Whether the store took it. An answer that is recorded leaves in any case."""
        try:
            await self._thread.submit(change, wanted)
        except Exception as error:
            self._trouble.met(error)
            return False
        self._trouble.over()
        return True

    async def _awaited(self, task: "asyncio.Task[Answer]", ends_ns: int) -> Answer:
        left_s = max(0.0, (ends_ns - self._clock.monotonic_ns()) / NS_PER_S)
        done, _ = await asyncio.wait([task], timeout=left_s)
        if not done:
            raise DeadlineExceeded(
                "the deadline passed before the answer was there; it is still being made: ask again with the same "
                "Idempotency-Key"
            )
        if task.cancelled():
            raise Draining("this gateway replica ends; ask again with the same Idempotency-Key", retry_after_s=1)
        return task.result()

    def _again(self, caller: Caller, result: str) -> None:
        self._counted(result)
        self._admission.pace(caller)


def _conflict(key: str) -> GreenServeError:
    return IdempotencyConflict(
        f"Idempotency-Key {key!r:.80} stands for another request; a key is kept for 600 s after its answer: send this "
        "request with a key of its own"
    )
