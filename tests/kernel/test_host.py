"""What a measurement depends on, and its fingerprint."""

import pytest

from greenserve.host import describe_host, fingerprint


def test_this_machine_is_described() -> None:
    """Processor, cores, memory, runtime: enough to know on what a figure was measured."""
    host = describe_host()

    assert host["cpu"]
    assert isinstance(host["cores"], int)
    assert host["cores"] >= 1
    assert isinstance(host["memory_bytes"], int)
    assert host["memory_bytes"] > 2**28
    assert host["onnxruntime"] is not None
    assert describe_host()["fingerprint"] == host["fingerprint"] == fingerprint(host)


@pytest.mark.parametrize(("member", "value"), [("cpu", "another"), ("cores", 999), ("onnxruntime", "0.1")])
def test_what_matters_changes_the_fingerprint(member: str, value: object) -> None:
    """A profile of another machine or runtime is a prior, not a measurement."""
    host = describe_host()

    assert host["fingerprint"] != fingerprint(host | {member: value})


def test_some_pages_of_memory_do_not_matter() -> None:
    """The kernel's reserve differs from boot to boot: whole GiB count."""
    host = describe_host() | {"memory_bytes": 8 * 2**30 + 5}

    assert fingerprint(host) == fingerprint(host | {"memory_bytes": 8 * 2**30 + 4096})
    assert fingerprint(host) != fingerprint(host | {"memory_bytes": 9 * 2**30})
