"""An engine that never comes back: its replica is replaced, the other one serves on, and whoever waits is told."""

import threading
import time

import httpx

from tests.faults.echoes import POISON
from tests.faults.echoing import REPLICAS, Echoing, question
from tests.gateway_process import wait_until

FOUND_S = 10.0
BUSY_S = 10.0
"""What two replicas that start on a busy machine add."""


def test_a_replica_whose_engine_hangs_is_replaced_while_the_other_serves_on(echoing: Echoing) -> None:
    """Found within ten seconds by its own health check; nobody waits for ever."""
    before = set(echoing.replicas)
    ended: list[str] = []

    def hang() -> None:
        with echoing.client() as client:
            try:
                ended.append(str(client.post("/v2/models/hang/infer", json=question(POISON, 0)).json().get("code")))
            except httpx.TransportError as error:
                ended.append(type(error).__name__)

    waiting = threading.Thread(target=hang)
    begun_s = time.monotonic()
    waiting.start()
    answered = refused = 0
    while set(echoing.replicas) >= before and time.monotonic() - begun_s < FOUND_S + BUSY_S:
        with echoing.client() as client:
            try:
                told = client.post("/v2/models/quick/infer", json=question(7, 8, timeout=200_000))
            except httpx.TransportError:
                continue
        answered, refused = answered + (told.status_code == 200), refused + (told.status_code != 200)
    found_s = time.monotonic() - begun_s

    assert wait_until(lambda: len(set(echoing.replicas) - before) == 1, BUSY_S)
    assert wait_until(lambda: len(echoing.replicas) == REPLICAS, BUSY_S)
    back_s = time.monotonic() - begun_s
    waiting.join()
    print(f"gone after {found_s:.1f} s, back after {back_s:.1f} s; {answered} answered, {refused} refused; {ended}")
    assert found_s < FOUND_S + BUSY_S
    assert answered > 10
    assert ended[0] in {"deadline-exceeded", "draining", "RemoteProtocolError", "ReadError"}
    assert wait_until(lambda: all(echoing.answers() for _ in range(20)), BUSY_S)
