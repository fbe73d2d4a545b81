"""Holds over HTTP: listed, shown, and decided once."""

import asyncio
from typing import Any

import pytest

from gateway.config import Role
from gateway.holds import HoldState
from gateway.store.sql import SqlStore
from rules import Stage
from tests.gateway.management import Desk
from tests.support.disk import full_disk

HOSTILE = "<script>alert(1)</script>\x1b[2J\u202e'\"&\0"


async def decide(desk: Desk, hold_id: str, user: str, verdict: str, reason: str = "") -> Any:
    async with await desk.client(user, Role.APPROVER) as client:
        return await client.post(f"/api/v1/holds/{hold_id}/{verdict}", json={"reason": reason})


class TestLooking:
    async def test_a_hold_is_shown_as_it_is(self, desk: Desk) -> None:
        hold = await desk.open(
            sql=HOSTILE, parameters=(HOSTILE, None), application_name=HOSTILE, reason=HOSTILE
        )
        async with await desk.client("vic") as client:
            answer = await client.get(f"/api/v1/holds/{hold.id}")
        assert answer.headers["content-type"] == "application/json"
        assert answer.json() == {
            **hold.to_dict(),
            "cannot_decide": "deciding takes the role approver",
            "yours": False,
        }
        assert answer.json()["parameters"] == [HOSTILE.replace("\0", "\\x00"), None]

    @pytest.mark.parametrize(
        "hold_id",
        [
            "H-" + "0" * 26,
            "x",
            "H-",
            "H-" + "0" * 27,
            "H-%00",
            "%F0%9F%92%A3",
            "..%2f..%2fme",
            "H-" + "o" * 26,
        ],
    )
    async def test_a_hold_that_is_not_there(self, desk: Desk, hold_id: str) -> None:
        async with await desk.client("carol", Role.APPROVER) as client:
            for method, path in (("GET", ""), ("POST", "/approve"), ("POST", "/reject")):
                answer = await client.request(
                    method, f"/api/v1/holds/{hold_id}{path}", json={"reason": "x"} if path else None
                )
                assert answer.status_code == 404
                assert answer.json()["title"] == "Not Found"

    async def test_holds_are_listed_page_by_page_newest_first(self, desk: Desk) -> None:
        opened = [(await desk.open()).id for _ in range(5)]
        found: list[str] = []
        pages = 0
        cursor: str | None = None
        async with await desk.client("vic") as client:
            while pages == 0 or cursor is not None:
                query: dict[str, str | int] = {"limit": 2, **({} if cursor is None else {"cursor": cursor})}
                page = (await client.get("/api/v1/holds", params=query)).json()
                found += [hold["id"] for hold in page["holds"]]
                cursor, pages = page["next"], pages + 1
                # What opens meanwhile does not move the pages.
                await desk.open(user="bob")
        assert (found, pages) == (opened[::-1], 3)

    @pytest.mark.parametrize("state", list(HoldState))
    async def test_holds_are_listed_by_state(self, desk: Desk, state: HoldState) -> None:
        pending = await desk.open()
        for number, ended in enumerate((HoldState.WITHDRAWN, HoldState.ABANDONED, HoldState.INTERRUPTED)):
            await desk.holds.end((await desk.open(user=f"u{number}")).id, ended, "because")
        expiring = await desk.open(expires=0.01)
        await desk.holds.wait(expiring.id)
        await decide(desk, (await desk.open()).id, "carol", "approve")
        await decide(desk, (await desk.open()).id, "carol", "reject", "no")
        async with await desk.client("vic") as client:
            found = (await client.get("/api/v1/holds", params={"state": state.value})).json()["holds"]
            assert [hold["state"] for hold in found] == [state.value]
            everything = (await client.get("/api/v1/holds")).json()["holds"]
        assert len(everything) == 7
        assert everything[-1]["id"] == pending.id

    @pytest.mark.parametrize(
        "query",
        [
            {"state": "open"},
            {"state": ""},
            {"limit": 0},
            {"limit": 201},
            {"limit": "x"},
            {"limit": "9" * 5000},
            {"cursor": "'; DROP TABLE holds"},
            {"cursor": ""},
            {"cursor": "x" * 65},
        ],
    )
    async def test_a_question_that_makes_no_sense(self, desk: Desk, query: dict[str, Any]) -> None:
        async with await desk.client("vic") as client:
            answer = await client.get("/api/v1/holds", params=query)
            assert answer.status_code == 422
            assert answer.json()["type"] == "urn:holdgate:problem:invalid-request"
            (error,) = answer.json()["errors"]
            assert error["field"] == f"query.{next(iter(query))}"


