"""Who is calling: tokens before cookies, CSRF, other sites' pages, and roles as they are now."""

import dataclasses
from pathlib import Path

import pytest

from gateway.config import Role
from tests.gateway.management import Desk, management

ME = "/api/v1/me"


async def test_a_token_acts_as_its_user_with_its_own_roles(desk: Desk) -> None:
    async with await desk.client("carol", Role.VIEWER) as client:
        me = (await client.get(ME)).json()
    assert me == {
        "user": "carol",
        "roles": ["viewer"],
        "groups": ["dpo"],
        "stands_in_for": {},
        "csrf_token": None,
    }


async def test_a_browser_has_the_roles_its_user_has_now(desk: Desk) -> None:
    async with await desk.browser("carol") as browser:
        assert (await browser.get(ME)).json()["roles"] == ["approver", "viewer"]
        users = dict(desk.config.users)
        users["carol"] = dataclasses.replace(users["carol"], roles=frozenset({Role.VIEWER}))
        desk.config = dataclasses.replace(desk.config, users=users)
        assert (await browser.get(ME)).json()["roles"] == ["viewer"]
        users["carol"] = dataclasses.replace(users["carol"], roles=frozenset())
        assert (await browser.get(ME)).status_code == 401
        users["carol"] = dataclasses.replace(users["carol"], roles=frozenset({Role.VIEWER}), enabled=False)
        assert (await browser.get(ME)).status_code == 401


async def test_a_token_that_is_sent_counts_and_the_cookie_does_not(desk: Desk) -> None:
    async with await desk.browser("root") as browser:
        secret = await desk.token("vic")
        answer = await browser.get(ME, headers={"Authorization": f"Bearer {secret}"})
        assert answer.json()["user"] == "vic"
        # Even a token that is not accepted: it is not passed over in silence.
        assert (await browser.get(ME, headers={"Authorization": "Bearer hg_x"})).status_code == 401
        assert (
            await browser.get(ME, headers={"Authorization": f"bearer  {secret} "[:-1]})
        ).status_code == 200


async def test_the_command_line_is_named_as_such(desk: Desk) -> None:
    for agent, how in (("holdgate-cli/1", "cli"), ("curl/8", "api")):
        hold = await desk.open()
        async with await desk.client("carol", Role.APPROVER) as client:
            answer = await client.post(
                f"/api/v1/holds/{hold.id}/reject", json={"reason": "no"}, headers={"User-Agent": agent}
            )
        assert answer.json()["decisions"][0]["how"] == how


class TestCsrf:
    @pytest.mark.parametrize("token", [None, "", "wrong", "ä"])
    async def test_a_change_needs_the_token_of_the_page(self, desk: Desk, token: str | None) -> None:
        hold = await desk.open()
        async with await desk.browser("carol") as browser:
            del browser.headers["X-CSRF-Token"]
            headers = {} if token is None else {b"x-csrf-token": token.encode()}
            answer = await browser.post(f"/api/v1/holds/{hold.id}/approve", json={}, headers=headers)
            assert answer.status_code == 403
            assert answer.json()["type"] == "urn:holdgate:problem:csrf"
            assert (await desk.holds.get(hold.id)).state == "pending"

    async def test_the_token_of_another_session_is_none(self, desk: Desk) -> None:
        hold = await desk.open()
        async with await desk.browser("carol") as browser, await desk.browser("dave") as other:
            browser.headers["X-CSRF-Token"] = other.headers["X-CSRF-Token"]
            assert (await browser.post(f"/api/v1/holds/{hold.id}/approve", json={})).status_code == 403

    async def test_looking_needs_none(self, desk: Desk) -> None:
        async with await desk.browser("carol") as browser:
            del browser.headers["X-CSRF-Token"]
            assert (await browser.get("/api/v1/holds")).status_code == 200

    async def test_a_bearer_token_needs_none(self, desk: Desk) -> None:
        hold = await desk.open()
        async with await desk.client("carol", Role.APPROVER) as client:
            answer = await client.post(
                f"/api/v1/holds/{hold.id}/approve", headers={"Origin": "https://evil.example"}
            )
            assert answer.status_code == 200

    @pytest.mark.parametrize(
        "headers",
        [
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
            {"Origin": "http://127.0.0.1:1"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
        ],
    )
    async def test_the_page_of_another_site_cannot_change_anything(
        self, desk: Desk, headers: dict[str, str]
    ) -> None:
        hold = await desk.open()
        async with await desk.browser("carol") as browser:
            for path, body in (
                (f"/api/v1/holds/{hold.id}/approve", {}),
                ("/api/v1/login", {"user": "carol", "password": "x"}),
                ("/api/v1/logout", {}),
            ):
                answer = await browser.post(path, json=body, headers=headers)
                assert answer.status_code == 403
                assert answer.json()["type"] == "urn:holdgate:problem:cross-origin"
            # What a person looks at is a page.
            answer = await browser.post("/login", data={"code": "x"}, headers=headers)
            assert answer.status_code == 403
            assert "<p role='alert'>This request came from the page of another site.</p>" in answer.text

    async def test_its_own_page_can(self, desk: Desk) -> None:
        own = desk.url
        for headers in ({"Origin": own}, {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}):
            hold = await desk.open()
            async with await desk.browser("carol") as browser:
                answer = await browser.post(f"/api/v1/holds/{hold.id}/approve", json={}, headers=headers)
                assert answer.status_code == 200

    async def test_its_public_address_is_its_own_too(self, tmp_path: Path) -> None:
        async with management(tmp_path, admin={"public_url": "https://holdgate.example.org"}) as desk:
            hold = await desk.open()
            async with await desk.client() as client:
                login = {"user": "carol", "password": "correct horse"}
                own = {"Origin": "https://holdgate.example.org"}
                answer = await client.post("/api/v1/login", json=login, headers=own)
                assert answer.status_code == 200
                cookie = answer.headers["set-cookie"]
                assert cookie.startswith("__Host-holdgate=")
                headers = {
                    **own,
                    "Cookie": cookie.partition(";")[0],
                    "X-CSRF-Token": answer.json()["csrf_token"],
                    "Host": "holdgate.example.org",
                }
                answer = await client.post(f"/api/v1/holds/{hold.id}/approve", headers=headers)
                assert answer.status_code == 200
