"""Who may do what: the table, asked over HTTP of every route for every role."""

import itertools
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyotp
import pytest

from gateway.api.access import ACCESS, PUBLIC, allowed
from gateway.config import Role
from gateway.store import Decision, HoldState, Note, PersonRecord
from tests.gateway.management import Desk, SessionValue, management
from tests.gateway.store.test_grants import grant
from tests.support.passkey import SoftKey

ANYBODY = "anybody"
WHO = {
    ("GET", "/healthz"): ANYBODY,
    ("GET", "/readyz"): ANYBODY,
    ("GET", "/openapi.json"): ANYBODY,
    ("GET", "/api/v1/login"): ANYBODY,
    ("POST", "/api/v1/login"): ANYBODY,
    ("POST", "/api/v1/device"): ANYBODY,
    ("POST", "/api/v1/device/token"): ANYBODY,
    ("GET", "/oidc/login"): ANYBODY,
    ("GET", "/oidc/callback"): ANYBODY,
    ("GET", "/login"): ANYBODY,
    ("POST", "/login"): ANYBODY,
    ("GET", "/"): ANYBODY,
    ("GET", "/holds/{hold_id}"): ANYBODY,
    ("GET", "/confirm/{hold_id}"): ANYBODY,
    ("POST", "/confirm/{hold_id}"): ANYBODY,
    ("GET", "/console/{name}"): ANYBODY,
    ("GET", "/metrics"): "viewer approver auditor admin",
    ("GET", "/api/v1/me"): "viewer approver auditor admin",
    ("POST", "/api/v1/logout"): "viewer approver auditor admin",
    ("GET", "/api/v1/holds"): "viewer approver auditor admin",
    ("GET", "/api/v1/holds/{hold_id}"): "viewer approver auditor admin",
    ("POST", "/api/v1/holds/{hold_id}/approve"): "approver",
    ("POST", "/api/v1/holds/{hold_id}/reject"): "approver",
    ("POST", "/api/v1/holds/{hold_id}/review"): "approver",
    ("POST", "/api/v1/holds/{hold_id}/confirm"): "viewer approver auditor admin",
    ("POST", "/api/v1/holds/{hold_id}/confirm/passkey"): "viewer approver auditor admin",
    ("GET", "/api/v1/reviews"): "viewer approver auditor admin",
    ("GET", "/api/v1/queue"): "viewer approver auditor admin",
    ("GET", "/api/v1/grants"): "viewer approver auditor admin",
    ("POST", "/api/v1/grants/{grant_id}/revoke"): "approver admin",
    ("GET", "/api/v1/sessions"): "viewer approver auditor admin",
    ("DELETE", "/api/v1/sessions/{session_id}"): "admin",
    ("GET", "/api/v1/audit"): "auditor admin",
    ("POST", "/api/v1/check"): "viewer approver auditor admin",
    ("GET", "/api/v1/events"): "viewer approver auditor admin",
    ("GET", "/api/v1/tokens"): "admin",
    ("POST", "/api/v1/tokens"): "admin",
    ("DELETE", "/api/v1/tokens/{token_id}"): "admin",
    ("GET", "/api/v1/me/totp"): "viewer approver auditor admin",
    ("POST", "/api/v1/me/totp"): "viewer approver auditor admin",
    ("POST", "/api/v1/me/totp/confirm"): "viewer approver auditor admin",
    ("POST", "/api/v1/me/totp/remove"): "viewer approver auditor admin",
    ("DELETE", "/api/v1/people/{person}/totp"): "admin",
    ("GET", "/api/v1/me/passkeys"): "viewer approver auditor admin",
    ("POST", "/api/v1/me/passkeys"): "viewer approver auditor admin",
    ("POST", "/api/v1/me/passkeys/options"): "viewer approver auditor admin",
    ("POST", "/api/v1/me/passkeys/proof"): "viewer approver auditor admin",
    ("POST", "/api/v1/me/passkeys/{passkey}/remove"): "viewer approver auditor admin",
    ("DELETE", "/api/v1/people/{person}/passkeys"): "admin",
    ("POST", "/api/v1/holds/{hold_id}/passkey"): "approver",
    ("GET", "/api/v1/notifications"): "auditor admin",
    ("POST", "/api/v1/notifications/{message_id}/retry"): "admin",
    ("GET", "/api/v1/people"): "admin",
    ("DELETE", "/api/v1/people/{person}"): "admin",
}
"""Written out once more, so that a change of the table is a change of two places."""

