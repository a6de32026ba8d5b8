"""Three times what the engines can do: almost all of what they can is still done, the rest is refused at once."""

import asyncio

import httpx

from tests.faults.echoes import BATCH, OBJECTIVE_S, STEADY_S
from tests.faults.echoing import REPLICAS, Crowd, Echoing, Told, codes, post, question, slowest, within

PATH = "/v2/models/steady/infer"
CAPACITY_PER_S = REPLICAS * BATCH / STEADY_S
PEAK_S, OVERLOAD_S, AFTER_S = 3.0, 4.0, 1.5
SETTLED_S = 1.0
"""The first second fills the queues, which a rate of answers counts wrongly."""

REFUSED_S = 0.2
BUSY_S = 0.1
"""What a machine that also runs the clients, and perhaps other tests, adds."""

STOOD_STILL_S = 0.1
STORMS = 4
"""A storm whose sender was later than that says how the machine stood still, not what the gateway does: another one."""

KEPT = 0.6
"""Least part of the peak that is kept, on a machine that may do other work in one of the two: without the door it is a
few hundredths. How much it is on a quiet machine is measured by `benchmarks/overload.py`, not here."""


def goodput(told: list[Told], seconds: float) -> float:
    """Answers per second within the objective, of the requests that were due after the first second."""
    good = [one for one in told if one.code == "ok" and one.took_s <= OBJECTIVE_S + BUSY_S]
    return sum(one.due_s >= SETTLED_S for one in good) / (seconds - SETTLED_S)


async def offered(crowd: Crowd, echoing: Echoing, share: float, seconds: float) -> list[Told]:
    """Requests at a share of the capacity."""
    rate_per_s = share * CAPACITY_PER_S
    requests = [post(PATH, question(number, 0), echoing.headers()) for number in range(int(rate_per_s * seconds))]
    return await crowd.send(requests, rate_per_s=rate_per_s)


def test_at_three_times_its_capacity_the_gateway_does_what_it_can_and_refuses_the_rest_soon(echoing: Echoing) -> None:
    """Most of the peak's goodput stays, refusals come at once with the time to wait, and it recovers by itself."""

    async def storm() -> tuple[list[Told], list[Told], list[Told]]:
        crowd = Crowd(echoing.gateway.http_port)
        await crowd.connect(64)
        try:
            peak = await offered(crowd, echoing, 1.0, PEAK_S)
            over = await offered(crowd, echoing, 3.0, OVERLOAD_S)
            return peak, over, await offered(crowd, echoing, 0.5, AFTER_S)
        finally:
            await crowd.close()

    for _ in range(STORMS):
        peak, over, after = asyncio.run(storm())
        if max(one.late_s for one in (*peak, *over, *after)) < STOOD_STILL_S:
            break

    best, kept = goodput(peak, PEAK_S), goodput(over, OVERLOAD_S)
    answered, refused = [one for one in over if one.code == "ok"], [one for one in over if one.code != "ok"]
    inside = sum(one.inside_s <= OBJECTIVE_S for one in answered) / len(answered)
    print(
        f"peak {best:.1f}/s of {CAPACITY_PER_S:.0f}/s, at 3x {kept:.1f}/s ({kept / best:.0%}); {codes(over)}; "
        f"within the objective {sum(one.good for one in answered) / len(answered):.1%} of those admitted, {inside:.1%} "
        f"by the gateway's clock; answered p50 {1e3 * slowest(answered, 0.5):.0f} ms, p99 {1e3 * slowest(answered):.0f}"
        f" ms; refused p50 {1e3 * slowest(refused, 0.5):.1f} ms, p99 {1e3 * slowest(refused):.1f} ms; sent late by at "
        f"most {1e3 * max(one.late_s for one in over):.0f} ms; after {codes(after)}, p99 {1e3 * slowest(after):.0f} ms"
    )
    assert {"ok", "overloaded"} == set(codes(over))
    assert kept >= KEPT * best
    assert within(one.since_sent_s for one in refused) < REFUSED_S
    assert 1.5 * CAPACITY_PER_S < len(refused) / OVERLOAD_S
    assert {"ok": len(after)} == codes(after)
    assert slowest(after[len(after) // 2 :]) < 2 * OBJECTIVE_S


def test_who_is_refused_is_told_when_to_come_again(echoing: Echoing) -> None:
    """A 429 with Retry-After, which names the work ahead; nothing was run for it."""

    async def too_many() -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=echoing.gateway.url, trust_env=False, timeout=30.0) as client:
            asked = [client.post(PATH, json=question(n, 0), headers=echoing.headers()) for n in range(120)]
            return await asyncio.gather(*asked)

    refused = [one for one in asyncio.run(too_many()) if one.status_code != 200]

    assert refused
    assert {(429, "overloaded")} == {(one.status_code, one.json()["code"]) for one in refused}
    assert all(int(one.headers["retry-after"]) >= 1 for one in refused)
    assert "ms of work are ahead" in refused[0].json()["error"]
