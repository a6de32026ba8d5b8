"""Open-loop load and energy columns for Locust, by its public extension points only.

A locustfile calls `register(events)` and has a user class below `ArrivalUser`. Importing this module imports Locust,
which patches the interpreter for gevent: it must only ever happen in a Locust process.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
from gevent.pool import Pool
from locust.contrib.fasthttp import FastHttpUser

from greenserve.loadtest.answer import Cost, cost_of
from greenserve.loadtest.arrivals import schedule
from greenserve.loadtest.plan import Plan, read_plan
from greenserve.loadtest.samples import Recording, Sample, write_recording
from greenserve.loadtest.texts import Texts
from greenserve.loadtest.trace_file import read_trace
from greenserve.units import MILLI

PLAN_FLAG = "--greenserve-plan"
LEAD_S = 0.2
MARK = "greenserve_intended_s"
SENT = "greenserve_sent_s"


class Recorder:
    """State: samples, dropped arrivals, run times; the request listener and the user change it."""

    def __init__(self, *, plan: Plan, clock: Callable[[], float] = time.perf_counter) -> None:
        self.plan = plan
        self.clock = clock
        self.start_s = 0.0
        self.dropped = 0
        self.planned = 0
        self.broken = False
        self._samples: list[Sample] = []
        self._cpu_s = 0.0
        self._wall_s = 0.0
        self._complete = False

    def __repr__(self) -> str:
        return f"<Recorder {len(self._samples)} of {self.planned} requests, {self.dropped} dropped>"

    def begin(self) -> None:
        """The schedule's zero lies a little ahead, so that the first arrivals are not late."""
        self.start_s = self.clock() + LEAD_S
        self._cpu_s = time.process_time()

    def end(self) -> None:
        """The whole schedule was played and every answer has come or failed."""
        self._cpu_s = time.process_time() - self._cpu_s
        self._wall_s = self.clock() - (self.start_s - LEAD_S)
        self._complete = True

    def on_request(self, *, response_time: float, exception: Any, context: Any, response: Any, **_: Any) -> None:
        """Locust's `request` event: one sample for each request of a schedule."""
        if not isinstance(context, dict) or MARK not in context:
            return
        headers = getattr(response, "headers", None) or {}
        cost = cost_of({str(name).lower(): str(value) for name, value in headers.items()}) if headers else Cost()
        self._samples.append(
            Sample(
                intended_s=context[MARK] - self.start_s,
                lag_s=max(0.0, context[SENT] - context[MARK]),
                service_s=response_time / MILLI,
                error=None if exception is None else str(exception)[:200],
                energy_uj=cost.energy_uj,
                tier=cost.tier,
                emissions_ng=cost.emissions_ng,
                route=cost.route,
                cache=cost.cache,
            )
        )

    def recording(self) -> Recording:
        """The run so far, by intended start."""
        return Recording(
            samples=sorted(self._samples, key=lambda sample: sample.intended_s),
            planned=self.planned,
            dropped=self.dropped,
            wall_s=self._wall_s,
            cpu_share=self._cpu_s / self._wall_s if self._complete and self._wall_s > 0 else None,
            complete=self._complete,
        )


def play(user: "ArrivalUser") -> None:
    """The user's one task: send every arrival at its time, wait for the answers, end the run."""
    recorder = user.recorder
    try:
        _play(user, recorder)
    except Exception:
        # Locust logs it and would try again for ever; without a result file the parent shows the log.
        recorder.broken = True
        raise
    finally:
        # Quitting kills this greenlet, so another one has to do it.
        gevent.spawn_later(0, user.environment.runner.quit)
    gevent.sleep(recorder.plan.timeout_s)


def _play(user: "ArrivalUser", recorder: Recorder) -> None:
    plan = recorder.plan
    in_flight = Pool()
    recorder.begin()
    for offset_s in _offsets(plan):
        recorder.planned += 1
        intended_s = recorder.start_s + offset_s
        gevent.sleep(max(0.0, intended_s - recorder.clock()))
        if os.getppid() != plan.parent_pid:
            return
        if len(in_flight) >= plan.max_in_flight:
            recorder.dropped += 1
            continue
        in_flight.spawn(user.send_at, intended_s)
    in_flight.join()
    recorder.end()


class ArrivalUser(FastHttpUser):  # type: ignore[misc]
    """One user that plays a whole schedule, open loop: one greenlet per arrival, whether or not answers come."""

    abstract = True
    tasks = (play,)
    concurrency = 8192
    recorder: Recorder

    def __init__(self, environment: Any) -> None:
        self.recorder = environment.greenserve
        self.network_timeout = self.connection_timeout = self.recorder.plan.timeout_s
        super().__init__(environment)

    def send(self, context: dict[str, Any]) -> None:
        """Send one request through `self.client`, passing `context` on."""
        raise NotImplementedError("a user of arrivals says what it sends")

    def send_at(self, intended_s: float) -> None:
        """Send the request that should start at `intended_s` (the recorder's clock)."""
        self.send({MARK: intended_s, SENT: self.recorder.clock()})


class InferUser(ArrivalUser):
    """Open Inference Protocol v2 over HTTP: one short text per request."""

    abstract = True

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        plan = self.recorder.plan
        self._path = f"/v2/models/{plan.model}/infer"
        self._name = plan.model
        self._headers = {"Content-Type": "application/json"}
        if plan.key is not None:
            self._headers["Authorization"] = f"Bearer {plan.key}"
        self._texts = Texts(first=plan.first_text, repeat_share=plan.repeat_share, seed=plan.seed)

    def send(self, context: dict[str, Any]) -> None:
        """One classification."""
        body = infer_body(self._texts.next_text())
        self.client.post(self._path, data=body, headers=self._headers, name=self._name, context=context)


def infer_body(text: str) -> str:
    """The JSON body of a request with one text."""
    return json.dumps({"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": [text]}]})


def register(events: Any) -> None:
    """Attach to Locust's events: the plan's flag, the recorder, the result file."""

    def add_flag(parser: Any, **_: Any) -> None:
        parser.add_argument(PLAN_FLAG, type=Path, required=True, include_in_web_ui=False, help="the run as JSON")

    def attach(environment: Any, **_: Any) -> None:
        environment.greenserve = Recorder(plan=read_plan(environment.parsed_options.greenserve_plan))
        environment.events.request.add_listener(environment.greenserve.on_request)

    def hand_over(environment: Any, **_: Any) -> None:
        recorder = environment.greenserve
        if not recorder.broken:
            write_recording(recorder.recording(), Path(recorder.plan.result_file))

    events.init_command_line_parser.add_listener(add_flag)
    events.init.add_listener(attach)
    events.quitting.add_listener(hand_over)


def _offsets(plan: Plan) -> Iterator[float]:
    return schedule(
        plan.arrivals,
        rate_per_s=plan.rate_per_s,
        duration_s=plan.duration_s,
        seed=plan.seed,
        read_trace=read_trace,
    )
