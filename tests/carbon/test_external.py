"""External meters over real HTTP and from files: what counts, what does not, and the reason."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve.carbon.external.amounts import Told, told_by
from greenserve.carbon.external.meter import ExternalMeter
from greenserve.carbon.external.poller import ExternalPoller, Place
from greenserve.carbon.intervals import IntervalMaker, Limits
from greenserve.clock import ManualClock, SystemClock
from greenserve.errors import ConfigInvalid, MeterUnavailable
from greenserve.meter_amounts import Amount
from greenserve.ports import Clock

SECOND_NS = 1_000_000_000
KEPLER = Amount(format="prometheus", metric="kepler_node_cpu_joules_total", labels={"zone": "package"}, unit="J")
REDFISH = Amount(format="json", pointer="/PowerControl/0/PowerConsumedWatts", unit="W")
PLAIN_W = Amount(format="number", unit="W")
EXPOSITION = """# HELP kepler_node_cpu_joules_total Energy
# TYPE kepler_node_cpu_joules_total counter
kepler_node_cpu_joules_total{zone="package",path="/sys/a \\"b\\", c"} 1234.5
kepler_node_cpu_joules_total{zone="dram"} 99
kepler_node_cpu_joules_totally{zone="package"} 1
"""


@dataclass
class Pdu:
    """A meter on the network: its next answer, what it was asked with, and a gate that holds answers back."""

    body: bytes = b"0"
    status: int = 200
    asked: list[str | None] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)
    seen: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    url: str = ""


@contextmanager
def serving() -> Iterator[Pdu]:
    pdu = Pdu()
    pdu.gate.set()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            pdu.asked.append(self.headers.get("Authorization"))
            pdu.gate.wait(10)
            self.send_response(pdu.status)
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", str(len(pdu.body)))
            self.end_headers()
            self.wfile.write(pdu.body)
            pdu.seen.release()

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    pdu.url = f"http://127.0.0.1:{server.server_address[1]}/power"
    try:
        yield pdu
    finally:
        pdu.gate.set()
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def pdu() -> Iterator[Pdu]:
    """A meter on loopback."""
    with serving() as running:
        yield running


def a_meter(amount: Amount = PLAIN_W, *, clock: Clock | None = None, **changes: Any) -> ExternalMeter:
    whole: dict[str, Any] = {"device": "node", "where": "a test", "max_w": 1_000, "half_width_pct": 2, "every_s": 10}
    return ExternalMeter("wall", amount, clock=clock or SystemClock(), **(whole | changes))


def polled(place: Place) -> ExternalMeter:
    ExternalPoller([place], clock=SystemClock(), trust_env=False).once()
    return place.meter


def gave(meter: ExternalMeter, clock: ManualClock, number: str, *, at_us: int | None = None) -> None:
    now_ns = clock.monotonic_ns()
    meter.took(Told(number=Decimal(number), at_us=at_us), start_ns=now_ns, end_ns=now_ns)


@pytest.mark.parametrize(
    ("amount", "body", "expected_uj"),
    [
        (KEPLER, EXPOSITION, 1_234_500_000),
        (Amount(format="prometheus", metric="a_wh", unit="Wh"), "a_wh 1.5e0\n", 5_400_000_000),
        (Amount(format="json", pointer="/Energy/kWh", unit="kWh"), '{"Energy": {"kWh": "0.1"}}', 360_000_000_000),
        (Amount(format="json", pointer="/a~1b/0", unit="uJ"), '{"a/b": [7]}', 7),
        (Amount(format="number", unit="uJ"), " 123456789012345678\n", 123456789012345678),
    ],
)
def test_a_counter_is_read_in_its_unit_exactly(pdu: Pdu, amount: Amount, body: str, expected_uj: int) -> None:
    """Over HTTP, in each format, tier metered with the datasheet's half width."""
    pdu.body = body.encode()

    meter = polled(Place(meter=a_meter(amount), url=pdu.url))

    reading = meter.read()
    assert (expected_uj, "node", "metered") == (reading.energy_uj, reading.device, reading.tier)
    assert (2, None) == (meter.describe()["half_width_pct"], meter.describe()["fault"])


