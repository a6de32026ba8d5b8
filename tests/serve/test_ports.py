"""Who listens on a port."""

import os
import socket

import pytest

from greenserve.serve.ports import holder_of, is_free, reuse_port_socket

HOST = "127.0.0.1"


def test_a_port_is_taken_while_somebody_listens() -> None:
    """And the process is named, this one."""
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        listener.listen()
        port = listener.getsockname()[1]

        taken, holder = not is_free(HOST, port), holder_of(port)

    assert taken
    assert holder.startswith(f"pid {os.getpid()} (")
    assert is_free(HOST, port)


def test_replicas_share_a_port_and_still_hold_it() -> None:
    """Two sockets listen on the same port, which is not free for anybody else until both are gone."""
    with reuse_port_socket(HOST, 0) as first:
        port = first.getsockname()[1]
        with reuse_port_socket(HOST, port) as second:
            assert (False, False) == (is_free(HOST, port), second.getblocking())
        assert not is_free(HOST, port)

    assert is_free(HOST, port)


def test_a_shared_port_is_not_taken_without_the_others_consent() -> None:
    """A listener that does not share keeps its port."""
    with socket.socket() as foreign:
        foreign.bind((HOST, 0))
        foreign.listen()

        with pytest.raises(OSError, match="in use"):
            reuse_port_socket(HOST, foreign.getsockname()[1])


def test_nobody_is_nobody() -> None:
    """A port without a listener has no process to name."""
    with socket.socket() as bound:
        bound.bind((HOST, 0))

        assert "a process of another user" == holder_of(bound.getsockname()[1])
