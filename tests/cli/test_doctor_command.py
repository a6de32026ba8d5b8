"""`greenserve doctor`: what it finds, and the exit code."""

import socket
from pathlib import Path

from greenserve.cli.doctor import configured, disk, energy, ports
from greenserve.config import load_config
from tests.cli.conftest import CONFIG, Commands


def with_ports(folder: Path, http: int, grpc: int) -> Path:
    (folder / "manifest.json").write_text("{}")
    file = folder / "greenserve.yaml"
    file.write_text(f"{CONFIG}server: {{http: {{port: {http}}}, grpc: {{port: {grpc}}}}}\n")
    return file


def free() -> socket.socket:
    """A listening socket on a port of its own."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    return listener


def test_a_machine_is_described_and_a_missing_manifest_fails(greenserve: Commands, folder: Path) -> None:
    """Exit 6, the file named, the command that builds it named; the same findings as JSON."""
    text, document, strict = greenserve("doctor", "doctor --json", "doctor --strict")

    assert (6, 6, 6) == (text.code, document.code, strict.code)
    assert "FAIL  model: sentiment: manifest.json is not there; build it with `greenserve optimize`" in text.out
    assert " OK    configuration: greenserve.yaml is valid" in text.out
    assert '"schema": "greenserve.doctor/1"' in document.out
    assert '"good": false' in document.out
    for name in ("python", "packages", "engines", "gpu", "energy", "port", "disk"):
        assert f" {name}" in text.out


def test_a_configuration_that_does_not_load_fails_alone(tmp_path: Path) -> None:
    """Each fault is a line; what depends on it is not guessed."""
    file = tmp_path / "greenserve.yaml"
    file.write_text(CONFIG + "colour: blue\n")

    findings = configured(file)

    assert {("FAIL", "configuration")} == {(one.level, one.name) for one in findings}
    assert "colour: unknown key" in findings[0].text


def test_a_port_that_somebody_holds_fails_with_the_key_to_set(tmp_path: Path) -> None:
    """And with who holds it."""
    with free() as held, free() as other:
        wanted = other.getsockname()[1]
        other.close()
        file = with_ports(tmp_path, held.getsockname()[1], wanted)

        taken, grpc = ports(load_config(file))

    assert ("FAIL", "OK") == (taken.level, grpc.level)
    assert "is held by pid" in taken.text
    assert "set server.http.port" in taken.text
    assert "for this machine only" in grpc.text


def test_the_disk_is_measured_where_the_ledger_lies(tmp_path: Path) -> None:
    """Room and a durable write; nothing stays behind."""
    file = with_ports(tmp_path, 1, 2)
    before = sorted(tmp_path.iterdir())
    config = load_config(file, overrides={"ledger": {"url": f"sqlite:///{tmp_path}/not/yet/ledger.db"}})

    room, sync = disk(config)

    assert f"GiB free in {tmp_path}" in room.text
    assert "a durable write takes" in sync.text
    assert before == sorted(tmp_path.iterdir())


def test_energy_of_weak_evidence_is_a_warning_with_a_way_out(tmp_path: Path) -> None:
    """A class average says so; the machine's own watts raise the tier and end the warning."""
    file = with_ports(tmp_path, 1, 2)
    average = energy(load_config(file, overrides={"energy": {"meters": ["cpu-time"]}}))
    own = energy(
        load_config(
            file,
            overrides={"energy": {"meters": ["cpu-time"], "cpu": {"idle_w": 10, "max_w": 50, "half_width_pct": 15}}},
        )
    )

    assert ["WARN"] == [one.level for one in average]
    assert "tier class_average +-60 %" in average[0].text
    assert "set energy.cpu" in average[0].text
    assert ["OK"] == [one.level for one in own]
    assert "tier modelled +-15 %" in own[0].text


def test_a_reservation_of_nobody_or_nothing_is_a_warning(greenserve: Commands, folder: Path) -> None:
    """The tenants that are open and the devices that are read are named; a closed tenant is none."""
    config = folder / "greenserve.yaml"
    plain = config.read_text()
    config.write_text(
        f"{plain}tenancy:\n  reservations:\n    - {{tenant: acme, share: 10%}}\n"
        "    - {tenant: gone, share: 10%, device: cpu}\n    - {tenant: acme, share: 10%, device: GPU-1}\n"
    )

    (early,) = greenserve("doctor")
    there = (folder / "ledger.db").exists()
    *_, late = greenserve("tenant create acme", "tenant create gone", "tenant close gone --yes", "doctor")
    config.write_text(f"{plain}tenancy: {{reservations: [{{tenant: acme, share: 10%}}]}}\n")
    (good,) = greenserve("doctor")

    words = [" ".join(one.out.split()) for one in (early, late, good)]
    assert not there
    assert "WARN reservations: tenancy.reservations: the ledger has no open tenant 'acme'" in words[0]
    assert "there is none yet; `greenserve tenant create acme` makes it" in words[0]
    assert "no open tenant 'gone', so its share is kept for nobody; there are acme;" in words[1]
    assert "no open tenant 'acme'" not in words[1]
    assert "no meter reads a device 'GPU-1' on this machine; there are cpu" in words[1]
    assert "OK reservations: 1 shares, of tenants and devices that are there" in words[2]
