"""The configuration: one file, every fault named with its place, the environment above the file."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from greenserve.config import Config, load_config
from greenserve.errors import ConfigInvalid

GOOD = """\
version: 1
models:
  - {name: sentiment, manifest: manifest.json}
regions:
  - {name: north, zone: SE, pue: {value: 1.12, source: a test}}
intensity:
  sources:
    - {kind: annual, values: {SE: 31gCO2e/kWh}, year: 2025, source: a test}
"""
DEMO = Path(__file__).parents[2] / "configs" / "demo.yaml"


def load(folder: Path, text: str) -> Config:
    """The configuration of a text."""
    path = folder / "greenserve.yaml"
    path.write_text(text)
    return load_config(path)


def faults(folder: Path, text: str) -> list[str]:
    """What is wrong with a text: one line each, without the file's name."""
    with pytest.raises(ConfigInvalid) as refused:
        load(folder, text)
    *lines, last = str(refused.value).splitlines()
    assert f"({len(lines)} fault{'s' if len(lines) > 1 else ''}, nothing started)" == last
    return [line.replace(str(folder / "greenserve.yaml"), "") for line in lines]


def test_the_least_configuration_has_safe_defaults(tmp_path: Path) -> None:
    """Loopback, keys required, two replicas, one local Ray."""
    config = load(tmp_path, GOOD)

    assert ("127.0.0.1", 8080, 8081) == (
        config.server.http.host, config.server.http.port, config.server.grpc.port,
    )  # fmt: skip
    assert ("required", 2, "local") == (config.tenancy.auth, config.server.replicas, config.ray.address)
    assert (1120, Path("greenserve.db")) == (config.regions[0].pue_milli, config.ledger.path)
    assert config.models[0].cache.enabled


def test_the_shipped_configuration_is_valid() -> None:
    """Both regions of the demo are emulated and their grid is called synthetic."""
    config = load_config(DEMO)

    assert [True, True] == [region.emulated for region in config.regions]
    assert ["synthetic"] == [getattr(source, "provider", None) for source in config.intensity.sources]
    assert "sentiment" == config.models[0].name


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("version: 1", "version: 2", [":1  version: Input should be 1"]),
        ("models:", "modles:", ["modles: unknown key; did you mean `models`?", "models: is missing"]),
        ("zone: SE,", "zoen: SE,", ["did you mean `zone`?", "zone: is missing"]),
        ("manifest: manifest.json", "manifest: m, color: red", [":3  models[0].color: unknown key; allowed are"]),
        ("value: 1.12", "value: 0.9", [":5  regions[0].pue.value: Input should be greater than or equal to 1"]),
        ("31gCO2e/kWh", "31", [":8  intensity.sources[0].values.SE: 31 has no unit; write 31gCO2e/kWh"]),
        ("kind: annual", "kind: guessed", [":8  intensity.sources[0]"]),
        ("name: sentiment", "name: a/b", [":3  models[0].name"]),
        ("regions:\n", "regions:\n  - {name: north, zone: X, emulated: true, pue: {value: 1, source: s}}\n",
         ["regions: each name may stand once, given are north, north"]),
        ("regions:\n", "regions:\n  - {name: south, zone: X, pue: {value: 1, source: s}}\n",
         ["regions: only one region is this machine"]),
        ("version: 1", "version: 1\nserver: {http: {port: 8081}}", ["HTTP and gRPC both have port 8081"]),
        ("version: 1", "version: 1\nserver: {tls: {cert_file: a.pem}}", ["cert_file and key_file belong together"]),
        ("version: 1", "version: 1\nserver: {tls: {external: false}}", ["or `external: true` where a trusted proxy"]),
        ("version: 1", "version: 1\nserver: {replicas: many}", [":2  server.replicas"]),
        ("version: 1", "version: 1\nserver: {trusted: [here]}", [":2  server.trusted[0]"]),
        ("version: 1", "version: 1\ntelemetry: {trace_sample: 5}", ["5 has no unit; write 5%"]),
        ("version: 1", "version: 1\ntelemetry: {trace_sample: 105%}", ["is over 100%"]),
        ("manifest: manifest.json", "manifest: m, replicas: {min: 3, max: 2}", ["max is 2, under min 3"]),
        ("version: 1", "version: 1\nserver: {limits: {request_timeout: 30}}", ["30 has no unit; write 30s"]),
        ("version: 1", "version: 1\nledger: {url: 'postgres://x'}", [":2  ledger.url"]),
        ("models:\n  - {name: sentiment, manifest: manifest.json}", "models: []", [":2  models: Tuple should have at"]),
        ("version: 1", "version: 1\nenergy: {boards: [{idle_w: 60, busy_w: 50}]}",
         [":2  energy.boards[0]: busy_w is 50, it lies above 0 and not below idle_w (60)"]),
        ("version: 1", "version: 1\nenergy: {boards: [{idle_w: 1, busy_w: 2}, {idle_w: 3, busy_w: 4}]}",
         ["boards names '*' twice; keep one line for each"]),
        ("version: 1", "version: 1\nenergy: {external: [{name: w, format: number, unit: W, max_w: 9}]}",
         [":2  energy.external[0]: w: give a url or a file, one of them"]),
        ("version: 1", "version: 1\nenergy: {external: [{name: w, file: f, format: prometheus, metric: x_joules_total,"
         " unit: Wh, max_w: 9}]}", ["w: the metric x_joules_total is in J by its name, the unit is Wh"]),
        ("version: 1", "version: 1\nenergy: {external: [{name: w, url: 'http://a:b@c', format: number, unit: W, max_w:"
         " 9}]}", ["an http or https address is needed; a key goes into authorization"]),
        ("version: 1", "version: 1\nenergy: {external: [{name: w, file: f, format: number, unit: W, max_w: 9,"
         " authorization: 'env:X'}]}", ["w: authorization goes with a url"]),
        ("version: 1", "version: 1\nenergy: {external: [{name: w, url: 'http://c', format: number, unit: W, max_w: 9,"
         " authorization: tok}]}", ["a key is not written here; write env:NAME or file:PATH"]),
        ("version: 1", "version: 1\nenergy: {external: [{name: w, file: f, format: number, unit: BTU, max_w: 9}]}",
         [":2  energy.external[0].unit"]),
        ("manifest: manifest.json", "manifest: m, cache: {ttl: 0s}", [":3  models[0].cache.ttl: Input should be"]),
    ],
)  # fmt: skip
def test_a_fault_is_named_with_line_key_and_remedy(old: str, new: str, expected: list[str], tmp_path: Path) -> None:
    """What was given, what is allowed, where it stands."""
    assert old in GOOD

    found = faults(tmp_path, GOOD.replace(old, new))

    assert len(expected) == len(found)
    for words in expected:
        assert any(words in line for line in found), found


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("energy: {overhead: {power: 3}}", "energy.overhead.power: unknown key; did you mean `power_w`?"),
        ("energy: {overhead: {colour: 3}}", "unknown key; allowed are half_width_pct, power_w, source"),
        ("energy: {cpu: {idle: 38}}", "energy.cpu.idle: unknown key; did you mean `idle_w`?"),
        ("energy: {overhead: {power_w: 38}}", "source: is missing; this section needs `power_w` and `source`: what"),
        ("ledger: {retention: 400}", "write keep or a number of days such as 400d"),
        ("ledger: {retention: kept}", "ledger.retention: 'kept': write keep or a number of days such as 400d"),
        ("ledger: {retention: 0d}", "write keep or a number of days such as 400d"),
    ],
)
def test_optional_sections_say_what_is_allowed_in_them(given: str, expected: str, tmp_path: Path) -> None:
    """Also where a section may be left out, a key that is wrong or missing is told with those that there are."""
    assert any(expected in line for line in faults(tmp_path, f"{GOOD}{given}\n"))


