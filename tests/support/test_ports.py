"""Ports for tests."""

import socket
from contextlib import closing

import pytest

from tests.support.ports import free_port


def test_they_are_below_those_of_outgoing_connections_and_not_given_again_soon() -> None:
    given = [free_port() for _ in range(500)]
    assert len(set(given)) == len(given)
    assert max(given) < 32_768


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_one_that_is_taken_is_passed_over(address: str) -> None:
    taken = free_port(address) + 1
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with closing(socket.socket(family)) as server:
        server.bind((address, taken))
        server.listen()
        assert free_port(address) != taken