@pytest.mark.parametrize(
    ("amount", "body", "words"),
    [
        (PLAIN_W, b"NaN", "NaN is no energy or power: finite"),
        (PLAIN_W, b"-3", "-3 is no energy or power"),
        (PLAIN_W, b"inf", "inf is no energy or power"),
        (PLAIN_W, b"off", "'off' is no number"),
        (PLAIN_W, b"", "'' is no number"),
        (PLAIN_W, b"\xff", "no UTF-8"),
        (PLAIN_W, b"430000", "it says 430000 W, over max_w (1000); is the unit right?"),
        (KEPLER, b"# nothing", "0 samples match kepler_node_cpu_joules_total"),
        (Amount(format="prometheus", metric="m", unit="J"), b'm{a="1"} 1\nm{a="2"} 2', "2 samples match m; add labels"),
        (REDFISH, b"{", "the answer is no JSON"),
        (REDFISH, b'{"PowerControl": []}', "nothing at /PowerControl/0/PowerConsumedWatts (no '0' there)"),
        (REDFISH, b'{"PowerControl": [{"PowerConsumedWatts": null}]}', "is null, not a number"),
        (REDFISH, b'{"PowerControl": [{"PowerConsumedWatts": true}]}', "is true, not a number"),
    ],
)
def test_an_answer_that_does_not_count_is_no_reading(pdu: Pdu, amount: Amount, body: bytes, words: str) -> None:
    """Never a zero: the reason stands in the refusal."""
    pdu.body = body

    meter = polled(Place(meter=a_meter(amount), url=pdu.url))

    with pytest.raises(MeterUnavailable, match="wall") as refused:
        meter.read()
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("status", "words"),
    [(500, "it answered 500"), (503, "it answered 503"), (401, "401; check its authorization"), (302, "answered 302")],
)
def test_a_refusal_is_no_reading(pdu: Pdu, status: int, words: str) -> None:
    """Redirects are not followed: a key would go along."""
    pdu.status, pdu.body = status, b"5"

    meter = polled(Place(meter=a_meter(), url=pdu.url))

    with pytest.raises(MeterUnavailable, match=words):
        meter.read()


def test_a_meter_that_does_not_answer_in_time_holds_nobody_up(pdu: Pdu) -> None:
    """The limit is the whole answer's; what was there before stands until it is stale."""
    pdu.gate.clear()

    meter = polled(Place(meter=a_meter(), url=pdu.url, timeout_s=0.1))

    with pytest.raises(MeterUnavailable, match=r"no answer within 0\.1 s"):
        meter.read()


def test_nobody_listening_is_a_reason() -> None:
    """A closed port."""
    with serving() as gone:
        url = gone.url

    assert "ConnectError" in str(polled(Place(meter=a_meter(), url=url)).fault)


def test_the_authorization_is_sent_and_never_told(pdu: Pdu) -> None:
    """It is read anew at each call; a header that HTTP refuses is not repeated in the fault."""
    sent = polled(Place(meter=a_meter(), url=pdu.url, headers=lambda: {"Authorization": "Bearer s3cret"}))
    refused = polled(Place(meter=a_meter(), url=pdu.url, headers=lambda: {"Authorization": "Bearer s3cret\n"}))

    assert ["Bearer s3cret"] == pdu.asked
    assert sent.fault is None
    assert "s3cret" not in str(refused.fault)


def test_a_file_is_read_as_well(tmp_path: Path) -> None:
    """hwmon shows microwatts; a file that is gone is a reason."""
    file = tmp_path / "power1_input"
    file.write_text("85000000\n")
    amount = Amount(format="number", unit="uW")

    assert polled(Place(meter=a_meter(amount), file=file)).fault is None
    assert "No such file" in str(polled(Place(meter=a_meter(amount), file=tmp_path / "gone")).fault)


def test_power_holds_until_the_next_sample() -> None:
    """100 W for 10 s, then 40 W for 5 s: 1.2 kJ, whatever comes after."""
    clock = ManualClock()
    meter = a_meter(clock=clock)
    energies = []
    for watts, then_s in (("100", 10), ("40", 5), ("900", 1)):
        gave(meter, clock, watts)
        energies.append(meter.read().energy_uj)
        clock.advance(duration_ns=then_s * SECOND_NS)

    assert [0, 1_000_000_000, 1_200_000_000] == energies


def test_over_lost_samples_no_energy_is_made_up() -> None:
    """Forty seconds without an answer: another segment, so the time between is a gap."""
    clock = ManualClock()
    meter, maker = a_meter(clock=clock), IntervalMaker(device="node")
    rows = []
    for then_s in (10, 40, 10, 10):
        gave(meter, clock, "100")
        rows.append(maker.add(meter.read()))
        clock.advance(duration_ns=then_s * SECOND_NS)

    told = [row for row in rows if row is not None]
    assert [(1_000_000_000, False), (None, True), (1_000_000_000, False)] == [
        (row.energy_uj, row.is_gap) for row in told
    ]


def test_a_counter_that_fell_or_leapt_is_a_gap() -> None:
    """A restarted exporter, and a unit that changed under the same name: 1 kW is the most here."""
    clock = ManualClock()
    meter = a_meter(KEPLER, clock=clock)
    maker = IntervalMaker(device="node", limits=Limits(power_limit_mw=1_000_000))
    flags = []
    for joules in ("5000", "6000", "10", "1010", "9001010"):
        gave(meter, clock, joules)
        row = maker.add(meter.read())
        flags.append(None if row is None else (row.energy_uj, sorted(row.flags)))
        clock.advance(duration_ns=10 * SECOND_NS)

    assert [
        None,
        (1_000_000_000, []),
        (None, ["gap", "reset"]),
        (1_000_000_000, []),
        (None, ["gap", "quarantined"]),
    ] == flags


