"""What all tests share: hypothesis' profiles, the tiny model, and one running gateway."""

from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings

from tests.gateway_process import GatewayProcess
from tests.postgres_server import NewUrl, postgres_server
from tests.tiny_model import write_tiny_model
from tests.workplace import DemoBeside, Workplace, demo_is_possible

settings.register_profile("ci", derandomize=True, deadline=None, max_examples=100)
settings.register_profile("deep", deadline=None, max_examples=5_000)
settings.load_profile("ci")  # `--hypothesis-profile=deep` comes later and wins

NewGateway = Callable[..., GatewayProcess]
ENDED = frozenset({"stopped", "terminated"})
DEMO = "demo"
LIVE = frozenset({"conformance", "end_to_end", "faults"})
"""Folders whose tests ask running gateways, and measure how soon they answer."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """First what shares nothing with the demo, which runs meanwhile; then who waits for it; then the running gateways.

    Tests that take a gateway after its end come last in their folder, whatever their file is called.
    """
    folders = list(dict.fromkeys(item.path.parent for item in items))

    def place(item: pytest.Item) -> tuple[int, int, bool]:
        taken = fixtures_of(item)
        stage = 2 if item.path.parent.name in LIVE else int(DEMO in taken)
        return stage, folders.index(item.path.parent), bool(ENDED & taken)

    items.sort(key=place)


def fixtures_of(item: pytest.Item) -> set[str]:
    """The fixtures that a test takes, directly or not."""
    return set(getattr(item, "fixturenames", ()))


@pytest.fixture(scope="session", autouse=True)
def demo_beside(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DemoBeside | None]:
    """The demo, started with the session where a test asks for it; None where its model or data are not installed."""
    if not any(DEMO in fixtures_of(item) for item in request.session.items) or not demo_is_possible():
        yield None
        return
    running = DemoBeside(Workplace(tmp_path_factory.mktemp("d")))
    yield running
    running.close()


@pytest.fixture(scope="session")
def tiny_manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifest of a tiny three-class model with three variants."""
    return write_tiny_model(tmp_path_factory.mktemp("variants") / "tiny")


@pytest.fixture(scope="session")
def new_gateway(tmp_path_factory: pytest.TempPathFactory, tiny_manifest: Path) -> Iterator[NewGateway]:
    """Makes gateways that are not started yet; none outlives the session."""
    made: list[GatewayProcess] = []

    def make(manifest: Path = tiny_manifest) -> GatewayProcess:
        made.append(GatewayProcess(folder=tmp_path_factory.mktemp("gateway"), manifest=manifest))
        return made[-1]

    yield make
    for gateway in made:
        gateway.end()


@pytest.fixture(scope="session")
def postgres_urls() -> Iterator[NewUrl]:
    """URLs of empty PostgreSQL databases on one real server, whose socket needs a short path."""
    with TemporaryDirectory(prefix="pg-") as folder, postgres_server(Path(folder)) as new_url:
        yield new_url
