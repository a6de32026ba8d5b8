"""Run Locust in a child process: importing it patches the interpreter, which must not happen to who calls this."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import util
from pathlib import Path

import httpx

from greenserve.errors import (
    DependencyMissing,
    GreenServeError,
    InferenceFailed,
    InvalidKey,
    ModelUnknown,
    NotReady,
)
from greenserve.loadtest.plan import Plan, write_plan
from greenserve.loadtest.samples import Recording, read_recording

LOCUSTFILE = Path(__file__).with_name("locustfile.py")
PROBE_TEXT = "one short text before the load starts"
PROBE_TIMEOUT_S = 10.0
GRACE_S = 30.0
STOP_S = 5.0
LOG_LINES = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A plan with the folder for its files, and where Locust's own HTML report goes (None: nowhere)."""

    plan: Plan
    folder: Path
    html: Path | None = None


def require_locust() -> None:
    """Raises DependencyMissing where Locust is not installed; does not import it."""
    if util.find_spec("locust") is None:
        raise DependencyMissing('the load test needs Locust; install it with: pip install "greenserve[loadtest]"')


def probe(plan: Plan) -> None:
    """Send one request and raise what it tells: nobody there, wrong key, unknown model, not ready."""
    body = {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": [PROBE_TEXT]}]}
    headers = {} if plan.key is None else {"Authorization": f"Bearer {plan.key}"}
    url = f"{plan.url}/v2/models/{plan.model}/infer"
    try:
        answer = httpx.post(url, json=body, headers=headers, timeout=PROBE_TIMEOUT_S, trust_env=False)
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
        raise DependencyMissing(
            f"no gateway answers at {plan.url} ({str(error) or type(error).__name__}); "
            "start one with `greenserve serve`, or say where it is with --url"
        ) from None
    if not answer.is_success:
        raise _refused(answer, plan)


def run_locust(run: Run) -> Recording:
    """Play the plan to its end and return what was recorded; an interrupt or error here ends the child too."""
    plan_file = run.folder / "plan.json"
    write_plan(run.plan, plan_file)
    log_file = run.folder / "locust.log"
    with log_file.open("wb") as log:
        # Its own session: the terminal's Ctrl-C reaches this process alone, which then ends the child.
        process = subprocess.Popen(
            command_of(run, plan_file),
            cwd=run.folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            process.wait(timeout=run.plan.duration_s + run.plan.timeout_s + GRACE_S)
        except subprocess.TimeoutExpired:
            raise GreenServeError(f"Locust did not end in time; its last words:\n{_tail(log_file)}") from None
        finally:
            end(process)
    result = Path(run.plan.result_file)
    if not result.is_file():
        raise GreenServeError(f"Locust ended with {process.returncode} and no result:\n{_tail(log_file)}")
    return read_recording(result)


def command_of(run: Run, plan_file: Path) -> Sequence[str]:
    """The child's command line: headless, one user that plays the schedule, nothing on the console."""
    command = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--headless", "--users", "1"]
    command += ["--spawn-rate", "1", "--host", run.plan.url, "--only-summary", "--loglevel", "WARNING"]
    command += ["--exit-code-on-error", "0", "--greenserve-plan", str(plan_file)]
    return [*command, "--html", str(run.html)] if run.html is not None else command


def end(process: "subprocess.Popen[bytes]", *, patience_s: float = STOP_S) -> None:
    """End the child if it still runs: first politely, then for good, with all that it started."""
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout=patience_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _refused(answer: httpx.Response, plan: Plan) -> GreenServeError:
    words = answer.text.strip()[:300] or answer.reason_phrase
    if answer.status_code in {401, 403}:
        given = "without a key" if plan.key is None else "with this key"
        return InvalidKey(
            f"{plan.url} refuses requests {given}: {words}; make one with `greenserve key create` and give it with "
            "--key-file"
        )
    if answer.status_code == 404:
        return ModelUnknown(f"{plan.url} does not serve {plan.model!r}: {words}; choose a model with --model")
    if answer.status_code == 503:
        return NotReady(f"{plan.url} is not ready: {words}")
    return InferenceFailed(f"{plan.url} answers {answer.status_code}: {words}")


def _tail(log_file: Path) -> str:
    return "\n".join(log_file.read_text(errors="replace").splitlines()[-LOG_LINES:])
