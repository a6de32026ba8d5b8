"""`@record`: a dataclass that the type checker keeps frozen, at the price of one that is not.

Python freezes a dataclass by setting each field through `object.__setattr__`, 0.1 us and more per field: making the
records of one request took a twentieth of a gateway's time. So `frozen=True` is said to the type checker, which every
change passes, and not to the interpreter; records compare and hash by their fields as frozen ones do.
"""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass as record
else:

    def record(*, frozen: bool, eq: bool = True, **options: Any) -> Callable[[type], type]:
        """As `dataclasses.dataclass`, for records that are made for every request."""
        return dataclasses.dataclass(eq=eq, unsafe_hash=frozen and eq, **options)


__all__ = ["record"]
