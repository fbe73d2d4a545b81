"""Signing in on a device: what the provider is asked, how often, and what comes of it."""

import json

import httpx
import pytest

from gateway.config import Role
from tests.gateway.api.test_routes_people import recorded
from tests.gateway.management import Desk
from tests.support.oidc import OidcServer

BEGIN, FINISH = "/api/v1/device", "/api/v1/device/token"


async def begun(caller: httpx.AsyncClient) -> tuple[str, str]:
    """The secret and the code of a new sign-in."""
    answer = await caller.post(BEGIN)
    assert answer.status_code == 201, answer.text
    return answer.json()["device_code"], answer.json()["user_code"]


async def finished(caller: httpx.AsyncClient, secret: str) -> httpx.Response:
    return await caller.post(FINISH, json={"device_code": secret})


async def test_from_the_code_to_the_token(sso: Desk, provider: OidcServer) -> None:
    async with await sso.client() as device:
        answer = (await device.post(BEGIN)).json()
        assert (answer["expires_in"], answer["interval"]) == (300, 1)
        assert answer["verification_uri_complete"].endswith(answer["user_code"])
        secret = answer["device_code"]
        waiting = await finished(device, secret)
        assert (waiting.status_code, waiting.json()["type"]) == (
            400,
            "urn:holdgate:problem:authorization-pending",
        )
        assert waiting.headers["retry-after"] == "1"
        provider.say_yes(answer["user_code"], "zoe")
        sso.clock.ahead += 1
        made = (await finished(device, secret)).json()
        assert (made["user"], made["roles"], made["note"]) == (
            "zoe",
            ["approver", "viewer"],
            "holdgate login",
        )
        device.headers["Authorization"] = f"Bearer {made['secret']}"
        assert (await device.get("/api/v1/me")).json()["groups"] == ["dpo", "staff"]
        # The code is used up.
        again = await finished(device, secret)
        assert (again.status_code, again.json()["type"]) == (403, "urn:holdgate:problem:not-signed-in")
    assert ("signed in", "zoe", "device") in await recorded(sso)


async def test_the_token_is_theirs_and_dies_with_what_the_provider_said(
    sso: Desk, provider: OidcServer
) -> None:
    async with await sso.client() as device, await sso.client("root", Role.ADMIN) as root:
        secret, code = await begun(device)
        provider.say_yes(code, "zoe")
        made = (await finished(device, secret)).json()
        device.headers["Authorization"] = f"Bearer {made['secret']}"
        assert (await device.get("/api/v1/me")).status_code == 200
        await root.delete("/api/v1/people/zoe")
        assert (await device.get("/api/v1/me")).status_code == 401


async def test_signing_out_revokes_the_token_that_was_sent(sso: Desk, provider: OidcServer) -> None:
    async with await sso.client("vic") as machine:
        assert (await machine.post("/api/v1/logout")).status_code == 204
        assert (await machine.get("/api/v1/me")).status_code == 401
    (token,) = await sso.tokens.list()
    assert (await recorded(sso))[-1] == ("token revoked", "vic", f"token {token.id}")


async def test_the_provider_is_not_asked_more_often_than_it_wants(sso: Desk, provider: OidcServer) -> None:
    async with await sso.client() as device:
        secret, _ = await begun(device)
        for _ in range(5):
            assert (await finished(device, secret)).status_code == 400
        assert provider.requests["/token"] == 1
        sso.clock.ahead += 1
        provider.slow_down = True
        answer = await finished(device, secret)
        assert (answer.status_code, answer.headers["retry-after"]) == (400, "6")
        assert provider.requests["/token"] == 2


async def test_nor_for_codes_that_were_not_begun_here(sso: Desk, provider: OidcServer) -> None:
    async with await sso.client() as device:
        for secret in ("x", "ü", "\ud800", "x" * 4096):
            body = json.dumps({"device_code": secret})
            answer = await device.post(FINISH, content=body, headers={"Content-Type": "application/json"})
            assert answer.status_code in (403, 422)
    assert provider.requests["/token"] == 0


async def test_beginning_is_slowed_down(sso: Desk, provider: OidcServer) -> None:
    async with await sso.client() as device:
        statuses = [(await device.post(BEGIN)).status_code for _ in range(7)]
    assert statuses == [201] * 5 + [429] * 2


async def test_a_code_that_is_too_old(sso: Desk, provider: OidcServer) -> None:
    async with await sso.client() as device:
        secret, code = await begun(device)
        provider.say_yes(code, "zoe")
        sso.clock.ahead += 301
        assert (await finished(device, secret)).status_code == 403
    assert provider.requests["/token"] == 0


async def test_a_token_that_proves_nothing(sso: Desk, provider: OidcServer) -> None:
    provider.change = lambda claims: {**claims, "aud": "another"}
    async with await sso.client() as device:
        secret, code = await begun(device)
        provider.say_yes(code, "zoe")
        answer = await finished(device, secret)
    assert answer.status_code == 403
    assert "it is for somebody else (aud)" in answer.json()["detail"]
    assert await sso.tokens.list() == []
    assert (await recorded(sso))[-1][0] == "sign-in failed"


@pytest.mark.parametrize(
    ("changes", "status", "why"),
    [
        ({"device_code": None}, 503, "the provider gave no device_code"),
        ({"user_code": "A\x1b[2J"}, 503, "the provider gave no user_code"),
        ({"verification_uri": "http://evil.example/"}, 503, "is not an https address"),
        ({"verification_uri": "javascript:alert(1)"}, 503, "is not an https address"),
        ({"verification_uri_complete": "https://[x"}, 503, "is not an https address"),
        ({"verification_uri_complete": None}, 201, ""),
        ({"interval": None, "expires_in": "soon"}, 201, ""),
        ({"interval": 0, "expires_in": True}, 201, ""),
        ({"interval": float("1e9"), "expires_in": 1e12}, 201, ""),
    ],
)
async def test_what_a_provider_may_answer(
    sso: Desk, provider: OidcServer, changes: dict[str, object], status: int, why: str
) -> None:
    provider.device_answer.update(changes)
    async with await sso.client() as device:
        answer = await device.post(BEGIN)
    assert answer.status_code == status
    assert why in answer.json().get("detail", "")
    if status == 201:
        assert 1 <= answer.json()["interval"] <= 60
        assert 1 <= answer.json()["expires_in"] <= 1800


async def test_a_provider_without_device_flow_and_one_that_refuses(sso: Desk, provider: OidcServer) -> None:
    async with await sso.client() as device:
        provider.public_client = True
        answer = await device.post(BEGIN)
        assert (answer.status_code, answer.json()["detail"]) == (
            403,
            "Not signed in: the provider refused: invalid_client.",
        )
        sso.clock.ahead += 3601
        del provider.offered["device_authorization_endpoint"]
        answer = await device.post(BEGIN)
        assert "offers no codes for devices" in answer.json()["detail"]
        sso.clock.ahead += 3601
        provider.broken.add("/.well-known/openid-configuration")
        assert (await device.post(BEGIN)).json()["type"] == "urn:holdgate:problem:provider-unavailable"
