"""Long texts: who is over its rate has none of them read, and nobody waits for those of others."""

import asyncio
import threading
import time
from dataclasses import replace
from typing import cast

import pytest

from greenserve.carbon.tenancy import KeyRules
from greenserve.clock import SystemClock
from greenserve.errors import DeadlineExceeded, InvalidRequest, ModelNotAllowed, RateLimited
from greenserve.inputs import LONG
from greenserve.records import Item
from greenserve.serve.call import Call
from greenserve.serve.gateway import Gateway
from greenserve.serve.tasks import Task
from greenserve.serve.texts import LongTexts, is_long, rows_of
from tests.serve.admitting import KEY, a_tenancy
from tests.serve.building import TENANT, a_call

CLOCK = SystemClock()
LONG_TEXT = "good " * LONG


class Slow:
    """A task that reads a call only once it may. State: the calls that it began to read."""

    def __init__(self, *rows: Item) -> None:
        self.may = threading.Event()
        self.begun: list[Call] = []
        self._rows = rows

    def rows(self, call: Call) -> tuple[Item, ...]:
        """Wait."""
        self.begun.append(call)
        assert self.may.wait(10.0)
        return self._rows


def as_task(task: object) -> Task:
    """What only reads stands for a whole task."""
    return cast(Task, task)


@pytest.mark.parametrize(("texts", "expected"), [(["a" * LONG], False), (["a" * 1_000, "a" * 1_001], True)])
def test_the_characters_of_all_texts_count(texts: list[str], expected: bool) -> None:
    """2,000 of them are read on the loop, one more is not."""
    assert expected == is_long(a_call(*texts, clock=CLOCK))


async def test_a_caller_over_its_rate_has_nothing_read(gateway: Gateway) -> None:
    """The second long text within a minute is refused before the tokenizer sees it."""
    gateway.admission.refresh(a_tenancy(tenant=replace(TENANT, rate_per_s=1 / 60, burst=1)), {})
    await gateway.handle(a_call("good", clock=CLOCK, credential=KEY))

    with pytest.raises(RateLimited, match="sends faster"):
        await gateway.handle(a_call(LONG_TEXT, clock=CLOCK, credential=KEY))

    assert "<LongTexts unused>" == repr(gateway.texts)


async def test_a_key_that_may_not_ask_has_nothing_read(gateway: Gateway) -> None:
    """Its scope is judged first, as it is for short texts."""
    gateway.admission.refresh(a_tenancy(rules=KeyRules(models=frozenset({"other"}))), {})

    with pytest.raises(ModelNotAllowed, match="may not use the model tiny"):
        await gateway.handle(a_call(LONG_TEXT, clock=CLOCK, credential=KEY))

    assert "<LongTexts unused>" == repr(gateway.texts)


async def test_a_long_text_counts_once_and_with_its_tokens(gateway: Gateway) -> None:
    """One request of a burst of two, and its tokens are owed afterwards."""
    limited = replace(TENANT, rate_per_s=1 / 60, burst=2, tokens_per_s=10.0)
    gateway.admission.refresh(a_tenancy(tenant=limited), {})
    texts = ["good " * 60] * 10

    answer = await gateway.handle(a_call(*texts, clock=CLOCK, credential=KEY))

    assert 600 == answer.tokens
    with pytest.raises(RateLimited, match="more than 10 tokens/s"):
        await gateway.handle(a_call("good", clock=CLOCK, credential=KEY))


async def test_the_loop_goes_on_while_a_text_is_read() -> None:
    """What the reader waits for is done by the loop meanwhile."""
    texts, slow = LongTexts(), Slow((3, 0))
    asyncio.get_running_loop().call_soon(slow.may.set)

    assert ((3, 0),) == await texts.rows(a_call("x", clock=CLOCK), as_task(slow), left_s=10.0)

    texts.close()


async def test_nobody_waits_past_the_deadline_and_what_waits_is_not_begun() -> None:
    """The call behind one that takes too long is refused by its own deadline, and costs nothing afterwards."""
    texts, slow, behind = LongTexts(), Slow(), Slow()
    first = asyncio.create_task(texts.rows(a_call("x", clock=CLOCK), as_task(slow), left_s=10.0))
    await asyncio.sleep(0)

    with pytest.raises(DeadlineExceeded, match="shorter texts"):
        await texts.rows(a_call("y", clock=CLOCK), as_task(behind), left_s=0.001)
    slow.may.set()
    await first
    texts.close()

    assert [] == behind.begun


async def test_the_time_of_the_reader_is_the_hosts() -> None:
    """Its CPU time is added to that of the loop, by which lines are made."""

    class Busy(Slow):
        def rows(self, call: Call) -> tuple[Item, ...]:
            end_ns = time.thread_time_ns() + 20_000_000
            while time.thread_time_ns() < end_ns:
                pass
            return ()

    texts = LongTexts()
    before_ns = time.thread_time_ns()

    await texts.rows(a_call("x", clock=CLOCK), as_task(Busy()), left_s=10.0)
    texts.close()

    assert 20_000_000 <= texts.host_cpu_ns() - before_ns


@pytest.mark.parametrize(("most", "allowed"), [(None, True), (3, True), (2, False)])
def test_a_protocol_bounds_the_tokens_of_a_call(most: int | None, allowed: bool) -> None:
    """Over them the call is refused with both counts."""
    task = Slow((1, 2), (3,))
    task.may.set()
    call = replace(a_call("x", clock=CLOCK), most_tokens=most)

    if allowed:
        assert ((1, 2), (3,)) == rows_of(call, as_task(task))
    else:
        with pytest.raises(InvalidRequest, match="up to 2 tokens are allowed in one request, got 3"):
            rows_of(call, as_task(task))
