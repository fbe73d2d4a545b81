"""Grants over HTTP."""

from gateway.config import Role
from tests.gateway.management import Desk
from tests.gateway.test_grants import given


async def test_listed_and_revoked(desk: Desk) -> None:
    source = await given(desk)
    async with await desk.client("carol", Role.APPROVER) as client:
        (one,) = (await client.get("/api/v1/grants")).json()["grants"]
        assert (one["id"], one["state"], one["uses"], one["hold_id"]) == (
            source.granted_id,
            "active",
            2,
            source.id,
        )
        path = f"/api/v1/grants/{one['id']}/revoke"
        assert (await client.post(path, json={"why": "x"})).status_code == 422
        assert (await client.post(path, json={"reason": "\x1b"})).status_code == 422
        assert (await client.post(path)).json()["state"] == "revoked"
        answer = await client.post(path)
        assert (answer.status_code, answer.json()["type"]) == (409, "urn:holdgate:problem:grant-over")
        for unknown in ("G-1", "G-" + "0" * 26, "x" * 200):
            answer = await client.post(f"/api/v1/grants/{unknown}/revoke")
            assert (answer.status_code, answer.json()["type"]) == (404, "urn:holdgate:problem:no-such-grant")
