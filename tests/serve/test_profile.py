"""What the network profile needs, and what the sockets say."""

import os
from pathlib import Path
from typing import Any

import pytest

from greenserve.carbon.ledger.pepper import pepper_path
from greenserve.config import Config
from greenserve.errors import ConfigInvalid
from greenserve.serve.ports import Listening, listeners_of, reuse_port_socket
from greenserve.serve.profile import check_profile, listening_faults, profile_of
from tests.serve.building import a_config
from tests.serve.listening import a_certificate

ANYWHERE = {"host": "0.0.0.0", "port": 8080}


def a_network(manifest: Path, folder: Path, *, auth: str = "required", **server: Any) -> Config:
    """A configuration that listens on all addresses; TLS files of its own, unless `server` says otherwise."""
    folder.chmod(0o700)
    whole: dict[str, Any] = {"http": ANYWHERE, "trusted": ()}
    if "tls" not in server:
        certificate, key = a_certificate(folder / "tls")
        whole["tls"] = {"cert_file": certificate, "key_file": key}
    return a_config(manifest, folder, server=whole | server, tenancy={"auth": auth})


def faults_of(config: Config, run_folder: Path, *, ray_token_auth: bool | None = True) -> list[str]:
    """The lines that say what is missing."""
    with pytest.raises(ConfigInvalid) as raised:
        check_profile(config, run_folder=run_folder, ray_token_auth=ray_token_auth)
    return [line.strip() for line in str(raised.value).splitlines()]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.8.8.8", "::ffff:127.0.0.1"])
def test_loopback_needs_nothing(host: str, tiny_manifest: Path, tmp_path: Path) -> None:
    """No TLS, no keys: nobody else reaches it."""
    config = a_config(tiny_manifest, tmp_path, server={"http": {"host": host, "port": 8080}})

    assert "local" == profile_of(config) == check_profile(config, run_folder=tmp_path, ray_token_auth=False)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "gateway.example.com", "2130706433"])
@pytest.mark.parametrize("listener", ["http", "grpc"])
def test_any_other_address_is_the_network(host: str, listener: str, tiny_manifest: Path, tmp_path: Path) -> None:
    """Of either listener; a name may resolve to anything. All that is missing is named at once."""
    config = a_config(tiny_manifest, tmp_path, server={listener: {"host": host, "port": 9090}})
    tmp_path.chmod(0o777)

    lines = faults_of(config, tmp_path, ray_token_auth=False)

    assert "network" == profile_of(config)
    assert lines[0].startswith(f"server.{listener}.host is {host}: others reach that")
    subjects = ("server.tls:", "tenancy.auth: `required`, given is `anonymous`", "Ray's token", "the ledger's folder:")
    assert all(line.startswith(subject) for line, subject in zip(lines[1:], subjects, strict=False))
    assert "the run folder" in lines[5]


def test_a_network_with_everything_is_served(tiny_manifest: Path, tmp_path: Path) -> None:
    """TLS files, keys, token authentication, private files."""
    config = a_network(tiny_manifest, tmp_path)

    assert "network" == check_profile(config, run_folder=tmp_path, ray_token_auth=True)
    assert "network" == check_profile(config, run_folder=tmp_path / "not-made-yet", ray_token_auth=None)


def test_a_proxy_may_end_tls_where_it_is_named(tiny_manifest: Path, tmp_path: Path) -> None:
    """Everybody is no proxy, and nobody neither."""
    good = a_network(tiny_manifest, tmp_path, tls={"external": True}, trusted=["10.0.0.0/8"])
    nobody = a_network(tiny_manifest, tmp_path, tls={"external": True})
    everybody = a_network(tiny_manifest, tmp_path, tls={"external": True}, trusted=["0.0.0.0/0", "::/0"])

    assert "network" == check_profile(good, run_folder=tmp_path, ray_token_auth=True)
    assert "server.trusted: the networks of the proxy" in faults_of(nobody, tmp_path)[1]
    assert ["0.0.0.0/0 is everybody", "::/0 is everybody"] == [
        line.partition("; ")[2] for line in faults_of(everybody, tmp_path)[1:3]
    ]


def test_tls_files_that_do_not_serve_are_named(tiny_manifest: Path, tmp_path: Path) -> None:
    """In the local profile too: who configures TLS wants it."""
    certificate, key = a_certificate(tmp_path / "good")
    expired, expired_key = a_certificate(tmp_path / "expired", days=-1)
    garbage = tmp_path / "garbage"
    garbage.write_text("no PEM")

    def faults(cert_file: Path, key_file: Path) -> str:
        tls = {"cert_file": cert_file, "key_file": key_file}
        return faults_of(a_config(tiny_manifest, tmp_path, server={"tls": tls}), tmp_path)[0]

    assert "No such file or directory" in faults(tmp_path / "none", key)
    assert "server.tls.cert_file: a readable PEM certificate" in faults(garbage, key)
    assert "server.tls.key_file: a readable PEM key without a password" in faults(certificate, garbage)
    assert "does not belong to" in faults(certificate, expired_key)
    assert "server.tls.cert_file: a valid certificate" in faults(expired, expired_key)
    key.chmod(0o644)
    assert f"server.tls.key_file: closed to others; {key} has mode 644: run `chmod 640 {key}`" == faults(
        certificate, key
    )


def test_files_that_others_may_read_are_named(tiny_manifest: Path, tmp_path: Path) -> None:
    """The pepper makes the stored keys worthless to whoever copies the ledger, unless he has it too."""
    config = a_network(tiny_manifest, tmp_path)
    pepper = pepper_path(config.ledger.path)
    pepper.write_bytes(b"p" * 32)
    pepper.chmod(0o640)
    run_folder = tmp_path / "run"
    run_folder.mkdir(mode=0o750)

    lines = faults_of(config, run_folder)

    assert f"the pepper: closed to others; {pepper} has mode 640: run `chmod 600 {pepper}`" == lines[1]
    assert lines[2].startswith("the run folder: closed to others; ")


def test_a_loopback_port_that_is_open_too_far_is_found(config: Config) -> None:
    """What was configured is one thing, what the kernel has is another."""
    loopback = [Listening(pid=1, host="127.0.0.1", port=8080), Listening(pid=1, host="::1", port=8081)]
    wide = [*loopback, Listening(pid=1, host="0.0.0.0", port=8080)]

    assert [] == listening_faults(config, loopback)
    assert ["server.http: port 8080 is configured for 127.0.0.1 and listens on 0.0.0.0"] == listening_faults(
        config, wide
    )
    assert ["server.grpc: nothing of this gateway listens on port 8081"] == listening_faults(config, loopback[:1])


def test_sockets_of_a_process_are_found() -> None:
    """IPv4 and IPv6, as the kernel has them."""
    with reuse_port_socket("127.0.0.1", 0) as four, reuse_port_socket("::1", 0) as six:
        ports = {four.getsockname()[1]: "127.0.0.1", six.getsockname()[1]: "::1"}

        found = {each.port: (each.host, each.loopback) for each in listeners_of([os.getpid()]) if each.port in ports}

    assert {port: (host, True) for port, host in ports.items()} == found
    assert [] == listeners_of([2**22 + 1])