GUARDED = {key: set(roles.split()) for key, roles in WHO.items() if roles != ANYBODY}
BODIES: dict[tuple[str, str], dict[str, Any]] = {
    ("POST", "/api/v1/holds/{hold_id}/approve"): {"reason": "as asked"},
    ("POST", "/api/v1/holds/{hold_id}/reject"): {"reason": "no ticket"},
    ("POST", "/api/v1/holds/{hold_id}/review"): {"note": "seen"},
    ("POST", "/api/v1/check"): {"sql": "SELECT 1"},
    ("POST", "/api/v1/device/token"): {"device_code": "x"},
    ("POST", "/api/v1/tokens"): {"user": "grafana", "roles": ["viewer"]},
}
USER = {Role.VIEWER: "vic", Role.APPROVER: "dave", Role.AUDITOR: "olga", Role.ADMIN: "root"}


def test_the_table_is_what_is_written_here() -> None:
    assert {key: {str(role) for role in roles} for key, roles in ACCESS.items()} == GUARDED
    assert {key for key, roles in WHO.items() if roles == ANYBODY} == PUBLIC


def test_what_is_not_in_the_table_is_closed() -> None:
    assert not allowed("GET", "/nowhere", frozenset(Role))
    assert not allowed("PUT", "/api/v1/holds", frozenset(Role))
    assert not allowed("GET", "/api/v1/holds", frozenset())


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    """A management port that can keep secrets."""
    admin = {"public_url": "http://localhost:7433"}
    async with management(
        tmp_path, admin=admin, store={"key": "0123456789abcdef0123456789abcdef"}
    ) as running:
        yield running


async def authenticator(desk: Desk, path: str, user: str) -> dict[str, Any] | None:
    """What a request about an authenticator needs: one in the right state, and a code of it."""
    owner = "zoe" if "{person}" in path else user
    await desk.totp.remove(owner)
    if path == "/api/v1/me/totp":
        return None
    secret, _ = await desk.totp.begin(owner)
    one_time, step = pyotp.TOTP(secret), int(desk.clock.now().timestamp()) // 30
    if path.endswith("/confirm"):
        return {"code": one_time.generate_otp(step)}
    await desk.totp.confirm(owner, one_time.generate_otp(step))
    return {"code": one_time.generate_otp(step + 1)}


async def passkey(desk: Desk, path: str, user: str) -> tuple[str, dict[str, Any] | None]:
    """What a request about passkeys needs: one where there has to be one, and something new or signed."""
    key, owner = SoftKey("http://localhost:7433"), "zoe" if "{person}" in path else user
    for one in await desk.passkeys.list(owner):
        await desk.passkeys.remove(owner, one.id)
    made = key.make(await desk.passkeys.begin(owner))
    if path == "/api/v1/me/passkeys":
        return "", {"label": "telephone", "credential": made}
    await desk.passkeys.finish(owner, "telephone", made)
    if path.endswith("/remove"):
        return key.id, {"passkey": key.sign(await desk.passkeys.change_options(owner))}
    return "", None


async def dead_message(desk: Desk) -> str:
    """The id of a message that was given up."""
    desk.store.announce_by(lambda change, hold: [Note("chat", "asked")])
    await desk.open()
    (message,) = await desk.store.claim_messages("chat", limit=1, lease=60)
    await desk.store.message_failed(message, "HTTP 500", retry=None)
    return message.id


async def granted(desk: Desk) -> str:
    """The id of a grant that is in force."""
    hold = await desk.open()
    one = replace(grant(), id="G-" + hold.id[2:], hold_id=hold.id)
    approval = Decision("carol", "approve", "", desk.clock.now(), "api")
    assert await desk.store.decide_hold(hold.id, approval, HoldState.APPROVED, grant=one)
    return one.id


