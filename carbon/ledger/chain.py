"""The hash chain of ledger formats 1 and 2: what heads that were kept from them are compared with."""

import hashlib

GENESIS = bytes(32)
"""What the first row's hash is bound to."""


def link(previous: bytes, body: bytes) -> bytes:
    """SHA-256(previous chain hash || SHA-256(body)): changing any earlier byte changes every later hash."""
    return hashlib.sha256(previous + hashlib.sha256(body).digest()).digest()
