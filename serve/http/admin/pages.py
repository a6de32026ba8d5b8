"""Pages of a list: a bound, and a cursor that says where the next one starts, whatever was added meanwhile."""

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Annotated, Generic, TypeVar

import orjson
from fastapi import Query
from pydantic import BaseModel

from greenserve.errors import InvalidRequest

MOST = 200
Limit = Annotated[int, Query(ge=1, le=MOST, description="How many at most.")]
Cursor = Annotated[str | None, Query(max_length=1000, description="`next_cursor` of the page before.")]
Key = tuple[str | int, ...]
T = TypeVar("T")
Shown = TypeVar("Shown", bound=BaseModel)
_INTEGERS = range(-(2**63), 2**63)


class Page(BaseModel, Generic[Shown]):
    """A part of a list; `next_cursor` is null on the last one."""

    items: list[Shown]
    next_cursor: str | None


def after_of(cursor: str | None, name: str, kinds: Sequence[type]) -> Key | None:
    """The key behind which a page starts, its members of `kinds`; InvalidRequest for what is no cursor of this list."""
    if cursor is None:
        return None
    try:
        found = orjson.loads(base64.b64decode(cursor.encode("ascii"), altchars=b"-_", validate=True))
    except (orjson.JSONDecodeError, binascii.Error, UnicodeEncodeError):
        found = None
    is_list = isinstance(found, list) and len(found) == len(kinds) + 1 and found[0] == name
    if not is_list or any(
        type(value) is not kind or (kind is int and value not in _INTEGERS)
        for value, kind in zip(found[1:], kinds, strict=True)
    ):
        raise InvalidRequest(
            f"cursor {cursor!r:.60} is none of this list with this grouping; give `next_cursor` of the page before, "
            "or leave it out"
        )
    return tuple(found[1:])


def cursor_of(name: str, key: Key) -> str:
    """The cursor of what follows `key`."""
    return base64.urlsafe_b64encode(orjson.dumps([name, *key])).decode()


def cut(
    items: Sequence[T], *, key: Callable[[T], Key], after: Key | None, limit: int, name: str
) -> tuple[list[T], str | None]:
    """(the page, its next cursor) of a list in order of `key`."""
    left = [item for item in items if after is None or key(item) > after]
    return cut_of(left[: limit + 1], key=key, limit=limit, name=name)


def cut_of(found: Sequence[T], *, key: Callable[[T], Key], limit: int, name: str) -> tuple[list[T], str | None]:
    """(the page, its next cursor) of what was found, up to one more than the limit."""
    page = list(found[:limit])
    return page, cursor_of(name, key(page[-1])) if len(found) > limit else None