class TestDeciding:
    async def test_an_approval_is_answered_with_the_hold(self, desk: Desk) -> None:
        hold = await desk.open()
        answer = await decide(desk, hold.id, "carol", "approve", "as asked")
        assert answer.status_code == 200
        shown = answer.json()
        assert shown["state"] == "approved"
        assert {key: shown["decisions"][0][key] for key in ("who", "verdict", "reason", "how")} == {
            "who": "carol",
            "verdict": "approve",
            "reason": "as asked",
            "how": "api",
        }

    @pytest.mark.parametrize("content", [b"", b"null", b"{}", b'{"reason": ""}'])
    async def test_an_approval_needs_no_reason(self, desk: Desk, content: bytes) -> None:
        hold = await desk.open()
        async with await desk.client("carol", Role.APPROVER) as client:
            headers = {"Content-Type": "application/json"} if content else {}
            answer = await client.post(f"/api/v1/holds/{hold.id}/approve", content=content, headers=headers)
        assert answer.status_code == 200
        assert answer.json()["decisions"][0]["reason"] == ""

    async def test_a_rejection_needs_one(self, desk: Desk) -> None:
        hold = await desk.open()
        for reason in ("", "  \n"):
            answer = await decide(desk, hold.id, "carol", "reject", reason)
            assert answer.status_code == 422
            assert answer.json()["detail"] == "The reason is not accepted: a rejection needs a reason."
        async with await desk.client("carol", Role.APPROVER) as client:
            answer = await client.post(f"/api/v1/holds/{hold.id}/reject", json={})
            assert answer.json()["errors"][0]["field"] == "reason"
        assert (await decide(desk, hold.id, "carol", "reject", "no ticket")).json()["state"] == "rejected"

    @pytest.mark.parametrize("reason", ["\x1b[2J", "\0", "\u202e", "x" * 2001, "\u2066"])
    async def test_a_reason_that_would_deceive_is_not_accepted(self, desk: Desk, reason: str) -> None:
        hold = await desk.open()
        for verdict in ("approve", "reject"):
            answer = await decide(desk, hold.id, "carol", verdict, reason)
            assert answer.status_code == 422
            assert "\x1b" not in answer.text
        assert (await desk.holds.get(hold.id)).state is HoldState.PENDING

    @pytest.mark.parametrize(
        "content",
        [
            b"{",
            b"[]",
            b'"x"',
            b'{"reason": 5}',
            b'{"reason": "x", "approve": true}',
            b'{"reason": "\\ud800"}',
            b"\xff",
        ],
    )
    async def test_a_body_that_is_none(self, desk: Desk, content: bytes) -> None:
        hold = await desk.open()
        async with await desk.client("carol", Role.APPROVER) as client:
            for verdict in ("approve", "reject"):
                answer = await client.post(
                    f"/api/v1/holds/{hold.id}/{verdict}",
                    content=content,
                    headers={"Content-Type": "application/json"},
                )
                assert answer.status_code in (400, 422), answer.text
                assert answer.headers["content-type"] == "application/problem+json"
        assert (await desk.holds.get(hold.id)).state is HoldState.PENDING

    @pytest.mark.parametrize(
        ("user", "says"),
        [
            ("alice", "Not allowed: nobody decides about their own statement."),
            ("erin", "takes a member of dpo."),
        ],
    )
    async def test_who_may_not_decide_is_told_why(self, desk: Desk, user: str, says: str) -> None:
        hold = await desk.open()
        for verdict in ("approve", "reject"):
            answer = await decide(desk, hold.id, user, verdict, "because")
            assert answer.status_code == 403
            assert answer.json()["type"] == "urn:holdgate:problem:decision-not-allowed"
            assert says in answer.json()["detail"]
        assert (await desk.holds.get(hold.id)).state is HoldState.PENDING

    async def test_an_admin_who_is_an_approver_too_cannot_approve_their_own(self, desk: Desk) -> None:
        hold = await desk.open(user="boss", stages=(Stage(),))
        async with await desk.client("boss", *Role) as client:
            answer = await client.post(f"/api/v1/holds/{hold.id}/approve")
        assert answer.status_code == 403
        assert "their own statement" in answer.json()["detail"]

    @pytest.mark.parametrize("first", ["approve", "reject"])
    async def test_the_second_is_told_what_the_first_did(self, desk: Desk, first: str) -> None:
        hold = await desk.open()
        done = (await decide(desk, hold.id, "carol", first, "as asked")).json()
        for verdict in ("approve", "reject"):
            answer = await decide(desk, hold.id, "dave", verdict, "me too")
            assert answer.status_code == 409
            problem = answer.json()
            assert problem["type"] == "urn:holdgate:problem:already-resolved"
            assert problem["detail"] == f"The hold is already {done['state']} by carol."
            assert problem["hold"] == done

    async def test_too_late_after_every_other_end(self, desk: Desk) -> None:
        for state in (HoldState.WITHDRAWN, HoldState.ABANDONED, HoldState.INTERRUPTED):
            hold = await desk.open()
            await desk.holds.end(hold.id, state, "because")
            answer = await decide(desk, hold.id, "carol", "approve")
            assert (answer.status_code, answer.json()["detail"]) == (
                409,
                f"The hold is already {state.value}.",
            )
        hold = await desk.open()
        desk.clock.ahead += 900.0
        answer = await decide(desk, hold.id, "carol", "approve")
        assert (answer.status_code, answer.json()["detail"]) == (409, "The hold is already expired.")

    async def test_of_two_approvers_at_the_same_instant_exactly_one_wins(self, desk: Desk) -> None:
        async with (
            await desk.client("carol", Role.APPROVER) as carol,
            await desk.client("dave", Role.APPROVER) as dave,
        ):
            for round_ in range(50):
                hold = await desk.open()
                address = f"/api/v1/holds/{hold.id}"
                first, second = f"{address}/approve", f"{address}/{'reject' if round_ % 2 else 'approve'}"
                answers = await asyncio.gather(
                    carol.post(first, json={"reason": "by carol"}),
                    dave.post(second, json={"reason": "by dave"}),
                )
                assert sorted(answer.status_code for answer in answers) == [200, 409]
                (won,) = [answer.json() for answer in answers if answer.status_code == 200]
                (lost,) = [answer.json() for answer in answers if answer.status_code == 409]
                assert lost["hold"] == won
                assert [one["who"] for one in won["decisions"]] == [won["decisions"][0]["reason"][3:]]
                assert {
                    **(await desk.holds.wait(hold.id)).to_dict(),
                    "cannot_decide": None,
                    "yours": False,
                } == won

    async def test_of_one_person_in_two_places_exactly_one_wins(self, desk: Desk) -> None:
        async with (
            await desk.client("carol", Role.APPROVER) as client,
            await desk.browser("carol") as browser,
        ):
            for _ in range(10):
                hold = await desk.open()
                answers = await asyncio.gather(
                    *(
                        caller.post(f"/api/v1/holds/{hold.id}/approve", json={})
                        for caller in (client, browser)
                    )
                )
                assert sorted(answer.status_code for answer in answers) == [200, 409]
                assert len((await desk.holds.get(hold.id)).decisions) == 1

    async def test_nothing_is_decided_while_it_cannot_be_recorded(self, desk: Desk) -> None:
        hold = await desk.open()
        # Larger than the store's own files, which are on the same disk here.
        await desk.open(sql="x" * 8_000_000, user="bob")
        async with await desk.client("carol", Role.APPROVER) as client:
            with full_disk(desk.config.audit.file):
                answer = await client.post(f"/api/v1/holds/{hold.id}/approve")
                assert answer.status_code == 503
                problem = answer.json()
                assert problem["type"] == "urn:holdgate:problem:audit-unavailable"
                assert (
                    problem["detail"] == "This cannot be recorded now, so it was not done. Try again later."
                )
                assert answer.headers["retry-after"] == "5"
            assert (await desk.holds.get(hold.id)).state is HoldState.INTERRUPTED

    async def test_a_store_that_is_gone_is_said_so(self, desk: Desk) -> None:
        hold = await desk.open()
        async with await desk.client("carol", Role.APPROVER) as client:
            me = await client.get("/api/v1/me")
            assert me.status_code == 200
            # The file has to be opened anew, and cannot be.
            assert isinstance(desk.store, SqlStore)
            await desk.store._engine.dispose()
            database = desk.config.audit.file.with_name("holdgate.db")
            database.rename(database.with_name("elsewhere"))
            database.mkdir()
            answer = await client.get(f"/api/v1/holds/{hold.id}")
            assert answer.status_code == 503
            assert answer.json()["type"] == "urn:holdgate:problem:store-unavailable"
            assert str(database) not in answer.text
            database.rmdir()
            database.with_name("elsewhere").rename(database)
            assert (await client.get(f"/api/v1/holds/{hold.id}")).status_code == 200
