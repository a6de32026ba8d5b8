"""`greenserve carbon track`: a command's joules and grams, its own output and exit code kept."""

import csv
from pathlib import Path

from tests.cli.conftest import Commands

BUSY = "import subprocess,sys;[subprocess.run([sys.executable,'-S','-c','sum(range(10**6))']) for _ in range(2)]"


def test_a_command_is_measured_with_its_children(greenserve: Commands, folder: Path) -> None:
    """The report on stderr or as JSON; the exit code is the command's."""
    plain, as_json, failing, missing = greenserve(
        ["carbon", "track", "--save", "run.csv", "--", "python3", "-S", "-c", "print('out')"],
        ["carbon", "track", "--json", "--", "python3", "-S", "-c", BUSY],
        ["carbon", "track", "--", "python3", "-S", "-c", "raise SystemExit(3)"],
        ["carbon", "track", "--", "no-such-command"],
    )

    assert (0, "out\n") == (plain.code, plain.out)
    assert "python3 in SE: " in plain.err
    assert "31 g/kWh +-40%, annual" in plain.err
    assert 1 <= len(list(csv.DictReader((folder / "run.csv").read_text().splitlines())))
    document = as_json.document
    assert ("greenserve.carbon-track/1", 0) == (document["schema"], document["exit_code"])
    assert document["energy"]["devices"][0]["active_uj"] > 0
    assert document["emissions_ng"] > 0
    assert (3, 127) == (failing.code, missing.code)
    assert "no-such-command cannot be run: No such file or directory" in missing.err


def test_without_a_configuration_a_zone_is_needed(greenserve: Commands, folder: Path) -> None:
    """Its energy is told, its emissions are unknown."""
    (folder / "greenserve.yaml").unlink()
    unplaced, placed, wrong = greenserve(
        "carbon track -- true", "carbon track --zone FR -- true", "carbon track --zone FR --pue 0.5 -- true"
    )

    assert (2, 0, 4) == (unplaced.code, placed.code, wrong.code)
    assert "give --zone" in unplaced.err
    assert "unknown gCO2e" in placed.err
    assert "pue is 0.5" in wrong.err
