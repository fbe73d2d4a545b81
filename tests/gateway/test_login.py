"""What the login keeps and tells; the conversations themselves are in test_upstream."""

import socket

import pytest

import gateway.login
from gateway.config import Database
from gateway.dial import Endpoint
from gateway.link import Link
from gateway.login import KeyCache, UpstreamRefused, UpstreamSession, UpstreamUnavailable
from protocol.errors import ServerError
from protocol.messages import decode_report, error_response, message
from protocol.scram import ScramKeys, derive_keys

DATABASE = Database("db.internal", 5433)


async def test_derived_keys_are_kept_up_to_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    derived: list[str] = []

    def watched(password: str, salt: bytes, iterations: int) -> ScramKeys:
        derived.append(password)
        return derive_keys(password, salt, iterations)

    monkeypatch.setattr(gateway.login, "derive_keys", watched)
    monkeypatch.setattr(gateway.login, "_CACHED_KEYS", 2)
    cache = KeyCache()
    for password in ("a", "b", "a", "c", "a", "b"):
        assert await cache.keys(password, b"salt", 1) == derive_keys(password, b"salt", 1)
    # "b" was the one used longest ago when "c" came.
    assert derived == ["a", "b", "c", "b"]


async def test_keys_differ_by_salt_and_iterations() -> None:
    cache = KeyCache()
    keys = {
        (await cache.keys("x", salt, iterations)).client_key
        for salt in (b"one", b"two")
        for iterations in (1, 2)
    }
    assert len(keys) == 4


def test_refusal_is_told_unchanged_and_logged_with_its_place() -> None:
    raw = error_response(ServerError("53300", "too many clients", detail="why", severity="FATAL"))
    refused = UpstreamRefused(raw[5:], DATABASE)
    assert refused.encoded() == raw
    assert refused.log == "database server db.internal, port 5433 refused: too many clients"


@pytest.mark.parametrize(
    ("kind", "sqlstate"),
    [("connect", "08001"), ("tls", "08001"), ("login", "08006"), ("protocol", "08006"), ("timeout", "08006")],
)
def test_unavailable_names_the_server_to_the_operator_only(kind: gateway.login.Kind, sqlstate: str) -> None:
    error = UpstreamUnavailable(kind, DATABASE, "because", message="it failed")
    assert error.log == "database server db.internal, port 5433: because"
    assert decode_report(error.encoded()[5:]) == {"S": "FATAL", "V": "FATAL", "C": sqlstate, "M": "it failed"}


def test_greeting_without_a_key_from_the_server() -> None:
    session = UpstreamSession(Link(), Endpoint("db", socket.AF_UNIX, "/s"), 0, [(ord("Z"), b"I")])
    assert session.greeting(b"ours") == message(ord("Z"), b"I")
