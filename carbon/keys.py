"""API keys: `gs_<id:12>_<secret:52><check:7>` in lower-case Crockford base32; the id is public, the secret is not."""

import hashlib
import hmac
import zlib

from greenserve.errors import InvalidKey

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
ID_CHARS, SECRET_CHARS, CHECK_CHARS = 12, 52, 7
ID_BYTES, SECRET_BYTES = 8, 32
_LENGTH = len("gs_") + ID_CHARS + 1 + SECRET_CHARS + CHECK_CHARS


def mint(random_id: bytes, random_secret: bytes) -> tuple[str, str]:
    """(the key's text, its public id) from 8 and 32 random bytes; 60 bits of the former are used."""
    if len(random_id) != ID_BYTES or len(random_secret) != SECRET_BYTES:
        raise ValueError(f"needs 8 and 32 random bytes, got {len(random_id)} and {len(random_secret)}")
    key_id = _encode(int.from_bytes(random_id) >> 4, ID_CHARS)
    return key_text(key_id, random_secret), key_id


def key_text(key_id: str, secret: bytes) -> str:
    """The whole text of a key."""
    body = f"gs_{key_id}_{_encode(int.from_bytes(secret), SECRET_CHARS)}"
    return body + _encode(zlib.crc32(body.encode()), CHECK_CHARS)


def parse(text: str) -> tuple[str, bytes]:
    """(public id, secret) of a key's text; InvalidKey says what is wrong with it, and never repeats the secret."""
    if not text.startswith("gs_"):
        raise InvalidKey("the key does not start with gs_; send one made by `greenserve key create`")
    if len(text) != _LENGTH or text[3 + ID_CHARS] != "_":
        raise InvalidKey(f"a key has {_LENGTH} characters, gs_<id>_<secret>, this one has {len(text)}: copy it whole")
    body, check = text[:-CHECK_CHARS], text[-CHECK_CHARS:]
    if check != _encode(zlib.crc32(body.encode()), CHECK_CHARS):
        raise InvalidKey("the key's checksum does not fit: a character was changed or lost, copy it again")
    key_id, secret_text = body[3 : 3 + ID_CHARS], body[4 + ID_CHARS :]
    if not set(key_id + secret_text) <= set(ALPHABET):
        raise InvalidKey(f"the key holds characters other than {ALPHABET}: copy it again")
    number = _decode(secret_text)
    if number >> (8 * SECRET_BYTES):
        raise InvalidKey("the key's secret is longer than 256 bits: no such key was ever made")
    return key_id, number.to_bytes(SECRET_BYTES)


def hmac_of(pepper: bytes, secret: bytes) -> bytes:
    """HMAC-SHA-256 of the secret under the server's pepper: all that is stored of it (32 bytes)."""
    return hmac.new(pepper, secret, hashlib.sha256).digest()


def same_hmac(left: bytes, right: bytes) -> bool:
    """Whether two HMACs are equal, in a time that does not depend on where they differ."""
    return hmac.compare_digest(left, right)


def _encode(number: int, chars: int) -> str:
    return "".join(ALPHABET[number >> (5 * place) & 31] for place in reversed(range(chars)))


def _decode(text: str) -> int:
    number = 0
    for char in text:
        number = number << 5 | ALPHABET.index(char)
    return number
