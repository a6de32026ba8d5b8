"""How the second tier of answers is configured; no Redis is asked."""

from pathlib import Path

import pytest

from greenserve.config import Config
from greenserve.errors import ConfigInvalid
from greenserve.serve.shared_cache import open_shared, read_url
from tests.serve.building import a_config

SECRET = b"s" * 32


@pytest.fixture(autouse=True)
def _library() -> None:
    pytest.importorskip("redis", reason="no redis client; install it with `pip install 'greenserve[redis]'`")


def test_the_url_is_read_from_its_file(tmp_path: Path) -> None:
    """One line; where it is wrong, its content, which may be a password, is not shown."""
    file = tmp_path / "url"
    file.write_text("redis://:secret@host:6379/0\n")
    wrong = tmp_path / "wrong"
    wrong.write_text("secret")

    assert "redis://:secret@host:6379/0" == read_url(file)
    with pytest.raises(ConfigInvalid, match=r"wrong needs one line with a URL of redis://") as refused:
        read_url(wrong)
    assert "secret" not in str(refused.value)
    with pytest.raises(ConfigInvalid, match=r"absent is not readable \(No such file"):
        read_url(tmp_path / "absent")


async def test_a_configuration_without_a_redis_has_no_second_tier(
    tiny_manifest: Path, tmp_path: Path, config: Config
) -> None:
    """And one with a URL has, with the configured budget."""
    file = tmp_path / "url"
    file.write_text("redis://127.0.0.1:1/0")
    with_redis = a_config(tiny_manifest, tmp_path, cache={"redis_url_file": file, "timeout": "3ms"})

    tier = open_shared(with_redis, secret=SECRET)

    assert None is open_shared(config, secret=SECRET)
    assert tier is not None
    assert "<SharedAnswers down, 0 of 0 found, 0 failures>" == repr(tier)
    await tier.close()
