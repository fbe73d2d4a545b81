"""Signing in and out."""

import asyncio
import re

import httpx
import pytest

from tests.gateway.audit.samples import records
from tests.gateway.management import PASSWORD, Desk

LOGIN = "/api/v1/login"


async def recorded(desk: Desk) -> list[tuple[str | None, str | None, str | None]]:
    """(what, who, why) of what people did on the management port."""
    async with asyncio.timeout(10):
        while desk.audit.queue_depth:
            await asyncio.sleep(0.005)
    found = records(desk.config.audit.file)
    return [(one["tag"], one["user"], one["reason"]) for one in found if one["kind"] == "gateway"]


async def test_signing_in_gives_a_cookie_that_scripts_cannot_read(desk: Desk) -> None:
    async with await desk.client() as client:
        answer = await client.post(LOGIN, json={"user": "carol", "password": PASSWORD})
        assert answer.status_code == 200
        body = answer.json()
        assert (body["user"], body["roles"], body["groups"]) == ("carol", ["approver", "viewer"], ["dpo"])
        cookie = answer.headers["set-cookie"]
        assert re.fullmatch(r"holdgate=[\w-]{40,}; HttpOnly; Path=/; SameSite=strict", cookie)
        assert body["csrf_token"] not in cookie
        assert (await client.get("/api/v1/me")).json()["csrf_token"] == body["csrf_token"]
    assert await recorded(desk) == [("signed in", "carol", "password")]


async def test_signing_out_ends_it(desk: Desk) -> None:
    async with await desk.browser("carol") as browser:
        kept = dict(browser.cookies)
        answer = await browser.post("/api/v1/logout")
        assert answer.status_code == 204
        assert {'holdgate=""', "HttpOnly", "Max-Age=0"} <= set(answer.headers["set-cookie"].split("; "))
        browser.cookies.update(kept)
        assert (await browser.get("/api/v1/me")).status_code == 401
    assert (await recorded(desk))[-1] == ("signed out", "carol", None)


async def test_signing_in_again_ends_the_session_before(desk: Desk) -> None:
    async with await desk.browser("carol") as browser:
        before = dict(browser.cookies)
        await browser.post(LOGIN, json={"user": "dave", "password": PASSWORD})
        assert (await browser.get("/api/v1/me")).json()["user"] == "dave"
        async with await desk.client() as other:
            other.cookies.update(before)
            assert (await other.get("/api/v1/me")).status_code == 401


@pytest.mark.parametrize("user", ["carol", "stranger", "gone", "nopass"])
async def test_a_wrong_password_looks_like_an_unknown_user(desk: Desk, user: str) -> None:
    async with await desk.client() as client:
        for password in (
            ("wrong", PASSWORD) if user != "carol" else ("wrong", PASSWORD.upper(), PASSWORD + " ")
        ):
            answer = await client.post(LOGIN, json={"user": user, "password": password})
            assert answer.status_code == 401
            assert answer.json() == {
                "type": "urn:holdgate:problem:wrong-password",
                "title": "Unauthorized",
                "status": 401,
                "detail": "The user name or the password is wrong.",
            }
            assert "set-cookie" not in answer.headers
    assert {entry[:2] for entry in await recorded(desk)} == {("sign-in failed", user)}


async def test_somebody_without_a_role_is_told_so(desk: Desk) -> None:
    async with await desk.client() as client:
        answer = await client.post(LOGIN, json={"user": "plain", "password": PASSWORD})
    assert answer.status_code == 403
    assert answer.json()["detail"] == "You have no role here. Ask an administrator for one."
    assert await recorded(desk) == [("sign-in failed", "plain", "no role on the management port")]


async def test_guessing_is_slowed_down_and_the_owner_elsewhere_is_not(desk: Desk) -> None:
    async with await desk.client() as client:
        statuses = [
            (await client.post(LOGIN, json={"user": "carol", "password": f"guess {number}"})).status_code
            for number in range(7)
        ]
        assert statuses == [401] * 5 + [429] * 2
        answer = await client.post(LOGIN, json={"user": "carol", "password": PASSWORD})
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) >= 1
        desk.clock.ahead += 5.0
        assert (await client.post(LOGIN, json={"user": "carol", "password": PASSWORD})).status_code == 200


