"""Bytes to protobuf messages, with words of refusal for what can't be read. Pure."""

from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from greenserve.errors import BodyTooLarge, InvalidRequest

Kind = TypeVar("Kind", bound=Message)


def parsed(kind: type[Kind], raw: bytes, *, most_bytes: int) -> Kind:
    """The message in `raw`; raises InvalidRequest where there is none, BodyTooLarge over `most_bytes` [bytes]."""
    if len(raw) > most_bytes:
        raise BodyTooLarge(f"the message has {len(raw):,} bytes; up to {most_bytes:,} are allowed")
    try:
        return kind.FromString(raw)
    except DecodeError:
        raise InvalidRequest(
            f"the message is no {kind.DESCRIPTOR.name}: broken protobuf, or text that is not UTF-8"
        ) from None
