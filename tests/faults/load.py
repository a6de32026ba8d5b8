"""Steady load on a gateway from several threads, which remembers what was answered and what failed."""

import threading
from collections import Counter
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import httpx

WORKERS = 6
TIMEOUT_S = 15.0


@dataclass
class Load:
    """Sends texts that no cache knows until it is left, each client `pause_s` [s] after its last answer.

    State: `answered` ids and `failed` codes, under one lock.
    """

    url: str
    key: str
    model: str = "tiny"
    pause_s: float = 0.0
    answered: list[str] = field(default_factory=list)
    failed: Counter[str] = field(default_factory=Counter)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._threads = [threading.Thread(target=self._work, args=(number,)) for number in range(WORKERS)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def count(self) -> int:
        """How many were answered so far."""
        with self._lock:
            return len(self.answered)

    def _work(self, number: int) -> None:
        sent = 0
        headers = {"authorization": f"Bearer {self.key}", "greenserve-cache": "no-store"}
        while not self._stopping.is_set():
            # After a lost connection a new one: the kernel then chooses among the replicas that listen now.
            with httpx.Client(base_url=self.url, trust_env=False, timeout=TIMEOUT_S) as client:
                try:
                    while not self._stopping.is_set():
                        sent += 1
                        self._note(
                            client.post(f"/v2/models/{self.model}/infer", json=_question(number, sent), headers=headers)
                        )
                        self._stopping.wait(self.pause_s)
                except httpx.TransportError as error:
                    with self._lock:
                        self.failed[type(error).__name__] += 1
                    self._stopping.wait(0.05)

    def _note(self, response: httpx.Response) -> None:
        document = response.json()
        with self._lock:
            if response.status_code == 200:
                self.answered.append(document["parameters"]["greenserve_request_id"])
            else:
                self.failed[document["code"]] += 1


def _question(number: int, sent: int) -> dict[str, object]:
    text = f"good word{number + 10} word{sent % 100 + 20}"
    return {
        "inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": [text]}],
        "parameters": {"greenserve_variant": "fp32"},
    }
