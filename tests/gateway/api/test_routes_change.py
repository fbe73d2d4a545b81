"""What administrators change, recorded before it is done."""

from typing import Any

import pytest

from gateway.config import Role
from tests.gateway.audit.samples import records
from tests.gateway.management import Desk, SessionValue
from tests.support.disk import full_disk

TOKENS = "/api/v1/tokens"


def recorded(desk: Desk) -> list[tuple[str, str, str]]:
    found = records(desk.config.audit.file)
    return [(one["tag"], one["user"], one["reason"]) for one in found if one["kind"] == "gateway"]


class TestSessions:
    async def test_a_session_is_ended_for_whoever_asked(self, desk: Desk) -> None:
        desk.sessions.sessions["S-1"] = SessionValue("S-1")
        async with await desk.client("root", Role.ADMIN) as client:
            assert (await client.delete("/api/v1/sessions/S-1")).status_code == 204
            assert desk.sessions.killed == [("S-1", "root")]
            assert recorded(desk) == [("session killed", "root", "session S-1")]
            answer = await client.delete("/api/v1/sessions/S-1")
            assert answer.status_code == 404
            assert answer.json()["type"] == "urn:holdgate:problem:no-such-session"
            assert (await client.delete("/api/v1/sessions/" + "x" * 65)).status_code == 422
        assert len(recorded(desk)) == 1

    async def test_a_session_that_ends_meanwhile(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        desk.sessions.sessions["S-1"] = SessionValue("S-1")

        async def gone(session_id: str, by: str) -> bool:
            return False

        monkeypatch.setattr(desk.sessions, "kill", gone)
        async with await desk.client("root", Role.ADMIN) as client:
            answer = await client.delete("/api/v1/sessions/S-1")
        assert (answer.status_code, answer.json()["detail"]) == (404, "The session has ended by itself.")


class TestTokens:
    async def test_a_token_is_made_shown_once_listed_and_revoked(self, desk: Desk) -> None:
        async with await desk.client("root", Role.ADMIN) as client:
            body = {"user": "grafana", "roles": ["viewer"], "note": " dashboards ", "expires_seconds": 3600}
            answer = await client.post(TOKENS, json=body)
            assert answer.status_code == 201
            made = answer.json()
            secret = made.pop("secret")
            assert (made["user"], made["roles"], made["note"]) == ("grafana", ["viewer"], "dashboards")
            listed = (await client.get(TOKENS)).json()["tokens"]
            assert made in listed
            assert secret not in str(listed)
            async with await desk.client() as machine:
                machine.headers["Authorization"] = f"Bearer {secret}"
                assert (await machine.get("/api/v1/me")).json()["user"] == "grafana"
                assert (await client.delete(f"{TOKENS}/{made['id']}")).status_code == 204
                assert (await machine.get("/api/v1/me")).status_code == 401
            assert (await client.delete(f"{TOKENS}/{made['id']}")).status_code == 404
        assert recorded(desk)[:2] == [
            ("token made", "root", "for grafana, roles viewer"),
            ("token revoked", "root", f"token {made['id']}"),
        ]

    async def test_an_administrator_makes_no_token_to_approve_by(self, desk: Desk) -> None:
        async with await desk.client("root", Role.ADMIN) as client:
            for user in ("carol", "root", "machine"):
                answer = await client.post(TOKENS, json={"user": user, "roles": ["viewer", "approver"]})
                assert answer.status_code == 403
                assert "only by an approver, for themself" in answer.json()["detail"]
        assert [token.user for token in await desk.tokens.list()] == ["root"]
        assert recorded(desk) == []

    async def test_an_approver_makes_one_for_themself_only(self, desk: Desk) -> None:
        async with await desk.client("boss", Role.ADMIN, Role.APPROVER) as client:
            answer = await client.post(TOKENS, json={"user": "boss", "roles": ["approver"]})
            assert answer.status_code == 201
            assert (
                await client.post(TOKENS, json={"user": "carol", "roles": ["approver"]})
            ).status_code == 403

    @pytest.mark.parametrize(
        "change",
        [
            {"user": ""},
            {"user": "x" * 257},
            {"user": "a\x1b[2J"},
            {"user": "a\0"},
            {"roles": []},
            {"roles": ["king"]},
            {"roles": "viewer"},
            {"roles": ["viewer"] * 5},
            {"note": "x" * 201},
            {"note": "\u009b"},
            {"expires_seconds": 59},
            {"expires_seconds": 10**12},
            {"expires_seconds": "soon"},
            {"secret": "mine"},
        ],
    )
    async def test_a_token_that_makes_no_sense(self, desk: Desk, change: dict[str, Any]) -> None:
        async with await desk.client("root", Role.ADMIN) as client:
            answer = await client.post(TOKENS, json={"user": "grafana", "roles": ["viewer"], **change})
            assert answer.status_code == 422
        assert recorded(desk) == []

    async def test_nothing_is_changed_that_cannot_be_recorded(self, desk: Desk) -> None:
        desk.sessions.sessions["S-1"] = SessionValue("S-1")
        kept, _ = await desk.tokens.issue("grafana", {Role.VIEWER})
        await desk.open(sql="x" * 8_000_000)
        async with await desk.client("root", Role.ADMIN) as client:
            with full_disk(desk.config.audit.file):
                for method, path, body in (
                    ("DELETE", "/api/v1/sessions/S-1", None),
                    ("POST", TOKENS, {"user": "eve", "roles": ["viewer"]}),
                    ("DELETE", f"{TOKENS}/{kept.id}", None),
                ):
                    answer = await client.request(method, path, json=body)
                    assert answer.status_code == 503
                    assert answer.json()["type"] == "urn:holdgate:problem:audit-unavailable"
        assert desk.sessions.killed == []
        assert {token.user: token.revoked_at for token in await desk.tokens.list()} == {
            "grafana": None,
            "root": None,
        }
