"""Authenticators over HTTP, and approvals that ask for their codes."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pyotp
import pytest

from gateway.config import Role
from rules import Stage
from tests.gateway.api.test_routes_people import recorded
from tests.gateway.audit.samples import records
from tests.gateway.management import Desk, management

KEY = "0123456789abcdef0123456789abcdef"
ASKS = (Stage(("dpo",), step_up=("totp",)),)
TOTP = "/api/v1/me/totp"


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with management(tmp_path, store={"key": KEY}) as running:
        # In the middle of a step, so that a code does not change while a test looks.
        running.clock.ahead = 15 - running.clock.now().timestamp() % 30
        yield running


def code(desk: Desk, secret: str) -> str:
    return pyotp.TOTP(secret).at(desk.clock.now())


async def enrol(desk: Desk, caller: httpx.AsyncClient) -> str:
    """Set up an authenticator; afterwards the next code is fresh."""
    made = await caller.post(TOTP)
    assert made.status_code == 201
    secret = str(made.json()["secret"])
    assert (await caller.post(f"{TOTP}/confirm", json={"code": code(desk, secret)})).status_code == 204
    desk.clock.ahead += 90
    return secret


async def approve(desk: Desk, caller: httpx.AsyncClient, hold_id: str, **body: Any) -> httpx.Response:
    return await caller.post(f"/api/v1/holds/{hold_id}/approve", json=body)


class TestApproving:
    async def test_what_is_missing_is_said(self, desk: Desk) -> None:
        hold = await desk.open(stages=ASKS)
        async with await desk.client("carol", Role.APPROVER) as carol:
            answer = await approve(desk, carol, hold.id)
            assert answer.status_code == 403
            assert answer.json() == {
                "type": "urn:holdgate:problem:step-up-required",
                "title": "Forbidden",
                "status": 403,
                "detail": "This takes a proof that it is you: a code of your authenticator (totp).",
                "step_up": ["totp"],
            }
            answer = await approve(desk, carol, hold.id, totp="123456")
            assert (answer.status_code, answer.json()["type"]) == (403, "urn:holdgate:problem:not-enrolled")
        assert (await desk.holds.get(hold.id)).state == "pending"

    @pytest.mark.parametrize("way", ["console", "api"])
    async def test_with_a_code_it_is_approved_and_the_record_says_how(self, desk: Desk, way: str) -> None:
        hold = await desk.open(stages=ASKS)
        async with (
            await desk.browser("carol") if way == "console" else await desk.client("carol", Role.APPROVER)
        ) as carol:
            secret = await enrol(desk, carol)
            answer = await approve(desk, carol, hold.id, totp=code(desk, secret))
            assert answer.status_code == 200
            (decision,) = answer.json()["decisions"]
            assert (decision["who"], decision["how"], decision["step_up"]) == ("carol", way, "totp")
            assert answer.json()["stages"][0]["step_up"] == ["totp"]
        await recorded(desk)
        content = desk.config.audit.file.read_text()
        (record,) = [one for one in records(desk.config.audit.file) if one["kind"] == "decision"]
        assert record["details"]["step_up"] == "totp"
        assert secret not in content

    async def test_a_code_is_good_once_for_one_hold(self, desk: Desk) -> None:
        first, second = await desk.open(stages=ASKS), await desk.open(stages=ASKS)
        async with await desk.client("carol", Role.APPROVER) as carol:
            secret = await enrol(desk, carol)
            used = code(desk, secret)
            answers = await asyncio.gather(
                *(approve(desk, carol, hold.id, totp=used) for hold in (first, second))
            )
            assert sorted(answer.status_code for answer in answers) == [200, 403]
            (refused,) = [answer.json() for answer in answers if answer.status_code == 403]
            assert refused["type"] == "urn:holdgate:problem:step-up-failed"
            assert refused["detail"] == "Not proven: the code was used before; wait for the next one."
        states = {(await desk.holds.get(hold.id)).state for hold in (first, second)}
        assert states == {"approved", "pending"}
        assert any(tag == "step-up failed" for tag, *_ in await recorded(desk))

    async def test_guessing_is_slowed_down_from_wherever(self, desk: Desk) -> None:
        hold = await desk.open(stages=ASKS)
        async with (
            await desk.client("carol", Role.APPROVER) as one,
            await desk.browser("carol") as other,
        ):
            secret = await enrol(desk, one)
            statuses = [
                (await approve(desk, caller, hold.id, totp="x")).status_code
                for _ in range(4)
                for caller in (one, other)
            ]
            assert statuses == [403] * 5 + [429] * 3
            answer = await approve(desk, one, hold.id, totp=code(desk, secret))
            assert (answer.status_code, answer.json()["type"]) == (
                429,
                "urn:holdgate:problem:too-many-attempts",
            )
            assert answer.headers["retry-after"] == "1"
        assert (await desk.holds.get(hold.id)).state == "pending"

    async def test_a_code_is_not_used_up_by_whoever_may_not_decide(self, desk: Desk) -> None:
        own, hold = await desk.open(stages=ASKS, user="carol"), await desk.open(stages=ASKS)
        async with await desk.client("carol", Role.APPROVER) as carol:
            secret = await enrol(desk, carol)
            used = code(desk, secret)
            refused = await approve(desk, carol, own.id, totp=used)
            assert refused.json()["type"] == "urn:holdgate:problem:decision-not-allowed"
            assert (await approve(desk, carol, hold.id, totp=used)).status_code == 200
            # Nor when it is decided already.
            desk.clock.ahead += 90
            again = await approve(desk, carol, hold.id, totp=code(desk, secret))
            assert again.status_code == 409

    async def test_somebody_elses_code(self, desk: Desk) -> None:
        hold = await desk.open(stages=ASKS)
        async with (
            await desk.client("carol", Role.APPROVER) as carol,
            await desk.client("dave", Role.APPROVER) as dave,
        ):
            secret = await enrol(desk, carol)
            await enrol(desk, dave)
            assert (await approve(desk, dave, hold.id, totp=code(desk, secret))).status_code == 403

    async def test_rejecting_takes_none(self, desk: Desk) -> None:
        hold = await desk.open(stages=ASKS)
        async with await desk.client("carol", Role.APPROVER) as carol:
            answer = await carol.post(f"/api/v1/holds/{hold.id}/reject", json={"reason": "no"})
        assert answer.json()["decisions"][0]["step_up"] is None

    async def test_each_stage_asks_for_itself(self, desk: Desk) -> None:
        hold = await desk.open(stages=(Stage(("dpo",)), Stage(("dpo",), step_up=("totp",))))
        async with (
            await desk.client("carol", Role.APPROVER) as carol,
            await desk.client("dave", Role.APPROVER) as dave,
        ):
            assert (await approve(desk, carol, hold.id)).json()["state"] == "pending"
            assert (await approve(desk, dave, hold.id)).status_code == 403
            secret = await enrol(desk, dave)
            answer = (await approve(desk, dave, hold.id, totp=code(desk, secret))).json()
        assert answer["state"] == "approved"
        assert [one["step_up"] for one in answer["decisions"]] == [None, "totp"]

    async def test_a_proof_that_nobody_asked_for_is_not_used_up(self, desk: Desk) -> None:
        plain, asks = await desk.open(), await desk.open(stages=ASKS)
        async with await desk.client("carol", Role.APPROVER) as carol:
            secret = await enrol(desk, carol)
            used = code(desk, secret)
            first = await approve(desk, carol, plain.id, totp=used)
            assert first.json()["decisions"][0]["step_up"] is None
            assert (await approve(desk, carol, asks.id, totp=used)).status_code == 200


class TestAuthenticators:
    async def test_one_is_set_up_and_removed_with_its_codes(self, desk: Desk) -> None:
        async with await desk.client("carol") as carol:
            assert (await carol.get(TOTP)).json() == {"enrolled": False}
            secret = await enrol(desk, carol)
            assert (await carol.get(TOTP)).json() == {"enrolled": True}
            again = await carol.post(TOTP)
            assert (again.status_code, again.json()["type"]) == (409, "urn:holdgate:problem:enrolled")
            confirmed = await carol.post(f"{TOTP}/confirm", json={"code": code(desk, secret)})
            assert confirmed.status_code == 409
            wrong = await carol.post(f"{TOTP}/remove", json={"code": "x"})
            assert (wrong.status_code, wrong.json()["type"]) == (403, "urn:holdgate:problem:step-up-failed")
            removed = await carol.post(f"{TOTP}/remove", json={"code": code(desk, secret)})
            assert removed.status_code == 204
            assert (await carol.get(TOTP)).json() == {"enrolled": False}
        assert [entry[:2] for entry in await recorded(desk)] == [
            ("authenticator set up", "carol"),
            ("step-up failed", "carol"),
            ("authenticator removed", "carol"),
        ]

    async def test_an_administrator_removes_a_lost_one_but_not_their_own(self, desk: Desk) -> None:
        async with await desk.client("carol") as carol, await desk.client("root", Role.ADMIN) as root:
            await enrol(desk, carol)
            assert (await root.delete("/api/v1/people/root/totp")).status_code == 403
            assert (await root.delete("/api/v1/people/carol/totp")).status_code == 204
            missing = await root.delete("/api/v1/people/carol/totp")
            assert (missing.status_code, missing.json()["type"]) == (404, "urn:holdgate:problem:not-enrolled")
            assert (await carol.get(TOTP)).json() == {"enrolled": False}

    async def test_the_secret_is_shown_once(self, desk: Desk) -> None:
        async with await desk.client("root", Role.ADMIN) as root:
            secret = await enrol(desk, root)
            for path in ("/api/v1/me", TOTP, "/api/v1/people", "/api/v1/audit"):
                answer = await root.get(path)
                assert answer.status_code == 200
                assert secret not in answer.text

    async def test_without_a_key_it_says_what_is_missing(self, tmp_path: Path) -> None:
        async with management(tmp_path) as desk, await desk.client("carol") as carol:
            answer = await carol.post(TOTP)
            assert (answer.status_code, answer.json()["type"]) == (503, "urn:holdgate:problem:no-store-key")
            assert "store.key is not set" in answer.json()["detail"]
            assert (await carol.post(f"{TOTP}/confirm", json={"code": "1"})).status_code == 403

    @pytest.mark.parametrize("body", [{}, {"code": ""}, {"code": 123456}, {"code": "1" * 17}, {"code": None}])
    async def test_what_is_no_code(self, desk: Desk, body: dict[str, Any]) -> None:
        async with await desk.client("carol") as carol:
            assert (await carol.post(f"{TOTP}/confirm", json=body)).status_code == 422
