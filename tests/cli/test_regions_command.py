"""`greenserve carbon regions`: what is covered, by whom, and how old the stored value is."""

from pathlib import Path

from greenserve.carbon.feeds.store import ReadingStore
from greenserve.clock import SystemClock
from tests.carbon.grid_server import a_reading
from tests.cli.conftest import Commands

MINUTE_US = 60_000_000
SILENT = "{kind: electricity-maps, api_key: 'file:none.key', url: 'http://127.0.0.1:1'}"


def with_provider(folder: Path) -> None:
    """A live provider before the annual value."""
    file = folder / "greenserve.yaml"
    file.write_text(file.read_text().replace("sources: [", f"sources: [{SILENT}, "))


def test_a_zone_stands_with_its_origin_its_age_and_who_covers_it(greenserve: Commands, folder: Path) -> None:
    """A stored value of a provider comes before the year's; what nobody told is unknown; nobody is asked."""
    with_provider(folder)
    now_us = SystemClock().unix_us()
    store = ReadingStore(folder / "ledger.db.grid")
    start_us = now_us - 20 * MINUTE_US
    told = a_reading(
        zone="SE",
        start_us=start_us,
        end_us=start_us + 60 * MINUTE_US,
        mg_per_kwh=24_500,
        retrieved_us=now_us,
        observed_us=None,
    )
    store.put("electricity-maps", [told], [], now_us)
    store.close()

    plain, as_json, listed = greenserve(
        "carbon regions sweden", "carbon regions SE --json", "carbon regions --configured"
    )

    assert 0 == plain.code, plain.err
    rows = {line.split()[0]: line.split() for line in plain.out.splitlines() if not line.startswith(" ")}
    assert ["zone", "g/kWh", "origin", "age", "where,", "by", "whom"] == rows["zone"]
    assert ["SE", "24.5", "observed", "20m"] == rows["SE"][:4]
    assert ["SE-SE3", "unknown", "-", "-"] == rows["SE-SE3"][:4]
    assert max(map(len, [*plain.out.splitlines(), *listed.out.splitlines()])) <= 80
    assert ("neso:13" in listed.out, "\nFR " in listed.out) == (False, True)
    (sweden,) = as_json.document["regions"]
    assert "greenserve.carbon-regions/1" == as_json.document["schema"]
    assert (["electricity-maps", "annual"], ["entso-e"]) == (sweden["configured"], sweden["offered"])
    assert (24_500, "observed") == (sweden["reading"]["mg_per_kwh"], sweden["reading"]["origin"])
    assert 1_200 <= sweden["age_s"] < 1_320


def test_without_a_configuration_it_says_who_could_cover_a_zone(greenserve: Commands, folder: Path) -> None:
    """No value, no source of one's own; cloud regions on demand; no file is left."""
    (folder / "greenserve.yaml").unlink()

    plain, cloud, found, configured, typo = greenserve(
        "carbon regions",
        "carbon regions --cloud",
        "carbon regions gcp:europe-west3 --json",
        "carbon regions --configured",
        "carbon regions germny",
    )

    assert (0, 0) == (plain.code, cloud.code)
    assert "gcp:" not in plain.out
    assert "gcp:europe-west3" in cloud.out
    assert "cloud regions stand in these: --cloud lists them" in plain.err
    assert "no configuration here" in plain.err
    assert [None] == [one["reading"] for one in found.document["regions"]]
    assert (2, True) == (configured.code, "--configured needs a configuration" in configured.err)
    assert (2, True) == (typo.code, "the nearest are DE" in typo.err)
    assert [] == list(folder.iterdir())
