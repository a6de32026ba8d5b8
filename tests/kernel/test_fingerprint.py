"""The fingerprint of a host, member by member."""

from typing import Any

import pytest

from greenserve.host import describe_host, fingerprint

OTHERS: dict[str, Any] = {
    "cpu": "another", "cores": 999, "isa": ["sse"], "memory_bytes": 2**50, "virtualised": None, "gpu": "a GPU",
    "os": "another", "onnxruntime": None,
}  # fmt: skip


def test_every_member_of_the_description_is_compared() -> None:
    """A member that is added to the description is added to the table below."""
    assert {*OTHERS, "fingerprint"} == set(describe_host())


@pytest.mark.parametrize("member", OTHERS)
def test_another_value_is_another_host(member: str) -> None:
    """A profile that was measured elsewhere is never taken for one of this machine."""
    host = describe_host()

    assert host["fingerprint"] != fingerprint(host | {member: OTHERS[member]})