def test_all_faults_are_named_at_once(tmp_path: Path) -> None:
    """Nobody mends a file by one fault per start."""
    text = GOOD.replace("version: 1", "version: 3").replace("1.12", "99").replace("year: 2025", "year: 1")

    assert 3 == len(faults(tmp_path, text))


def test_a_configuration_does_not_change(tmp_path: Path) -> None:
    """It is read once and passed as a value."""
    config = load(tmp_path, GOOD)

    with pytest.raises(ValueError, match="frozen"):
        config.server.replicas = 3


def test_a_missing_file_says_which_option_names_one(tmp_path: Path) -> None:
    """With the file's name."""
    with pytest.raises(ConfigInvalid, match=r"nothing\.yaml: cannot be read .*--config"):
        load_config(tmp_path / "nothing.yaml")


def in_a_process(folder: Path, program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Load a configuration under an environment of its own."""
    (folder / "greenserve.yaml").write_text(GOOD)
    return subprocess.run(
        [sys.executable, "-c", f"from greenserve.config import *\nfrom pathlib import Path\n{program}"],
        cwd=folder,
        env=dict(os.environ) | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_command_line_stands_above_the_environment_above_the_file(tmp_path: Path) -> None:
    """The port from the environment unless the command line gives one; the other port stays the default."""
    program = (
        "print(load_config(None).server.http.port, load_config(None).server.grpc.port)\n"
        "print(load_config(None, overrides={'server': {'http': {'port': 7}}}).server.http.port)"
    )

    done = in_a_process(tmp_path, program, GREENSERVE_SERVER__HTTP__PORT="9090")

    assert "9090 8081\n7\n" == done.stdout, done.stderr


def test_a_fault_of_the_environment_is_told_from_one_of_the_file(tmp_path: Path) -> None:
    """Its place is the environment, not a line."""
    done = in_a_process(tmp_path, "load_config(None)", GREENSERVE_SERVER__HTTP__PORT="http")

    assert "environment  server.http.port:" in done.stderr


def test_run_folders_follow_the_runtime_directory(tmp_path: Path) -> None:
    """Of the user's session, else the system's folder for temporary files."""
    asked = in_a_process(tmp_path, "print(run_folder_base())", XDG_RUNTIME_DIR="/run/user/7")
    unset = in_a_process(tmp_path, "print(run_folder_base())", XDG_RUNTIME_DIR="")

    assert ("/run/user/7\n", "/tmp\n") == (asked.stdout, unset.stdout)