def test_an_answer_of_long_ago_is_stale_and_one_of_the_future_is_no_time() -> None:
    """Three periods back, two seconds ahead; a value with its own time is dated by it."""
    clock = ManualClock()
    meter = a_meter(KEPLER, clock=clock)
    gave(meter, clock, "5", at_us=clock.unix_us() - 31_000_000)
    stale = meter.fault
    gave(meter, clock, "5", at_us=clock.unix_us() + 3_000_000)
    ahead = meter.fault
    gave(meter, clock, "5", at_us=clock.unix_us() - 500_000)

    assert "its value is of 31 s ago" in str(stale)
    assert "its value is of -3 s ago" in str(ahead)
    assert clock.monotonic_ns() - 500_000_000 == meter.read().at_ns


def test_the_last_reading_ends_after_three_periods() -> None:
    """Then it is unavailable with the reason of the last try, not a counter that stands."""
    clock = ManualClock()
    meter = a_meter(KEPLER, clock=clock)
    gave(meter, clock, "5")
    meter.failed("it answered 503")
    clock.advance(duration_ns=30 * SECOND_NS)
    still = meter.read().energy_uj
    clock.advance(duration_ns=1)

    assert 5_000_000 == still
    with pytest.raises(MeterUnavailable, match="it answered 503"):
        meter.read()


@given(st.lists(st.tuples(st.integers(0, 1_000_000_000), st.integers(1, 29)), min_size=2, max_size=20))
def test_the_integral_of_power_is_exact_and_never_falls(samples: list[tuple[int, int]]) -> None:
    """Sum of each power times the time until the next sample, in microjoules."""
    clock = ManualClock()
    meter, seen = a_meter(Amount(format="number", unit="uW"), clock=clock), []
    for power_uw, then_s in samples:
        gave(meter, clock, str(power_uw))
        seen.append(meter.read().energy_uj)
        clock.advance(duration_ns=then_s * SECOND_NS)

    assert sum(power_uw * then_s for power_uw, then_s in samples[:-1]) == seen[-1]
    assert sorted(seen) == seen


@given(st.binary(max_size=200))
def test_no_answer_crashes_the_parser(body: bytes) -> None:
    """A number, or MeterUnavailable."""
    for amount in (KEPLER, REDFISH, PLAIN_W, Amount(format="json", pointer="/0", time_pointer="/1", unit="J")):
        try:
            assert told_by(body, amount).number >= 0
        except MeterUnavailable:
            continue


@pytest.mark.parametrize(
    ("time", "words"),
    [(1_767_225_600.5, None), ("2026-01-01T00:00:00.5+00:00", None), ("2026-01-01", "no time zone"), ([], "time is")],
)
def test_an_answers_own_time_is_unix_or_rfc_3339(time: object, words: str | None) -> None:
    """Anything else is refused: a wrong time would move energy."""
    amount = Amount(format="json", pointer="/v", time_pointer="/t", unit="J")
    body = json.dumps({"v": 1, "t": time}).encode()

    if words is None:
        assert 1_767_225_600_500_000 == told_by(body, amount).at_us
    else:
        with pytest.raises(MeterUnavailable, match=words):
            told_by(body, amount)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"unit": "BTU"}, "unit is 'BTU'; allowed are uJ, mJ, J"),
        ({"unit": "Wh"}, "is in J by its name, the unit is Wh"),
        ({"metric": "node_power_watts"}, "is in W by its name, the unit is J"),
        ({"metric": None}, "prometheus needs a metric"),
        ({"format": "json"}, "json needs a pointer"),
        ({"format": "number"}, "number neither"),
    ],
)
def test_an_amount_that_cannot_be_meant_is_refused(changes: dict[str, Any], words: str) -> None:
    """A unit against the metric's own name is the commonest mistake."""
    whole: dict[str, Any] = {"format": "prometheus", "metric": "kepler_node_cpu_joules_total", "unit": "J"}

    with pytest.raises(ConfigInvalid, match=words):
        Amount(**(whole | changes))


def test_the_poller_goes_on_asking_until_it_is_stopped(pdu: Pdu) -> None:
    """In its own thread; a meter that is silent for one call is asked again."""
    pdu.body = b"50"
    meter = a_meter(every_s=0.02)
    poller = ExternalPoller([Place(meter=meter, url=pdu.url)], clock=SystemClock(), trust_env=False)
    poller.start()
    for _ in range(3):
        assert pdu.seen.acquire(timeout=10)
    poller.stop()
    asked = len(pdu.asked)

    assert asked >= 3
    assert meter.fault is None