async def test_many_at_once_gain_nothing(desk: Desk) -> None:
    async with await desk.client() as client:
        answers = await asyncio.gather(
            *(client.post(LOGIN, json={"user": "carol", "password": f"guess {n}"}) for n in range(20))
        )
    assert sorted(answer.status_code for answer in answers) == [401] * 5 + [429] * 15


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"user": "carol"},
        {"password": PASSWORD},
        {"user": "", "password": "x"},
        {"user": "carol", "password": ""},
        {"user": "c" * 257, "password": "x"},
        {"user": "carol", "password": "x" * 1025},
        {"user": ["carol"], "password": "x"},
        {"user": "carol", "password": "x", "roles": ["admin"]},
        [],
        "carol",
        None,
    ],
)
async def test_what_is_no_sign_in_is_refused_without_repeating_it(desk: Desk, body: object) -> None:
    async with await desk.client() as client:
        answer = await client.post(LOGIN, json=body)
    assert answer.status_code == 422
    assert answer.json()["errors"]
    assert PASSWORD not in answer.text


async def test_a_name_that_speaks_to_terminals_is_recorded_harmlessly(desk: Desk) -> None:
    async with await desk.client() as client:
        answer = await client.post(LOGIN, json={"user": "\x1b[2J\u202e\0", "password": "x"})
        assert answer.status_code == 401
    ((_, user, _),) = await recorded(desk)
    assert user == "\x1b[2J\u202e\0"
    assert desk.config.audit.file.read_bytes().isascii()
    assert b"\x1b" not in desk.config.audit.file.read_bytes()


class TestLinks:
    async def test_a_link_signs_in_once_and_only_when_its_button_is_pressed(self, desk: Desk) -> None:
        link = await desk.server.sign_in_link("carol")
        assert re.fullmatch(rf"{desk.url}/login\?code=[\w-]+", link)
        async with await desk.client() as client:
            # Whatever fetches links to look at them uses nothing up.
            for _ in range(3):
                page = await client.get(link)
                assert page.status_code == 200
                assert "set-cookie" not in page.headers
                assert "This link signs you in on this browser. It works once." in page.text
            code = re.search(r'name="code" value="([\w-]+)"', page.text)
            assert code is not None
            answer = await client.post("/login", data={"code": code[1]})
            assert answer.status_code == 303
            assert answer.headers["location"] == "/"
            assert (await client.get("/api/v1/me")).json()["user"] == "carol"
        async with await desk.client() as other:
            answer = await other.post("/login", data={"code": code[1]})
            assert answer.status_code == 403
            assert "This link was used before, or is too old." in answer.text
            assert "set-cookie" not in answer.headers
        assert await recorded(desk) == [
            ("signed in", "carol", "one-time link"),
            ("sign-in failed", "", "one-time link"),
        ]

    async def test_a_link_is_too_old_after_ten_minutes(self, desk: Desk) -> None:
        link = await desk.server.sign_in_link("carol")
        desk.clock.ahead += 601.0
        async with await desk.client() as client:
            assert (await client.post("/login", data={"code": link.partition("=")[2]})).status_code == 403

    @pytest.mark.parametrize("user", ["plain", "gone"])
    async def test_a_link_for_somebody_without_roles_opens_nothing(self, desk: Desk, user: str) -> None:
        link = await desk.server.sign_in_link(user)
        async with await desk.client() as client:
            assert (await client.post("/login", data={"code": link.partition("=")[2]})).status_code == 403
            assert (await client.get("/api/v1/me")).status_code == 401

    @pytest.mark.parametrize(
        "form",
        [b"", b"code=", b"code=a&code=b", b"code=%ff", b"\xff", b"&".join(b"a=1" for _ in range(50)), b"{}"],
    )
    async def test_what_is_no_code_opens_nothing(self, desk: Desk, form: bytes) -> None:
        async with await desk.client() as client:
            answer = await client.post("/login", content=form)
            assert answer.status_code == 403
            assert "set-cookie" not in answer.headers

    async def test_codes_cannot_be_tried_out(self, desk: Desk) -> None:
        async with await desk.client() as client:
            statuses = [(await client.post("/login", data={"code": f"x{n}"})).status_code for n in range(7)]
        assert statuses == [403] * 5 + [429] * 2

    async def test_a_code_in_the_address_is_text_in_the_page(self, desk: Desk) -> None:
        async with await desk.client() as client:
            answer = await client.get("/login", params={"code": '"><script>alert(1)</script>' + "x" * 999})
            assert "<script>" not in answer.text
            assert "&quot;&gt;&lt;script&gt;" in answer.text
            assert len(answer.text) < 2_000
            empty = await client.get("/login", params={"code": ""})
            assert (empty.status_code, empty.headers["location"]) == (303, "/")

    async def test_signing_in_by_link_ends_the_session_before(self, desk: Desk) -> None:
        link = await desk.server.sign_in_link("dave")
        async with await desk.browser("carol") as browser:
            before = dict(browser.cookies)
            await browser.post("/login", data={"code": link.partition("=")[2]})
            assert (await browser.get("/api/v1/me")).json()["user"] == "dave"
            async with httpx.AsyncClient(base_url=desk.url, cookies=before) as other:
                assert (await other.get("/api/v1/me")).status_code == 401
