"""Listening sockets: every address of a name, and one socket for each worker."""

import socket
from contextlib import closing

import pytest

from gateway.sockets import ListenerError, listen_on, listening_sockets


def test_a_family_that_the_machine_lacks_is_left_out() -> None:
    # 192.0.2.0/24 is for documentation: no machine has it.
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    opened = listen_on([(socket.AF_INET, ("192.0.2.1", port)), (socket.AF_INET, ("127.0.0.1", port))])
    assert [sock.getsockname()[0] for sock in opened] == ["127.0.0.1"]
    for sock in opened:
        sock.close()
    with pytest.raises(OSError, match="Cannot assign requested address"):
        listen_on([(socket.AF_INET, ("192.0.2.1", 0))])


def test_a_port_that_is_taken_on_one_address_is_taken() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match="Address already in use"):
            listen_on([(socket.AF_INET, ("127.0.0.2", port)), (socket.AF_INET, ("127.0.0.1", port))])
        # The first one was let go again.
        with closing(socket.create_server(("127.0.0.2", port))):
            pass


async def test_workers_share_a_port_and_nobody_else_does() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    shared = await listening_sockets("127.0.0.1", port, workers=3)
    assert [[sock.getsockname() for sock in some] for some in shared] == [[("127.0.0.1", port)]] * 3
    for workers in (None, 2):
        with pytest.raises(ListenerError, match="the port is taken"):
            await listening_sockets("127.0.0.1", port, workers)
    for (sock,) in shared:
        sock.close()


async def test_a_port_that_somebody_has_is_not_shared_with_workers() -> None:
    with (
        closing(socket.create_server(("127.0.0.1", 0))) as taken,
        pytest.raises(ListenerError, match="stop what listens there"),
    ):
        await listening_sockets("127.0.0.1", taken.getsockname()[1], workers=2)


async def test_any_free_port_is_the_same_for_all_workers() -> None:
    shared = await listening_sockets("localhost", 0, workers=3)
    ports = {sock.getsockname()[1] for some in shared for sock in some}
    assert len(ports) == 1
    for some in shared:
        for sock in some:
            sock.close()
