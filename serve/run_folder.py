"""The run folder of a gateway: lock, `run.json`, Ray's session; one per user and HTTP port, readable by its owner only.

State: the files in it. The process that holds the lock is the gateway's driver; nobody else writes here.
"""

import fcntl
import os
import shutil
from dataclasses import asdict, dataclass, field

import orjson

from greenserve.carbon.ledger.spool import start_ticks_of
from greenserve.config import run_folder_base
from greenserve.errors import ConfigInvalid, DependencyMissing
from greenserve.serve.control import SOCKET_FILE

TOKEN_FILE = "ray.token"
STATE_FILE = "run.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunState:
    """What a running gateway says of itself: the driver's process, addresses, and what it serves and meters with.

    `ray` is `local`, or the address of the cluster that it runs on; `engines` counts the replicas of each remote
    model; `left_out` says of each model's variants that do not run here why. `ready` once every replica takes requests;
    `processes` then holds (pid, start in ticks) of all that it started.
    """

    run_id: str
    pid: int
    start_ticks: int
    started_us: int
    http: str
    grpc: str
    replicas: int
    config: str
    ledger: str
    models: dict[str, list[str]]
    regions: list[dict[str, object]]
    meter: dict[str, object]
    meters_rejected: dict[str, str]
    ray: str = "local"
    engines: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, dict[str, str]] = field(default_factory=dict)
    ready: bool = False
    processes: list[tuple[int, int]] = field(default_factory=list)

    @property
    def alive(self) -> bool:
        """Whether the driver still runs: the same process, not another one with its number."""
        return start_ticks_of(self.pid) == self.start_ticks


class RunFolder:
    """One gateway's run folder."""

    def __init__(self, *, port: int) -> None:
        self.path = run_folder_base() / f"greenserve-{os.getuid()}-{port}"
        self._lock_descriptor: int | None = None

    def __repr__(self) -> str:
        return f"<RunFolder {self.path} {'held' if self._lock_descriptor is not None else 'not held'}>"

    def acquire(self) -> None:
        """Make the folder and take its lock; raises ConfigInvalid while another gateway holds it."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.path.stat().st_uid != os.getuid() or self.path.is_symlink():
            raise ConfigInvalid(f"{self.path} belongs to somebody else; remove it or set XDG_RUNTIME_DIR to your own")
        descriptor = os.open(self.path / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise ConfigInvalid(
                f"a gateway runs here already ({self.path}); `greenserve status` shows it, `greenserve stop` ends it"
            ) from None
        self._lock_descriptor = descriptor

    def write(self, state: RunState) -> None:
        """Publish the state, whole or not at all."""
        fresh = self.path / f"{STATE_FILE}.new"
        fresh.write_bytes(orjson.dumps(asdict(state), option=orjson.OPT_INDENT_2))
        fresh.replace(self.path / STATE_FILE)

    def read(self) -> RunState:
        """The state of the gateway that runs on this port; raises DependencyMissing where none does."""
        try:
            return RunState(**orjson.loads((self.path / STATE_FILE).read_bytes()))
        except FileNotFoundError:
            raise DependencyMissing(
                f"no gateway of yours runs on this port (looked in {self.path}); start one with `greenserve serve`"
            ) from None
        except (TypeError, ValueError) as error:
            raise ConfigInvalid(
                f"{self.path / 'run.json'} was written by another version ({error}); stop that gateway with its own "
                "`greenserve stop`, or end its processes and remove the file"
            ) from None

    def release(self) -> None:
        """Remove everything that the run left here, then the lock."""
        for name in (STATE_FILE, f"{STATE_FILE}.new", TOKEN_FILE, SOCKET_FILE):
            (self.path / name).unlink(missing_ok=True)
        shutil.rmtree(self.path / "ray", ignore_errors=True)
        if self._lock_descriptor is not None:
            os.close(self._lock_descriptor)
            self._lock_descriptor = None
