"""What the cache wins where everything hits, what it costs where nothing does, and that twins run once."""

import re
import socket
import statistics
import threading
from collections import Counter
from typing import Any

from benchmarks.closed_loop import drive, head_of_whole, text_of, unique_texts
from benchmarks.gateway import Running, gateway
from benchmarks.systems import http_api

CONNECTIONS = 32
HOT_TEXTS = 64
TWINS, TWIN_TRIALS = 100, 10
OFF = (("GreenServe-Cache", "no-store"),)
RESULT = re.compile(rb"\r\ngreenserve-cache: ([a-z]+)")
BAR_HITS, BAR_MISSES = 5.0, 0.97


def cache(*, rounds: int, seconds: float) -> dict[str, Any]:
    """Requests/s with all hits and all misses, to the same with `no-store`; executions of identical requests."""
    figures = []
    with gateway() as running:
        for number in range(rounds):
            figures.append(one_round(running, number, seconds))
    with gateway(single_replica) as running:
        trials = [twins(running, trial) for trial in range(TWIN_TRIALS)]
    median = {name: statistics.median(one[name] for one in figures) for name in figures[0]}
    most = max(trial["miss"] + trial["off"] for trial in trials)
    print(f"cache off (no-store)               {median['off_per_s']:,.0f}/s at {CONNECTIONS} connections")
    print(f"cache, all hits                    {median['hits_per_s']:,.0f}/s, {median['hits']:.2f}x (bar {BAR_HITS})")
    print(
        f"cache, all misses                  {median['misses_per_s']:,.0f}/s, "
        f"{median['misses']:.3f}x (bar {BAR_MISSES})"
    )
    print(
        f"{TWINS} identical requests at once      at most {most} executions in {TWIN_TRIALS} trials (bar 1)", flush=True
    )
    return {
        "rounds": figures,
        "median": median,
        "twins": {"requests": TWINS, "trials": trials, "most_executions": most},
    }


def single_replica(document: dict[str, Any]) -> None:
    """One gateway process: single-flight is a promise of each one."""
    document["server"]["replicas"] = 1


def one_round(running: Running, number: int, seconds: float) -> dict[str, float]:
    """Off, all misses, all hits, one after the other; the ratios are of this round."""
    api = http_api(running)
    found = {}
    for kind, requests in (
        ("off", api.requests(unique_texts(3 * number), OFF)),
        ("misses", api.requests(unique_texts(3 * number + 1))),
        ("hits", api.requests([text_of(14**9 + index) for index in range(HOT_TEXTS)])),
    ):
        outcome = drive(requests, address=running.address, connections=CONNECTIONS, duration_s=seconds, keep="heads")
        found[f"{kind}_per_s"] = outcome.per_s
        found[f"{kind}_failures"] = float(outcome.failures + outcome.lost_connections)
        results = Counter(result_of(head) for _, head in outcome.heads)
        found[f"{kind}_hit_share"] = results["hit"] / max(1, outcome.answers)
    return found | {kind: found[f"{kind}_per_s"] / found["off_per_s"] for kind in ("hits", "misses")}


def result_of(head: bytes) -> str:
    """What the cache did for an answer: hit, miss, joined or off; `absent` where the answer does not say."""
    found = RESULT.search(head)
    return "absent" if found is None else found[1].decode()


def twins(running: Running, trial: int) -> dict[str, int]:
    """Send one new text on many connections at once; {cache result: answers}, and `failures`.

    The executions are the answers that say `miss` or `off`: a joined or hit one ran nothing.
    """
    (request,) = http_api(running).requests([text_of(2 * 14**9 + trial)])
    connections = [socket.create_connection(running.address, timeout=20.0) for _ in range(TWINS)]
    heads: list[bytes] = []
    together = threading.Barrier(TWINS)

    def ask(connection: socket.socket) -> None:
        together.wait()
        connection.sendall(request)
        received = b""
        while (head := head_of_whole(received)) is None:
            if not (data := connection.recv(65536)):
                return
            received += data
        heads.append(head)

    threads = [threading.Thread(target=ask, args=(connection,)) for connection in connections]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for connection in connections:
        connection.close()
    results = Counter(result_of(head) for head in heads if head.startswith(b"http/1.1 200"))
    counted = {kind: results[kind] for kind in ("hit", "miss", "joined", "off")}
    return counted | {"failures": TWINS - sum(counted.values())}
