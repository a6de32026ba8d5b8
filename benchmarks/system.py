"""A system under test: how it is started, asked, driven and stopped. One runs at a time, on the same cores."""

import contextlib
import json
import secrets
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

import grpc
import httpx

from benchmarks.closed_loop import Outcome, drive, http_request
from benchmarks.grpc_loop import METHOD, drive_grpc
from greenserve.loadtest.grpc_client import request_of as infer_request_of
from greenserve.proto.inference_pb2 import ModelInferResponse
from greenserve.serve.supervisor import end_processes, processes_below

HOST, PORT, GRPC_PORT = "127.0.0.1", 18090, 18091
START_S, STOP_S = 90.0, 20.0
VERSIONS = (
    "import json, sys; from importlib.metadata import version; "
    "print(json.dumps({name: version(name) for name in sys.argv[1:]}))"
)

Answer = tuple[str, tuple[float, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrance:
    """One way into a running system.

    `ask` gives label and probabilities of a text; `load(texts, connections, seconds)` is the closed loop with texts.
    """

    label: str
    ask: Callable[[str], Answer]
    load: Callable[[Sequence[str], int, float], Outcome]


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """A system that can be started: its name, the labels of its entrances, its settings in words.

    `packages` are those whose versions count, `python` is the interpreter of its environment, `ready` a file that is
    there once the environment is complete; `start` gives the entrances while it runs.
    """

    name: str
    labels: tuple[str, ...]
    settings: str
    packages: tuple[str, ...]
    python: Path
    ready: Path
    start: Callable[[], AbstractContextManager[Sequence[Entrance]]]

    def missing(self) -> str | None:
        """Why it cannot run here, None where it can."""
        if self.ready.exists():
            return None
        log = self.ready.parent.with_suffix(".log")
        said = log.read_text().strip().splitlines() if log.exists() else []
        if not said:
            return "not installed; `make bench-serve` installs it"
        return f"not installed: {said[-1]}; to try again, remove {self.ready.parent} and call `make bench-serve`"

    def versions(self) -> dict[str, str]:
        """{package: version} inside its environment."""
        command = [str(self.python), "-c", VERSIONS, *self.packages]
        found: dict[str, str] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpApi:
    """A JSON API: its path, the body for one text, how an answer is read, the key that it needs."""

    path: str
    document: Callable[[str], object]
    answer: Callable[[Any], Answer]
    address: tuple[str, int] = (HOST, PORT)
    key: str | None = None

    def ask(self, text: str) -> Answer:
        """Label and probabilities by one request; raises where the system refuses or does not answer."""
        url = f"http://{self.address[0]}:{self.address[1]}{self.path}"
        response = httpx.post(url, json=self.document(text), headers=self.headers(), timeout=10.0)
        response.raise_for_status()
        return self.answer(response.json())

    def load(self, texts: Sequence[str], connections: int, seconds: float) -> Outcome:
        """The closed loop."""
        return drive(self.requests(texts), address=self.address, connections=connections, duration_s=seconds)

    def requests(self, texts: Sequence[str], headers: Sequence[tuple[str, str]] = ()) -> list[bytes]:
        """Prepared requests, with more headers where wanted."""
        host, all_headers = f"{self.address[0]}:{self.address[1]}", self.headers() | dict(headers)
        return [http_request(self.path, self.document(text), host=host, headers=all_headers) for text in texts]

    def headers(self) -> dict[str, str]:
        """The key's header, where one is needed."""
        return {} if self.key is None else {"Authorization": f"Bearer {self.key}"}

    def entrance(self, label: str) -> Entrance:
        """This API as an entrance."""
        return Entrance(label=label, ask=self.ask, load=self.load)


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpcApi:
    """The Open Inference Protocol over gRPC; the variant is pinned where one is named."""

    address: tuple[str, int] = (HOST, GRPC_PORT)
    key: str | None = None
    variant: str | None = None

    def ask(self, text: str) -> Answer:
        """Label and probabilities by one call of gRPC's own client, so that the frames of the loop are not alone."""
        metadata = () if self.key is None else (("authorization", f"Bearer {self.key}"),)
        with grpc.insecure_channel(f"{self.address[0]}:{self.address[1]}") as channel:
            call = channel.unary_unary(METHOD, response_deserializer=ModelInferResponse.FromString)
            response = call(self.message(text), timeout=10.0, metadata=metadata)
        outputs = {output.name: output.contents for output in response.outputs}
        return outputs["label"].bytes_contents[0].decode(), tuple(outputs["probabilities"].fp32_contents)

    def load(self, texts: Sequence[str], connections: int, seconds: float) -> Outcome:
        """The closed loop: `connections` calls in flight on up to eight channels."""
        messages = [self.message(text) for text in texts]
        return drive_grpc(messages, address=self.address, calls=connections, key=self.key, duration_s=seconds)

    def message(self, text: str) -> bytes:
        """A serialised ModelInferRequest with one text."""
        request = infer_request_of("sentiment", [text])
        if self.variant is not None:
            request.parameters["greenserve_variant"].string_param = self.variant
        return request.SerializeToString()

    def entrance(self, label: str) -> Entrance:
        """This API as an entrance."""
        return Entrance(label=label, ask=self.ask, load=self.load)


def plain_answer(document: Any) -> Answer:
    """Of {"label": ..., "probabilities": [...]}, alone or first in a list."""
    found = document[0] if isinstance(document, list) else document
    return found["label"], tuple(found["probabilities"])


def oip_answer(document: Any) -> Answer:
    """Of an answer in the Open Inference Protocol."""
    outputs = {output["name"]: output["data"] for output in document["outputs"]}
    return outputs["label"][0], tuple(outputs["probabilities"])


@contextmanager
def running(command: Sequence[str], entrances: Sequence[Entrance]) -> Iterator[Sequence[Entrance]]:
    """Start a peer and wait until each entrance answers; afterwards none of its processes is left."""
    with TemporaryDirectory(prefix="bench-") as folder:
        token = Path(folder) / "token"
        token.write_text(secrets.token_hex(32))
        settings = {
            "TOKENIZERS_PARALLELISM": "false",
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_AUTH_TOKEN_PATH": str(token),
            "BENTOML_DO_NOT_TRACK": "True",
        }
        words = ["env", *(f"{name}={value}" for name, value in settings.items()), *command]
        with (Path(folder) / "log").open("w+b") as log:
            process = subprocess.Popen(words, stdout=log, stderr=log)
            try:
                for entrance in entrances:
                    wait_for_answer(process, entrance, log)
                yield entrances
            finally:
                end(process)


def wait_for_answer(process: subprocess.Popen[bytes], entrance: Entrance, log: IO[bytes]) -> None:
    """Ask until there is an answer; RuntimeError with the end of the log where the process ends or time is up."""
    end_s = time.monotonic() + START_S
    while True:
        try:
            entrance.ask("is it ready")
        except Exception as error:  # whatever a server that is still starting does
            if process.poll() is None and time.monotonic() < end_s:
                time.sleep(0.2)
                continue
            log.seek(max(0, log.seek(0, 2) - 2000))
            said = log.read().decode(errors="replace")
            raise RuntimeError(f"{entrance.label} does not answer ({error}); its log ends:\n{said}") from None
        return


def end(process: subprocess.Popen[bytes]) -> None:
    """Terminate a peer, then end what is left of the processes that it started."""
    below = processes_below(process.pid)
    process.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=STOP_S)
    process.kill()
    process.wait()
    end_processes(below, patience_s=5.0)
