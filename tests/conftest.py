"""What all tests share: hypothesis' profiles, the tiny model, and one running gateway."""

from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings

from tests.gateway_process import GatewayProcess
from tests.postgres_server import NewUrl, postgres_server
from tests.tiny_model import write_tiny_model

settings.register_profile("ci", derandomize=True, deadline=None, max_examples=100)
settings.register_profile("deep", deadline=None, max_examples=5_000)
settings.load_profile("ci")  # `--hypothesis-profile=deep` comes later and wins

NewGateway = Callable[..., GatewayProcess]
ENDED = frozenset({"stopped", "terminated"})


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that take a gateway after its end come last in their folder, whatever their file is called."""
    folders = list(dict.fromkeys(item.path.parent for item in items))
    items.sort(key=lambda item: (folders.index(item.path.parent), bool(ENDED & set(getattr(item, "fixturenames", ())))))


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
