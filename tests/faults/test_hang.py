"""Engines that hang or never were one: the replica is replaced, the other one serves on, and whoever waits is told."""

import threading
import time
from functools import partial
from pathlib import Path

import httpx
import pytest

from greenserve.errors import ManifestInvalid
from greenserve.manifest import file_sha256
from greenserve.serve.engines.pick import engine_for
from tests.faults.counting import a_counting_replica
from tests.faults.echoes import POISON
from tests.faults.echoing import Echoing, question
from tests.faults.replicas import a_gateway_config
from tests.gateway_process import wait_until
from tests.tiny_model import write_tiny_model

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
    while not set(echoing.replicas) - before and time.monotonic() - begun_s < FOUND_S + BUSY_S:
        with echoing.client() as client:
            try:
                told = client.post("/v2/models/quick/infer", json=question(7, 8, timeout=200_000))
            except httpx.TransportError:
                continue
        answered, refused = answered + (told.status_code == 200), refused + (told.status_code != 200)
    found_s = time.monotonic() - begun_s
    waiting.join()
    print(f"replaced after {found_s:.1f} s; meanwhile {answered} answered, {refused} refused; the hung one: {ended}")

    assert found_s < FOUND_S + BUSY_S
    assert answered > 10
    assert ended[0] in {"deadline-exceeded", "draining", "RemoteProtocolError", "ReadError"}
    assert wait_until(lambda: all(echoing.answers() for _ in range(20)), BUSY_S)


@pytest.mark.parametrize("content", [b"", b"no model", b"\x08\x07" + bytes(1_000)], ids=["empty", "text", "zeros"])
def test_a_model_file_that_is_no_model_prevents_the_start(content: bytes, tmp_path: Path) -> None:
    """Its digest is right, so somebody built it like that: the message names the file and what to do."""
    manifest = write_tiny_model(tmp_path / "tiny")
    file = tmp_path / "tiny" / "fp32" / "model.onnx"
    before = file_sha256(file)
    file.write_bytes(content)
    manifest.write_text(manifest.read_text().replace(before, file_sha256(file)))

    with (
        pytest.raises(ManifestInvalid, match="fp32") as refused,
        a_counting_replica(a_gateway_config(manifest, tmp_path), partial(engine_for, threads=1), tmp_path / "run"),
    ):
        pass

    assert "greenserve optimize" in str(refused.value)
    assert "Traceback" not in str(refused.value)
