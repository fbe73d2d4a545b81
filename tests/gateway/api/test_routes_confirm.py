"""Confirming over HTTP: by a second factor, and by a link that a GET does not use up."""

import re
from collections.abc import AsyncIterator
from html import unescape
from pathlib import Path

import httpx
import pyotp
import pytest

from gateway.audit.proofs import ProofCheck
from gateway.config import Role
from gateway.confirming import confirm_link
from gateway.holds import Hold, HoldState
from tests.gateway.audit.samples import records
from tests.gateway.management import Desk, management
from tests.gateway.test_holds import soon
from tests.support.passkey import SoftKey

KEY = "0123456789abcdef0123456789abcdef"
ORIGIN = "http://localhost:7433"
MARKUP = "<script>alert(1)</script>"


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with management(tmp_path, store={"key": KEY}, admin={"public_url": ORIGIN}) as running:
        # In the middle of a step, so that a code does not change while a test looks.
        running.clock.ahead = 15 - running.clock.now().timestamp() % 30
        yield running


def problem(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["type"].removeprefix("urn:holdgate:problem:")


class TestSecondFactor:
    async def test_a_code(self, desk: Desk) -> None:
        secret, _ = await desk.totp.begin("alice")
        one_time, step = pyotp.TOTP(secret), int(desk.clock.now().timestamp()) // 30
        await desk.totp.confirm("alice", one_time.generate_otp(step - 1))
        hold = await desk.open(confirm="second-factor")
        address = f"/api/v1/holds/{hold.id}/confirm"
        async with await desk.client("alice") as alice, await desk.client("carol", Role.APPROVER) as carol:
            shown = (await alice.get(f"/api/v1/holds/{hold.id}")).json()
            assert (shown["confirm"], shown["confirmation"], shown["yours"]) == ("second-factor", None, True)
            answer = await carol.post(f"/api/v1/holds/{hold.id}/approve", json={})
            assert problem(answer) == (409, "awaiting-confirmation")
            assert problem(await alice.post(address, json={})) == (403, "step-up-required")
            assert problem(await alice.post(address, json={"totp": "000000"})) == (403, "step-up-failed")
            assert problem(await carol.post(address, json={"totp": one_time.generate_otp(step)})) == (
                403,
                "confirmation-not-allowed",
            )
            answer = await alice.post(address, json={"totp": one_time.generate_otp(step)})
            assert answer.status_code == 200
            assert answer.json()["confirmation"]["how"] == "totp"
            # Neither the code nor the confirmation can be used again.
            again = await alice.post(address, json={"totp": one_time.generate_otp(step)})
            assert problem(again) == (409, "nothing-to-confirm")
            other = await desk.open(confirm="second-factor")
            replay = await alice.post(
                f"/api/v1/holds/{other.id}/confirm", json={"totp": one_time.generate_otp(step)}
            )
            assert problem(replay) == (403, "step-up-failed")
            assert (await carol.post(f"/api/v1/holds/{hold.id}/approve", json={})).status_code == 200

    async def test_a_passkey_signs_what_is_asked_for(self, desk: Desk) -> None:
        key = SoftKey(ORIGIN)
        await desk.passkeys.finish("alice", "laptop", key.make(await desk.passkeys.begin("alice")))
        hold = await desk.open(confirm="second-factor", digest="ab" * 32)
        other = await desk.open(confirm="second-factor", digest="cd" * 32)
        async with await desk.client("alice") as alice, await desk.client("carol") as carol:
            assert problem(await carol.post(f"/api/v1/holds/{hold.id}/confirm/passkey")) == (
                403,
                "confirmation-not-allowed",
            )
            options = (await alice.post(f"/api/v1/holds/{hold.id}/confirm/passkey")).json()["options"]
            signed = {"passkey": key.sign(options)}
            # What was signed is for this hold, and no approval.
            assert problem(await alice.post(f"/api/v1/holds/{other.id}/confirm", json=signed)) == (
                403,
                "step-up-failed",
            )
            answer = await alice.post(f"/api/v1/holds/{hold.id}/confirm", json=signed)
            assert answer.status_code == 200
            assert answer.json()["confirmation"] == {
                "who": "alice",
                "how": "passkey",
                "at": answer.json()["confirmation"]["at"],
            }
            approving = await desk.passkeys.approval_options("alice", other)
            for wrong in (approving, await desk.passkeys.change_options("alice")):
                answer = await alice.post(
                    f"/api/v1/holds/{other.id}/confirm", json={"passkey": key.sign(wrong)}
                )
                assert problem(answer) == (403, "step-up-failed")
        check = ProofCheck()
        for record in records(desk.config.audit.file):
            check.take(record)
        assert (check.checked, check.faults) == (1, [])
        forged = next(one for one in records(desk.config.audit.file) if one["tag"] == "confirmed")
        forged["details"]["confirmed_by"] = "mallory"
        check.take(forged)
        assert len(check.faults) == 1

    async def test_there_may_be_nothing_to_confirm(self, desk: Desk) -> None:
        plain = await desk.open()
        linked = await desk.open(confirm="email")
        async with await desk.client("alice") as alice:
            for hold in (plain, linked):
                for path in ("confirm", "confirm/passkey"):
                    answer = await alice.post(f"/api/v1/holds/{hold.id}/{path}", json={"totp": "123456"})
                    assert problem(answer) == (409, "nothing-to-confirm")
            for path in ("confirm", "confirm/passkey"):
                answer = await alice.post(f"/api/v1/holds/H-{'0' * 26}/{path}", json={"totp": "123456"})
                assert problem(answer) == (404, "no-such-hold")
            ended = await desk.open(confirm="second-factor")
            await desk.holds.end(ended.id, HoldState.WITHDRAWN, "canceled")
            answer = await alice.post(f"/api/v1/holds/{ended.id}/confirm", json={"totp": "123456"})
            assert problem(answer) == (409, "already-resolved")


def linked(desk: Desk, hold: Hold) -> tuple[str, str]:
    """The path and the token of a hold's link."""
    path, _, token = confirm_link(hold, "", KEY).partition("?t=")
    return path, token


def said(answer: httpx.Response) -> str:
    return unescape(re.sub(r"<[^>]*>", "", answer.text.partition("<main")[2])).strip()


class TestLink:
    async def test_looking_changes_nothing_and_the_button_once(self, desk: Desk) -> None:
        hold = await desk.open(
            confirm="email", sql=f"DELETE FROM {MARKUP} \u202e", parameters=(MARKUP, None), reason=MARKUP
        )
        path, token = linked(desk, hold)
        async with await desk.client() as browser:
            for _ in range(3):
                page = await browser.get(path, params={"t": token})
                assert page.status_code == 200
            assert (await desk.holds.get(hold.id)).awaits_confirmation
            assert MARKUP not in page.text
            assert page.text.count("&lt;script&gt;") == 3
            assert "\\u202e" in page.text
            assert "<title>Holdgate: confirm</title>" in page.text
            assert page.headers["cache-control"] == "no-store"
            assert (await browser.head(path, params={"t": token})).status_code == 405
            done = await browser.post(path, data={"t": token})
            assert (done.status_code, "Others are asked" in done.text) == (200, True)
            found = await desk.holds.get(hold.id)
            assert found.confirmation is not None
            assert (found.confirmation.who, found.confirmation.how) == ("alice", "email")
            # Used once; what is shown then says so.
            for again in (
                await browser.post(path, data={"t": token}),
                await browser.get(path, params={"t": token}),
            ):
                assert again.status_code == 409
                assert f"{hold.id} is confirmed already. Nothing was changed." in said(again)
        assert await desk.holds.get(hold.id) == found
        await soon(lambda: desk.audit.queue_depth == 0)
        tags = [(one["tag"], one["user"]) for one in records(desk.config.audit.file)]
        assert ("confirmed by link", "alice") in tags

    async def test_a_link_that_is_not_good(self, desk: Desk) -> None:
        hold, other = await desk.open(confirm="email"), await desk.open(confirm="email")
        path, token = linked(desk, hold)
        _, others = linked(desk, other)
        bad = [
            (path, others),
            (path, token[:-1]),
            (path, ""),
            (f"/confirm/H-{'0' * 26}", token),
            ("/confirm/x", token),
        ]
        async with await desk.client() as browser:
            for where, what in bad:
                for answer in (
                    await browser.get(where, params={"t": what}),
                    await browser.post(where, data={"t": what}),
                ):
                    assert answer.status_code == 403
                    assert "This link is not good." in said(answer)
            for content in (b"", b"t=a&t=b", b"\xff", f"t={token}&t={token}".encode()):
                assert (await browser.post(path, content=content)).status_code == 403
        assert (await desk.holds.get(hold.id)).awaits_confirmation
        await soon(lambda: desk.audit.queue_depth == 0)
        assert "confirmation failed" in {one["tag"] for one in records(desk.config.audit.file)}

    async def test_not_in_somebody_elses_browser_and_not_from_another_page(self, desk: Desk) -> None:
        hold = await desk.open(confirm="email")
        path, token = linked(desk, hold)
        async with await desk.browser("carol") as carol, await desk.client() as other:
            answer = await carol.post(path, data={"t": token})
            assert (answer.status_code, said(answer).splitlines()[-1]) == (
                403,
                "This link is alice's, and you are signed in as carol.",
            )
            answer = await other.post(path, data={"t": token}, headers={"Origin": "https://evil.example"})
            assert answer.status_code == 403
        assert (await desk.holds.get(hold.id)).awaits_confirmation
        async with await desk.browser("alice") as alice:
            assert (await alice.post(path, data={"t": token})).status_code == 200

    async def test_not_when_it_is_over(self, desk: Desk) -> None:
        late, ended, factor = (
            await desk.open(confirm="email"),
            await desk.open(confirm="email"),
            await desk.open(confirm="second-factor"),
        )
        await desk.holds.end(ended.id, HoldState.WITHDRAWN, "canceled")
        desk.clock.ahead += 3600
        async with await desk.client() as browser:
            for hold, says in (
                (late, f"{late.id} is expired. Nothing was changed."),
                (ended, f"{ended.id} is withdrawn already. Nothing was changed."),
                (factor, f"{factor.id} is confirmed by a second factor. Nothing was changed."),
            ):
                path, token = linked(desk, hold)
                for answer in (
                    await browser.get(path, params={"t": token}),
                    await browser.post(path, data={"t": token}),
                ):
                    assert answer.status_code == 409
                    assert says in said(answer)
        for hold in (late, ended, factor):
            assert (await desk.holds.get(hold.id)).confirmation is None
