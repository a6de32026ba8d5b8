"""The documents about server and models as messages: the JSON forms have the fields' names. Pure."""

from collections.abc import Mapping
from typing import TypeVar

from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message

Kind = TypeVar("Kind", bound=Message)


def message_of(document: Mapping[str, object], kind: type[Kind]) -> Kind:
    """The message of a document; members that the protocol doesn't have are left out."""
    return ParseDict(dict(document), kind(), ignore_unknown_fields=True)
