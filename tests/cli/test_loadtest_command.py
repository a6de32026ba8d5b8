"""`greenserve loadtest`, as a process of its own, against a small real server."""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

RUN = "from greenserve.cli.loadtest import app; app()"
# A shell that starts tests in the background has them ignore SIGINT, which Python then does, too.
HEEDS = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
MAIN = "from greenserve.cli.main import main; main()"
HEAD = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nGreenServe-Energy: 33120;u=uJ;tier=modelled\r\n\r\n{}"


class Gateway(ThreadingHTTPServer):
    """State: the requests so far; the second one (the first after the probe) sets the event."""

    daemon_threads = True

    def __init__(self, second: threading.Event) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.count = 0
        self.second = second

    def counted(self) -> None:
        """One more request has come."""
        self.count += 1
        if self.count > 1:
            self.second.set()


class Answer(BaseHTTPRequestHandler):
    """Answers every inference request with 33.12 mJ, and the key `wrong` with 401."""

    protocol_version = "HTTP/1.1"
    server: Gateway

    def do_POST(self) -> None:
        """One write per answer: two would wait for a delayed acknowledgement."""
        self.rfile.read(int(self.headers["content-length"]))
        self.server.counted()
        refused = self.headers["authorization"] == "Bearer wrong"
        self.wfile.write((HEAD.replace("200 OK", "401 No") if refused else HEAD).encode())

    def log_message(self, *_: object) -> None:
        """Nothing on the test's console."""


@pytest.fixture
def second_request() -> threading.Event:
    """Set when a second request has reached the double."""
    return threading.Event()


@pytest.fixture
def url(second_request: threading.Event) -> Iterator[str]:
    """A gateway's double on a free port."""
    server = Gateway(second_request)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def run(*arguments: str, code: str = RUN) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_a_run_that_meets_its_gates_passes_and_is_written(url: str, tmp_path: Path) -> None:
    """Exit 0, a table of 80 columns with the figures, and three files."""
    made = run("--rate", "50", "--duration", "2s", "--url", url, "--max-mj", "34", "-o", str(tmp_path / "runs"))

    assert made.returncode in {0, 7}, made.stderr
    assert all(len(line) <= 80 for line in made.stdout.splitlines())
    assert "33.1 mJ/request" in made.stdout
    assert "mJ/request 33.1 <= 34 -> PASS" in made.stdout
    files = sorted((tmp_path / "runs").iterdir())
    assert [".csv", ".html", ".json"] == [file.suffix for file in files]
    document = json.loads(files[2].read_text())
    assert "greenserve.loadtest/1" == document["schema"]
    assert document["requests"] + 1 == len(files[0].read_text().splitlines())


def test_a_gate_that_is_not_met_is_exit_3(url: str) -> None:
    """33.1 mJ over 10: FAIL in the table's last line; as JSON the gate says so."""
    made = run("--rate", "20", "--duration", "1s", "--url", url, "--max-mj", "10", "--json")

    document = json.loads(made.stdout)
    assert (7 if document["invalid"] else 3) == made.returncode
    assert [("mJ/request", False)] == [(gate["name"], gate["met"]) for gate in document["gates"]]
    assert not document["passed"]
    assert document["energy"]["mean_mj"] == pytest.approx(33.12)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--rate", "0"], "over 0"),
        (["--duration", "30"], "30s"),
        (["--arrivals", "tidal"], "constant, poisson"),
        (["--arrivals", "trace:absent.csv"], "absent.csv"),
        (["--url", "localhost:8080"], "http://"),
        (["--key", "a", "--key-file", "b"], "not both"),
    ],
)
def test_wrong_usage_is_exit_2(arguments: list[str], words: str) -> None:
    """Before anything is sent; the message names what is allowed."""
    made = run(*arguments)

    assert 2 == made.returncode
    assert words in " ".join(made.stderr.replace("│", " ").split())


def test_nobody_there_is_exit_6_and_a_wrong_key_exit_1(url: str) -> None:
    """Each message says what to do."""
    nobody = run("loadtest", "--url", "http://127.0.0.1:9", code=MAIN)
    wrong = run("loadtest", "--url", url, "--key", "wrong", code=MAIN)

    assert (6, 1) == (nobody.returncode, wrong.returncode)
    assert "greenserve serve" in nobody.stderr
    assert "greenserve key create" in wrong.stderr


def test_an_interrupt_ends_the_child_and_is_exit_130(url: str, second_request: threading.Event) -> None:
    """Ctrl-C: the load stops at once and no Locust is left."""
    command = [sys.executable, "-c", HEEDS + RUN, "--rate", "5", "--duration", "60s", "--url", url]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert second_request.wait(timeout=30)
    (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()

    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)

    assert 130 == process.returncode
    assert "interrupted" in errors
    assert not Path(f"/proc/{child}").exists()
