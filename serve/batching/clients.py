"""Simulation of clients that send again when they are answered, alone or together, on the policy that serves.

Event-driven and pure, as `simulate.py` is for arrivals that wait for nobody.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import cycle

from greenserve.serve.batching.dispatch import Launch
from greenserve.serve.batching.policy import Policy, Run, WaitUntil
from greenserve.serve.batching.queue import Patience, Ticket
from greenserve.serve.batching.simulate import DEADLINE_NS, Truth
from greenserve.units import NS_PER_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """Sends `rows` rows of `length` tokens from `from_ns` until `until_ns`, each time `pause_ns` after its answer."""

    from_ns: int
    until_ns: int
    pause_ns: int
    rows: int = 1
    length: int = 12
    patience: Patience = "balanced"

    def __post_init__(self) -> None:
        if self.rows < 1 or self.pause_ns < 0:
            raise ValueError(f"a client sends at least one row, and pauses for no less than nothing, got {self!r}")


@dataclass(frozen=True, slots=True)
class Served:
    """A request of client `client` (its place among them): when it was sent, launched and answered [ns]."""

    client: int
    sent_ns: int
    launched_ns: int
    answered_ns: int

    @property
    def waited_s(self) -> float:
        """From sending to the start of its last batch [s]."""
        return (self.launched_ns - self.sent_ns) / NS_PER_S


def simulate_clients(policy: Policy, key: str, clients: Sequence[Client], truth: Truth) -> list[Served]:
    """Every answered request, in order of answers; a client that is refused comes again after its pause."""
    return _Clients(policy, key, clients, truth).run()


class _Clients:
    """State: who sends when, the batch that runs, and how many rows of each request are still out."""

    def __init__(self, policy: Policy, key: str, clients: Sequence[Client], truth: Truth) -> None:
        self._policy = policy
        self._key = key
        self._clients = clients
        self._truth = truth
        self._noise = cycle(truth.noise)
        self._due = [(client.from_ns, place) for place, client in enumerate(clients)]
        self._due.sort()
        self._running: tuple[Launch, Run, int] | None = None
        self._left: dict[int, int] = {}
        self._served: list[Served] = []

    def run(self) -> list[Served]:
        timer_ns: int | None = None
        while True:
            ends_ns = self._running[2] if self._running is not None else None
            due_ns = self._due[0][0] if self._due else None
            events = [at_ns for at_ns in (ends_ns, timer_ns, due_ns) if at_ns is not None]
            if not events:
                return self._served
            now_ns = min(events)
            if now_ns == ends_ns:
                self._land(now_ns)
            while self._due and self._due[0][0] <= now_ns:
                self._send(heappop(self._due)[1], now_ns)
            timer_ns = self._fill(now_ns) if self._running is None else None

    def _send(self, place: int, now_ns: int) -> None:
        client = self._clients[place]
        tickets = [
            Ticket(place, client.length, now_ns, now_ns + DEADLINE_NS, patience=client.patience)
            for _ in range(client.rows)
        ]
        if self._policy.arrive(self._key, tickets, now_ns) is None:
            self._left[place] = client.rows
        else:
            self._again(place, now_ns + 1)

    def _again(self, place: int, now_ns: int) -> None:
        at_ns = now_ns + self._clients[place].pause_ns
        if at_ns < self._clients[place].until_ns:
            heappush(self._due, (at_ns, place))

    def _fill(self, now_ns: int) -> int | None:
        """Launch, or say when to ask again."""
        cut = self._policy.cut(now_ns)
        for dropped in cut.dropped:
            self._answered(dropped.ticket, None, now_ns)
        if not isinstance(cut, Launch):
            return max(now_ns + 1, cut.at_ns) if isinstance(cut, WaitUntil) else None
        rows, longest = len(cut.tickets), max([ticket.length for ticket in cut.tickets])
        noise = next(self._noise)
        run = Run(
            rows=rows,
            length=longest,
            seconds=noise * self._truth.seconds(rows, longest),
            joules=noise * self._truth.joules(rows, longest),
        )
        self._running = (cut, run, now_ns + max(1, int(run.seconds * NS_PER_S)))
        return None

    def _land(self, now_ns: int) -> None:
        assert self._running is not None
        launch, run, _ = self._running
        self._running = None
        launched_ns = now_ns - max(1, int(run.seconds * NS_PER_S))
        self._policy.freed(launch)
        self._policy.learn(launch, end_ns=now_ns, runs=(run,))
        for ticket in launch.tickets:
            self._answered(ticket, launched_ns, now_ns)

    def _answered(self, ticket: Ticket, launched_ns: int | None, now_ns: int) -> None:
        place = ticket.row
        assert isinstance(place, int)
        self._left[place] -= 1
        if self._left[place]:
            return
        if launched_ns is not None:
            self._served.append(Served(place, ticket.arrival_ns, launched_ns, now_ns))
        self._again(place, now_ns)
