"""Fixtures every test of this folder may ask for."""

from tests.support.sessions import carol, client, gateway

__all__ = ["carol", "client", "gateway"]
