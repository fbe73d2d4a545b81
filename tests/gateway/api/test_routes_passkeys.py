"""Passkeys over HTTP: made, used to sign approvals, removed; and what is not taken for one."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pyotp
import pytest
from webauthn.helpers import bytes_to_base64url

from gateway.audit.proofs import ProofCheck
from gateway.config import Role
from gateway.passkey_proof import challenge_for
from rules import Stage
from tests.gateway.api.test_routes_people import recorded
from tests.gateway.audit.samples import records
from tests.gateway.management import Desk, management
from tests.support.passkey import PRESENT, SoftKey
from tests.support.ports import free_port

ASKS = (Stage(("dpo",), step_up=("passkey",)),)
MINE = "/api/v1/me/passkeys"


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    port = free_port()
    admin = {"port": port, "public_url": f"http://localhost:{port}"}
    async with management(tmp_path, admin=admin, store={"key": "k" * 32}) as running:
        running.clock.ahead = 15 - running.clock.now().timestamp() % 30
        yield running


def soft_key(desk: Desk, **changes: Any) -> SoftKey:
    assert desk.config.admin.public_url is not None
    return SoftKey(desk.config.admin.public_url, **changes)


async def options(caller: httpx.AsyncClient, path: str) -> dict[str, Any]:
    answer = await caller.post(path)
    assert answer.status_code == 200, answer.text
    return dict(answer.json()["options"])


async def made(
    caller: httpx.AsyncClient, key: SoftKey, label: str = "telephone", **proof: Any
) -> httpx.Response:
    credential = key.make(await options(caller, f"{MINE}/options"))
    return await caller.post(MINE, json={"label": label, "credential": credential, **proof})


async def sign(caller: httpx.AsyncClient, key: SoftKey, hold_id: str) -> dict[str, Any]:
    return key.sign(await options(caller, f"/api/v1/holds/{hold_id}/passkey"))


async def approve(caller: httpx.AsyncClient, hold_id: str, **body: Any) -> httpx.Response:
    return await caller.post(f"/api/v1/holds/{hold_id}/approve", json=body)


@pytest.fixture
async def carol(desk: Desk) -> AsyncIterator[httpx.AsyncClient]:
    """carol on the page."""
    async with await desk.browser("carol") as caller:
        yield caller


class TestApproving:
    async def test_the_record_proves_who_signed_what(self, desk: Desk, carol: httpx.AsyncClient) -> None:
        key = soft_key(desk)
        assert (await made(carol, key)).status_code == 201
        hold = await desk.open(stages=ASKS, digest="ab" * 32)
        missing = await approve(carol, hold.id)
        assert (missing.status_code, missing.json()["step_up"]) == (403, ["passkey"])
        assert missing.json()["detail"] == "This takes a proof that it is you: your passkey, on the page."
        answer = await approve(carol, hold.id, passkey=await sign(carol, key, hold.id))
        assert answer.status_code == 200, answer.text
        (decision,) = answer.json()["decisions"]
        assert (decision["how"], decision["step_up"]) == ("console", "passkey")
        assert decision["proof"]["credential_id"] == key.id
        await recorded(desk)
        check = ProofCheck()
        for record in records(desk.config.audit.file):
            check.take(record)
        assert (check.checked, check.unregistered, check.faults) == (1, 0, [])
        (found,) = [one for one in records(desk.config.audit.file) if one["kind"] == "decision"]
        assert found["details"]["digest"] == "ab" * 32
        assert found["details"]["proof"] == decision["proof"]

    async def test_what_was_signed_is_good_once(self, desk: Desk, carol: httpx.AsyncClient) -> None:
        key = soft_key(desk, step=0)
        await made(carol, key)
        twice = (Stage(("dpo",), step_up=("passkey",)), Stage(("dpo",), step_up=("passkey",), repeat=True))
        hold = await desk.open(stages=twice)
        signed = await sign(carol, key, hold.id)
        assert (await approve(carol, hold.id, passkey=signed)).json()["state"] == "pending"
        again = await approve(carol, hold.id, passkey=signed)
        assert (again.status_code, again.json()["type"]) == (403, "urn:holdgate:problem:step-up-failed")
        assert "was used before, is too old" in again.json()["detail"]
        fresh = await approve(carol, hold.id, passkey=await sign(carol, key, hold.id))
        assert fresh.json()["state"] == "approved"

    async def test_for_another_hold_it_is_none(self, desk: Desk, carol: httpx.AsyncClient) -> None:
        key = soft_key(desk)
        await made(carol, key)
        one, other = await desk.open(stages=ASKS), await desk.open(stages=ASKS)
        answer = await approve(carol, other.id, passkey=await sign(carol, key, one.id))
        assert "it was signed for something else (hold)" in answer.json()["detail"]
        assert (await desk.holds.get(other.id)).state == "pending"
        assert any(tag == "step-up failed" for tag, *_ in await recorded(desk))

    async def test_it_is_the_approvers_own(self, desk: Desk, carol: httpx.AsyncClient) -> None:
        key, other = soft_key(desk), soft_key(desk)
        await made(carol, key)
        hold = await desk.open(stages=ASKS)
        async with await desk.client("dave", Role.APPROVER) as dave:
            none = await dave.post(f"/api/v1/holds/{hold.id}/passkey")
            assert (none.status_code, none.json()["type"]) == (403, "urn:holdgate:problem:not-enrolled")
            signed = await sign(carol, key, hold.id)
            refused = await approve(dave, hold.id, passkey=signed)
            assert refused.json()["detail"] == "Not proven: this is none of your passkeys."
            # With a key of his own he signs what was asked of her.
            await made(dave, other)
            asked = await options(carol, f"/api/v1/holds/{hold.id}/passkey")
            refused = await approve(dave, hold.id, passkey=other.sign(asked))
            assert "it was signed for something else (who)" in refused.json()["detail"]

    async def test_too_late(self, desk: Desk, carol: httpx.AsyncClient) -> None:
        key = soft_key(desk)
        await made(carol, key)
        hold = await desk.open(stages=ASKS)
        signed = await sign(carol, key, hold.id)
        desk.clock.ahead += 301
        assert "too old" in (await approve(carol, hold.id, passkey=signed)).json()["detail"]

    async def test_a_challenge_that_nobody_asked_for(self, desk: Desk, carol: httpx.AsyncClient) -> None:
        """The challenge is right in every word, but it is not one that the gateway gave."""
        key = soft_key(desk)
        await made(carol, key)
        hold = await desk.open(stages=ASKS)
        challenge = challenge_for("approve", "carol", hold=hold.id, digest=hold.digest)
        signed = key.sign({"challenge": bytes_to_base64url(challenge)})
        assert "too old" in (await approve(carol, hold.id, passkey=signed)).json()["detail"]

    async def test_a_counter_that_goes_back(self, desk: Desk, carol: httpx.AsyncClient) -> None:
        key = soft_key(desk)
        await made(carol, key)
        one, other = await desk.open(stages=ASKS), await desk.open(stages=ASKS)
        key.count = 7
        await approve(carol, one.id, passkey=await sign(carol, key, one.id))
        key.count = 3
        answer = await approve(carol, other.id, passkey=await sign(carol, key, other.id))
        assert "the passkey's counter went back" in answer.json()["detail"]

    async def test_nobody_was_verified(self, desk: Desk, carol: httpx.AsyncClient) -> None:
        key = soft_key(desk)
        await made(carol, key)
        hold = await desk.open(stages=ASKS)
        key.flags = PRESENT
        answer = await approve(carol, hold.id, passkey=await sign(carol, key, hold.id))
        assert answer.status_code == 403

    async def test_either_of_two_ways(self, desk: Desk, carol: httpx.AsyncClient) -> None:
        hold = await desk.open(stages=(Stage(("dpo",), step_up=("totp", "passkey")),))
        secret, _ = await desk.totp.begin("carol")
        await desk.totp.confirm("carol", pyotp.TOTP(secret).at(desk.clock.now()))
        desk.clock.ahead += 90
        answer = await approve(carol, hold.id, totp=pyotp.TOTP(secret).at(desk.clock.now()))
        assert (answer.json()["decisions"][0]["step_up"], answer.json()["decisions"][0]["proof"]) == (
            "totp",
            None,
        )

    @pytest.mark.parametrize(
        "credential",
        [{}, {"id": 7}, {"id": "x"}, {"id": "\x00"}, {"id": "é"}, {"id": None, "response": {}}],
    )
    async def test_what_is_no_signature(
        self, desk: Desk, carol: httpx.AsyncClient, credential: dict[str, Any]
    ) -> None:
        key = soft_key(desk)
        await made(carol, key)
        hold = await desk.open(stages=ASKS)
        assert (await approve(carol, hold.id, passkey=credential)).status_code == 403
        for response in (
            None,
            {},
            {"clientDataJSON": 1},
            {"clientDataJSON": "", "authenticatorData": "", "signature": ""},
        ):
            answer = await approve(carol, hold.id, passkey={"id": key.id, "response": response})
            assert answer.status_code == 403
        assert (await desk.holds.get(hold.id)).state == "pending"


class TestPasskeys:
    async def test_they_are_listed_and_removed_with_themselves(
        self, desk: Desk, carol: httpx.AsyncClient
    ) -> None:
        key = soft_key(desk)
        first = await made(carol, key, "telephone")
        assert first.json()["label"] == "telephone"
        (listed,) = (await carol.get(MINE)).json()["passkeys"]
        assert (listed["id"], listed["used_at"]) == (key.id, None)
        bare = await carol.post(f"{MINE}/{key.id}/remove", json={})
        assert (bare.status_code, bare.json()["step_up"]) == (403, ["passkey"])
        proof = key.sign(await options(carol, f"{MINE}/proof"))
        assert (await carol.post(f"{MINE}/{key.id}/remove", json={"passkey": proof})).status_code == 204
        assert (await carol.get(MINE)).json()["passkeys"] == []
        assert [entry[0] for entry in await recorded(desk)][-2:] == ["passkey set up", "passkey removed"]

    async def test_a_browser_that_was_left_open_adds_none(self, desk: Desk, carol: httpx.AsyncClient) -> None:
        key, thief = soft_key(desk), soft_key(desk)
        await made(carol, key)
        refused = await made(carol, thief)
        assert (refused.status_code, refused.json()["type"]) == (403, "urn:holdgate:problem:step-up-required")
        # Not with itself either, nor with what was signed for an approval.
        hold = await desk.open(stages=ASKS)
        for proof in (
            thief.sign(await options(carol, f"{MINE}/proof")),
            await sign(carol, key, hold.id),
        ):
            assert (await made(carol, thief, passkey=proof)).status_code == 403
        assert (await carol.post("/api/v1/me/totp")).status_code == 409
        proof = key.sign(await options(carol, f"{MINE}/proof"))
        assert (await made(carol, soft_key(desk), passkey=proof)).status_code == 201
        # What was signed for a change is no approval.
        proof = key.sign(await options(carol, f"{MINE}/proof"))
        assert (await approve(carol, hold.id, passkey=proof)).status_code == 403

    async def test_nor_where_there_is_an_authenticator(self, desk: Desk, carol: httpx.AsyncClient) -> None:
        secret, _ = await desk.totp.begin("carol")
        await desk.totp.confirm("carol", pyotp.TOTP(secret).at(desk.clock.now()))
        desk.clock.ahead += 90
        refused = await made(carol, soft_key(desk))
        assert refused.json()["step_up"] == ["totp"]
        assert (await made(carol, soft_key(desk), totp="000000")).status_code == 403
        code = pyotp.TOTP(secret).at(desk.clock.now())
        assert (await made(carol, soft_key(desk), totp=code)).status_code == 201

    async def test_an_authenticator_begun_before_is_not_confirmed_after(
        self, desk: Desk, carol: httpx.AsyncClient
    ) -> None:
        secret = (await carol.post("/api/v1/me/totp")).json()["secret"]
        await made(carol, soft_key(desk))
        code = pyotp.TOTP(secret).at(desk.clock.now())
        assert (await carol.post("/api/v1/me/totp/confirm", json={"code": code})).status_code == 409

    async def test_an_administrator_removes_those_of_somebody_else(
        self, desk: Desk, carol: httpx.AsyncClient
    ) -> None:
        await made(carol, soft_key(desk))
        async with await desk.client("root", Role.ADMIN) as root:
            assert (await root.delete("/api/v1/people/root/passkeys")).status_code == 403
            assert (await root.delete("/api/v1/people/carol/passkeys")).status_code == 204
            assert (await root.delete("/api/v1/people/carol/passkeys")).status_code == 404
        assert (await carol.get(MINE)).json()["passkeys"] == []

    async def test_one_key_is_one_persons(self, desk: Desk, carol: httpx.AsyncClient) -> None:
        key = soft_key(desk)
        await made(carol, key)
        async with await desk.browser("dave") as dave:
            refused = await made(dave, key)
        assert refused.json()["detail"] == "Not proven: this passkey is known already."

    async def test_a_challenge_makes_one(self, desk: Desk, carol: httpx.AsyncClient) -> None:
        asked = await options(carol, f"{MINE}/options")
        key = soft_key(desk)
        async with await desk.browser("dave") as dave:
            stolen = {"label": "x", "credential": key.make(asked)}
            assert "is another's" in (await dave.post(MINE, json=stolen)).json()["detail"]
        # It is used up even so.
        again = await carol.post(MINE, json={"label": "x", "credential": key.make(asked)})
        assert again.status_code == 403

    @pytest.mark.parametrize(
        "changes",
        [{"origin": "https://evil.example"}, {"rp_id": "evil.example"}, {"flags": PRESENT}],
        ids=["origin", "rp", "verification"],
    )
    async def test_what_is_not_taken_for_one(
        self, desk: Desk, carol: httpx.AsyncClient, changes: dict[str, Any]
    ) -> None:
        key = soft_key(desk)
        for name, value in changes.items():
            setattr(key, name, value)
        answer = await made(carol, key)
        assert answer.status_code == 403
        assert "the passkey is not accepted" in answer.json()["detail"]

    @pytest.mark.parametrize("credential", [{}, {"response": {}}, {"response": {"clientDataJSON": "e30"}}])
    async def test_what_is_none(
        self, desk: Desk, carol: httpx.AsyncClient, credential: dict[str, Any]
    ) -> None:
        answer = await carol.post(MINE, json={"label": "x", "credential": credential})
        assert answer.status_code == 403

    async def test_by_an_address_of_digits_there_are_none(self, tmp_path: Path) -> None:
        async with management(tmp_path) as desk, await desk.client("carol", Role.APPROVER) as carol:
            answer = await carol.post(f"{MINE}/options")
            assert (answer.status_code, answer.json()["type"]) == (
                503,
                "urn:holdgate:problem:no-passkeys-here",
            )
            hold = await desk.open(stages=ASKS)
            assert (await carol.post(f"/api/v1/holds/{hold.id}/passkey")).status_code == 503
            assert (await carol.post("/api/v1/holds/H-%00/passkey")).status_code == 404
