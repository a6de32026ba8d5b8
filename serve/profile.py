"""Who may reach the gateway, and what that asks for: `local` (loopback, the default) or `network` (any other address).

What the `network` profile needs is checked before anything starts and named all at once; nothing skips it.
"""

import os
import stat
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from greenserve.carbon.ledger.pepper import pepper_path
from greenserve.config import Config
from greenserve.errors import ConfigInvalid
from greenserve.serve.ports import Listening, is_loopback

Profile = Literal["local", "network"]
PRIVATE = 0o077
KEY_PRIVATE = 0o027
"""A group may read a TLS key: mounted secrets belong to root and are read through a group."""
OTHERS_WRITE = 0o022


def profile_of(config: Config) -> Profile:
    """`local` where both listeners are on loopback addresses, else `network`."""
    return "network" if _exposed(config) else "local"


def check_profile(config: Config, *, run_folder: Path, ray_token_auth: bool | None) -> Profile:
    """The profile; raises ConfigInvalid with everything that it needs and does not have, one a line.

    `ray_token_auth` None where it is judged elsewhere: by whoever connects to a cluster that runs already.
    """
    faults = [*_tls_faults(config), *_trust_faults(config)]
    exposed = _exposed(config)
    if exposed:
        faults += [*_network_faults(config, ray_token_auth), *_private_faults(config, run_folder)]
    if faults:
        reason = f"{' and '.join(exposed)}: others reach that, so this gateway needs\n" if exposed else ""
        lines = "\n".join(f"  {fault}" for fault in faults)
        raise ConfigInvalid(
            f"{reason}{lines}\nNothing was started. On 127.0.0.1 (the default) none of it is needed but sound TLS files"
            if exposed
            else f"{lines}\nNothing was started."
        )
    return "network" if exposed else "local"


def listening_faults(config: Config, found: Iterable[Listening]) -> list[str]:
    """What the sockets of our processes say against the configuration: a port that is missing, or open too far."""
    sockets = list(found)
    faults = []
    for name, listener in (("http", config.server.http), ("grpc", config.server.grpc)):
        ours = [each for each in sockets if each.port == listener.port]
        if not ours:
            faults.append(f"server.{name}: nothing of this gateway listens on port {listener.port}")
        elif is_loopback(listener.host):
            open_too_far = sorted({each.host for each in ours if not each.loopback})
            faults += [
                f"server.{name}: port {listener.port} is configured for {listener.host} and listens on {host}"
                for host in open_too_far
            ]
    return faults


def _exposed(config: Config) -> list[str]:
    server = config.server
    listeners = (("http", server.http), ("grpc", server.grpc))
    return [f"server.{name}.host is {each.host}" for name, each in listeners if not is_loopback(each.host)]


def _network_faults(config: Config, ray_token_auth: bool | None) -> Iterator[str]:
    if config.server.tls is None:
        yield (
            "server.tls: cert_file and key_file, or `external: true` with the proxy's network in server.trusted, "
            "where a proxy of yours ends TLS"
        )
    if config.tenancy.auth != "required":
        yield f"tenancy.auth: `required`, given is `{config.tenancy.auth}`"
    if ray_token_auth is False:
        yield "Ray's token authentication: RAY_AUTH_MODE=token on every node of the cluster at ray.address"


def _trust_faults(config: Config) -> Iterator[str]:
    server = config.server
    if server.tls is not None and server.tls.external and not server.trusted:
        yield "server.trusted: the networks of the proxy that ends TLS, such as [10.0.0.0/8]; only they may connect"
    for network in server.trusted:
        if ip_network(network).prefixlen == 0:
            yield f"server.trusted: networks of your own proxies; {network} is everybody"


def _tls_faults(config: Config) -> Iterator[str]:
    tls = config.server.tls
    if tls is None or tls.cert_file is None or tls.key_file is None:
        return
    try:
        chain = x509.load_pem_x509_certificates(tls.cert_file.read_bytes())
    except (OSError, ValueError) as error:
        yield f"server.tls.cert_file: a readable PEM certificate; {tls.cert_file}: {_reason(error)}"
        return
    if (until := chain[0].not_valid_after_utc) < datetime.now(UTC):
        yield f"server.tls.cert_file: a valid certificate; {tls.cert_file} ended on {until:%Y-%m-%d}"
    try:
        key = load_pem_private_key(tls.key_file.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        yield f"server.tls.key_file: a readable PEM key without a password; {tls.key_file}: {_reason(error)}"
        return
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if key.public_key().public_bytes(*form) != chain[0].public_key().public_bytes(*form):
        yield f"server.tls: a key that belongs to the certificate; {tls.key_file} does not belong to {tls.cert_file}"
    if fault := _open_to_others(tls.key_file, KEY_PRIVATE):
        yield f"server.tls.key_file: {fault}"


def _private_faults(config: Config, run_folder: Path) -> Iterator[str]:
    pepper = pepper_path(config.ledger.path)
    for what, path, mask in (
        ("the pepper", pepper, PRIVATE),
        ("the ledger's folder", pepper.resolve().parent, OTHERS_WRITE),
        ("the run folder", run_folder, PRIVATE),
    ):
        if path.exists() and (fault := _open_to_others(path, mask)):
            yield f"{what}: {fault}"


def _open_to_others(path: Path, mask: int) -> str | None:
    """What is wrong with owner or mode; None where the file is ours and closed to others."""
    found = path.stat()
    if found.st_uid not in {os.getuid(), 0}:
        return f"a file of user {os.getuid()}; {path} belongs to user {found.st_uid}"
    mode = stat.S_IMODE(found.st_mode)
    shared_folder = stat.S_ISDIR(found.st_mode) and mode & stat.S_ISVTX and mask == OTHERS_WRITE
    if mode & mask and not shared_folder:
        return f"closed to others; {path} has mode {mode:03o}: run `chmod {mode & ~mask:o} {path}`"
    return None


def _reason(error: Exception) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error).partition(";")[0]