async def ask(desk: Desk, key: tuple[str, str], user: str | None, *roles: Role) -> int:
    """The status of a request that is in order but for who sends it."""
    method, path = key
    hold = await desk.open(
        breaks_glass=path.endswith("/review"),
        **({"user": user or "nobody", "confirm": "second-factor"} if "/confirm" in path else {}),
    )
    desk.sessions.sessions["S-1"] = SessionValue("S-1")
    token, _ = await desk.tokens.issue("grafana", {Role.VIEWER})
    now = desk.clock.now()
    await desk.store.keep_person(PersonRecord("zoe", "https://login.example", "7", "zoe", (), now, now))
    address = path.format(
        hold_id=hold.id,
        session_id="S-1",
        message_id=await dead_message(desk) if "{message_id}" in path else "",
        grant_id=await granted(desk) if "{grant_id}" in path else "",
        token_id=token.id,
        name="console.css",
        person="zoe",
        passkey="{passkey}",
    )
    body = BODIES.get(key)
    key_id = ""
    if path == "/api/v1/holds/{hold_id}/confirm":
        code = await authenticator(desk, "", user or "nobody")
        body = {"totp": code and code["code"]}
    elif "totp" in path:
        body = await authenticator(desk, path, user or "nobody")
    elif "passkey" in path:
        key_id, body = await passkey(desk, path, user or "nobody")
    async with (
        await desk.client(user, *roles) as client,
        client.stream(method, address.replace("{passkey}", key_id), json=body) as answer,
    ):
        if answer.status_code >= 400:
            await answer.aread()
            if key[1].startswith("/api/"):
                assert answer.headers["content-type"] == "application/problem+json"
        return answer.status_code


@pytest.mark.parametrize("key", GUARDED, ids=" ".join)
async def test_each_role_may_what_the_table_says(desk: Desk, key: tuple[str, str]) -> None:
    for role, user in USER.items():
        status = await ask(desk, key, user, role)
        if str(role) in GUARDED[key]:
            assert status < 300, (role, status)
        else:
            assert status == 403, (role, status)


@pytest.mark.parametrize("key", GUARDED, ids=" ".join)
async def test_nobody_may_anything(desk: Desk, key: tuple[str, str]) -> None:
    assert await ask(desk, key, None) == 401
    path = key[1].format(
        hold_id="x", session_id="x", token_id="x", person="x", passkey="x", message_id="x", grant_id="x"
    )
    async with await desk.client() as client:
        for header in (b"Bearer", b"Bearer hg_x", b"Basic cm9vdDpyb290", b"hg_x", b"Bearer \x80"):
            answer = await client.request(key[0], path, headers={b"authorization": header})
            assert answer.status_code == 401
            assert answer.json()["type"] == "urn:holdgate:problem:not-signed-in"
            assert answer.headers["www-authenticate"] == 'Bearer realm="holdgate"'


@pytest.mark.parametrize("key", sorted(PUBLIC), ids=" ".join)
async def test_anybody_may_what_is_public(desk: Desk, key: tuple[str, str]) -> None:
    status = await ask(desk, key, None)
    # Signing in needs more than an address.
    not_signed_in = {
        ("POST", "/api/v1/login"): 422,
        ("POST", "/login"): 403,
        ("GET", "/confirm/{hold_id}"): 403,
        ("POST", "/confirm/{hold_id}"): 403,
        ("GET", "/login"): 303,
        ("POST", "/api/v1/device"): 403,
        ("POST", "/api/v1/device/token"): 403,
        ("GET", "/oidc/login"): 403,
        ("GET", "/oidc/callback"): 403,
    }
    assert status == not_signed_in.get(key, 200)


@pytest.mark.parametrize("key", GUARDED, ids=" ".join)
async def test_every_other_method_is_refused(desk: Desk, key: tuple[str, str]) -> None:
    path = key[1].format(
        hold_id="H-" + "0" * 26,
        session_id="S-1",
        token_id="T-1",
        person="zoe",
        passkey="x",
        message_id="x",
        grant_id="x",
    )
    known = {method for method, other in (*ACCESS, *PUBLIC) if other == key[1]}
    async with await desk.client("root", *Role) as client:
        for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"} - known:
            answer = await client.request(method, path)
            assert answer.status_code == 405
            assert answer.json()["detail"] == "This address does not answer to this method."


async def test_a_role_gives_no_other_ones_powers(desk: Desk) -> None:
    """Every combination without approver cannot decide; every one without admin cannot make tokens."""
    for size in range(1, 4):
        for roles in itertools.combinations(Role, size):
            if Role.APPROVER not in roles:
                assert await ask(desk, ("POST", "/api/v1/holds/{hold_id}/approve"), "machine", *roles) == 403
            if Role.ADMIN not in roles:
                assert await ask(desk, ("POST", "/api/v1/tokens"), "machine", *roles) == 403
