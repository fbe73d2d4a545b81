"""``holdgate holds``."""

import asyncio
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pyotp
import pytest

import gateway.api.events
from gateway.config import Role
from gateway.holds import Hold, HoldState
from rules import Act, Affected, Demand, Escalation, Kind, Stage
from tests.gateway.cli.running import command, holdgate
from tests.gateway.management import Desk, management

HOSTILE = "\x1b[2J\x1b]0;owned\x07\u202e DROP"


async def as_(desk: Desk, user: str = "carol", *roles: Role) -> dict[str, str]:
    """The environment of somebody with a token."""
    return {"HOLDGATE_SERVER": desk.url, "HOLDGATE_TOKEN": await desk.token(user, *roles)}


def as_a_viewer_sees(hold: Hold) -> dict[str, object]:
    return {**hold.to_dict(), "cannot_decide": "deciding takes the role approver", "yours": False}


async def test_what_waits_is_listed(desk: Desk) -> None:
    environment = await as_(desk, "vic")
    said = await holdgate("holds", "list", **environment)
    assert (said.code, said.out, said.err) == (0, "", "nothing waits for a decision\n")
    first, second = await desk.open(), await desk.open(user="bob", sql="SELECT\n" + "x" * 100)
    said = await holdgate("holds", "list", **environment)
    header, *rows = said.out.splitlines()
    assert header.split() == ["ID", "STATE", "USER", "DATABASE", "OPENED", "EXPIRES", "RULE", "STATEMENT"]
    assert [row.split()[0] for row in rows] == [second.id, first.id]
    assert rows[0].endswith("SELECT " + "x" * 52 + "…")
    assert rows[1].endswith("DELETE FROM customer WHERE customer_id = $1")


async def test_by_state_and_number_and_as_json(desk: Desk) -> None:
    environment = await as_(desk, "vic")
    opened = [await desk.open() for _ in range(3)]
    await desk.holds.end(opened[0].id, HoldState.WITHDRAWN, "canceled")
    said = await holdgate("holds", "list", "--state", "withdrawn", "--json", **environment)
    assert said.json == [as_a_viewer_sees(await desk.holds.get(opened[0].id))]
    said = await holdgate("holds", "list", "--state", "all", "--limit", "2", "--json", **environment)
    assert [hold["id"] for hold in said.json] == [opened[2].id, opened[1].id]
    said = await holdgate("holds", "list", "--state", "expired", "--json", **environment)
    assert (said.code, said.out) == (0, "")


async def test_more_than_one_page_is_fetched(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.cli.holds._PAGE", 2)
    opened = [(await desk.open()).id for _ in range(5)]
    said = await holdgate("holds", "list", "--json", **await as_(desk, "vic"))
    assert [hold["id"] for hold in said.json] == opened[::-1]


async def test_a_hold_is_shown_with_everything_somebody_must_know(desk: Desk) -> None:
    hold = await desk.open(
        transaction_open_since=desk.clock.now(), parameters=("5", None), columns=("email",)
    )
    environment = await as_(desk, "vic")
    said = await holdgate("holds", "show", hold.id, **environment)
    fields = dict(re.findall(r"^([a-z ]+): +(.+)$", said.out, re.MULTILINE))
    assert fields["state"] == "pending"
    assert fields["user"] == "alice (support)"
    assert fields["from"] == "10.0.0.7, psql"
    assert fields["statement"] == "DELETE FROM customer WHERE customer_id = $1"
    assert "$1 = 5\n" in said.out
    assert "$2 = NULL\n" in said.out
    assert fields["can decide"] == "dpo; 1 still needed"
    assert fields["rows"] == "one subject"
    assert "transaction" in fields
    assert "decisions" not in fields
    await holdgate(
        "holds", "approve", hold.id, "--reason", "as asked", **await as_(desk, "carol", Role.APPROVER)
    )
    await desk.holds.claim(hold.id, hold.digest)
    await desk.holds.record_outcome(hold.id, None, None, "23503", 1.5)
    said = await holdgate("holds", "show", hold.id, **environment)
    assert re.search(r"^decisions: +approve by carol at \S+ \S+ \(cli\): as asked$", said.out, re.MULTILINE)
    assert re.search(r"^outcome: +failed with 23503$", said.out, re.MULTILINE)
    said = await holdgate("holds", "show", hold.id, "--json", **environment)
    assert said.json == [as_a_viewer_sees(await desk.holds.get(hold.id))]


async def test_a_hold_is_shown_with_what_it_would_do(desk: Desk) -> None:
    recent = {
        "at": "2030-01-31T12:00:00.000Z",
        "tag": None,
        "rows": None,
        "sqlstate": "42703",
        "hold_id": None,
    }
    hold = await desk.open(
        recent=(
            {**recent, "sql": "SELECT\x1b x"},
            {**recent, "tag": "SELECT 1", "sqlstate": None, "sql": "TABLE t"},
        )
    )
    environment = await as_(desk, "vic")
    said = await holdgate("holds", "show", hold.id, **environment)
    assert "SELECT\\x1b x (failed with 42703)\n" in said.out
    assert "TABLE t (SELECT 1)\n" in said.out
    assert "impact" not in said.out
    reached = {"constraint": "fk", "parent": "public.customer"}
    await desk.holds.keep_impact(
        hold.id,
        {
            "taken_at": "2030-01-31T12:00:00.000Z",
            "took_ms": 3.5,
            "formatted": "DELETE FROM customer\nWHERE\n  customer_id = $1",
            "changes": [
                {
                    "action": "delete",
                    "relation": "public.customer",
                    "rows": 1,
                    "reached": [
                        {**reached, "relation": "public.invoice", "rule": "CASCADE", "rows": 7},
                        {**reached, "relation": "public.note", "rule": "NO ACTION", "rows": None},
                    ],
                    "triggers": ["public.invoice: log (public.f)"],
                    "unseen": ["public.note (fk) not counted: permission denied"],
                }
            ],
            "reads": [
                {"rows": 59.0, "cost": 12.4, "unseen": None},
                {"rows": None, "cost": None, "unseen": "not estimated: too long"},
            ],
            "transaction": {
                "locks": [{"relation": "public.a", "mode": "RowLock"}],
                "waiting": 2,
                "unseen": None,
            },
            "unseen": ["the rest"],
        },
    )
    said = await holdgate("holds", "show", hold.id, **environment)
    lines = [line.strip().removeprefix("impact:").strip() for line in said.out.splitlines()]
    start = lines.index("delete 1 row of public.customer")
    assert lines[start + 1 : start + 10] == [
        "7 rows of public.invoice refer to public.customer: they change with it (fk, CASCADE)",
        "an unknown number of rows of public.note refer to public.customer: they stop it (fk, NO ACTION)",
        "trigger on public.invoice: log (public.f)",
        "not seen: public.note (fk) not counted: permission denied",
        "the planner expects 59 rows at a cost of 12",
        "not estimated: too long",
        "2 sessions wait for its transaction",
        "it holds RowLock on public.a",
        "not seen: the rest",
    ]
    assert "laid out" in said.out


async def test_stages_are_shown_with_who_is_still_needed(desk: Desk) -> None:
    stages = (
        Stage(("lead",), escalation=Escalation(("head",), 600)),
        Stage(("dpo", "legal"), 2, Escalation(("head",), 600)),
        Stage(),
    )
    hold = await desk.open(stages=stages)
    await desk.holds.decide(
        hold.id,
        who="erin",
        who_groups={"other"},
        who_roles={Role.APPROVER},
        approve=True,
        reason="",
        how="api",
        absent={"lea": {"lead"}},
    )
    said = await holdgate("holds", "show", hold.id, **await as_(desk, "vic"))
    shown = re.search(r"^can decide: +(.+)\n +(.+)\n +(.+)$", said.out, re.MULTILINE)
    assert shown is not None
    assert shown[1] == "lead; approved by erin"
    assert re.fullmatch(r"2 of dpo or legal; 2 still needed; head too from \S+ \S+", shown[2])
    assert shown[3] == "any approver; 1 still needed"
    assert re.search(r"^decisions: +approve by erin for lea at ", said.out, re.MULTILINE)


async def test_holds_about_the_same_people_are_shown_with_each_other(desk: Desk) -> None:
    kind = Kind("public.customer.customer_id", rooted=True)
    exports, deletes = (
        [Affected(act, "public.customer", kind, frozenset({"7"}))] for act in (Act.EXPORT, Act.DELETE)
    )
    export = await desk.open(affected=exports, place="db", session_id="S-1")
    deletion = await desk.open(affected=deletes, place="db", session_id="S-2")
    for hold, said in (
        (
            deletion,
            f"{export.id} of alice (pending) exports what this deletes: public.customer: customer_id 7; "
            "this one waits until it has ended",
        ),
        (
            export,
            f"{deletion.id} of alice (pending) deletes what this exports: public.customer: customer_id 7",
        ),
    ):
        shown = await holdgate("holds", "show", hold.id, **await as_(desk, "vic"))
        assert re.search(rf"^conflicts: +{re.escape(said)}$", shown.out, re.MULTILINE), shown.out


async def test_criteria_are_shown_with_what_came_of_them(desk: Desk) -> None:
    criteria = (
        {"criterion": "rows: <= 10", "met": True, "why": ""},
        {"criterion": "ticket: X", "met": False, "why": "no ticket was given"},
        {"criterion": "webhook: desk", "met": False, "outcome": "checking", "why": ""},
    )
    hold = await desk.open(criteria=criteria, check_seconds=60.0)
    said = await holdgate("holds", "show", hold.id, **await as_(desk, "vic"))
    shown = re.search(r"^criteria: +(.+)\n +(.+)\n +(.+)$", said.out, re.MULTILINE)
    assert shown is not None
    assert re.search(r"^people asked: +once its criteria are checked, at ", said.out, re.MULTILINE)
    assert shown.groups() == (
        "met: rows: <= 10",
        "not met: ticket: X (no ticket was given)",
        "being checked: webhook: desk",
    )
    said = await holdgate("holds", "approve", hold.id, **await as_(desk, "carol", Role.APPROVER))
    assert (said.code, "are being checked; decide in a moment" in said.err) == (1, True)
    outcomes = [{**criteria[2], "outcome": "unchecked", "why": "there was no answer in 1 s"}]
    await desk.holds.checked(hold.id, outcomes, "ask", "")
    said = await holdgate("holds", "show", hold.id, **await as_(desk, "vic"))
    assert "could not be checked: webhook: desk (there was no answer in 1 s)" in said.out
    assert "people asked" not in said.out


async def test_an_approval_that_is_not_the_last_is_confirmed_as_that(desk: Desk) -> None:
    hold = await desk.open(stages=(Stage(("dpo",), 2),))
    environment = await as_(desk, "carol", Role.APPROVER)
    said = await holdgate("holds", "approve", hold.id, **environment)
    assert said.code == 0
    assert said.out.startswith(f"{hold.id} pending, 1 still needed: DELETE FROM")
    said = await holdgate("holds", "approve", hold.id, **environment)
    assert said.code == 1
    assert "carol has approved" in said.err


async def test_a_decision_is_confirmed(desk: Desk) -> None:
    environment = await as_(desk, "carol", Role.APPROVER)
    hold = await desk.open()
    said = await holdgate("holds", "approve", hold.id, **environment)
    assert said.code == 0
    assert said.out == f"{hold.id} approved: DELETE FROM customer WHERE customer_id = $1\n"
    other = await desk.open()
    said = await holdgate("holds", "reject", other.id, "--reason", "no ticket", "--json", **environment)
    assert [(one["state"], one["decisions"][0]["reason"]) for one in said.json] == [("rejected", "no ticket")]


async def test_an_approval_for_a_number_of_rows(desk: Desk) -> None:
    environment = await as_(desk, "carol", Role.APPROVER)
    change = {"relation": "t", "action": "delete", "rows": 3, "reached": [], "triggers": [], "unseen": []}
    counted: dict[str, object] = {
        "formatted": "",
        "taken_at": "2030-01-31T12:00:00.000Z",
        "took_ms": 1,
        "changes": [change],
        "reads": [],
        "unseen": [],
        "transaction": None,
    }
    for words, rows in (((), 3), (("--max-rows", "7"), 7), (("--max-rows", "any"), None)):
        hold = await desk.open()
        await desk.holds.keep_impact(hold.id, counted)
        said = await holdgate("holds", "show", hold.id, **environment)
        assert re.search("^no more than: +3 rows, unless --max-rows", said.out, re.MULTILINE)
        said = await holdgate("holds", "approve", hold.id, *words, **environment)
        assert (" for no more than" in said.out) is (rows is not None)
        assert (await desk.holds.get(hold.id)).max_rows == rows
    said = await holdgate("holds", "show", hold.id, **environment)
    assert "no more than:" not in said.out
    other = await desk.open(uncounted="it is a riddle")
    said = await holdgate("holds", "show", other.id, **environment)
    assert re.search("^no more than: +any number of rows: it is a riddle", said.out, re.MULTILINE)
    said = await holdgate("holds", "approve", other.id, "--max-rows", "1", **environment)
    assert said.failed() == "Not accepted: a number of rows cannot be enforced here: it is a riddle."
    for word in ("-1", "1.5", "two", "²"):
        assert (await holdgate("holds", "approve", other.id, "--max-rows", word, **environment)).code == 2
    said = await holdgate("holds", "approve", other.id, "--max-rows", "any", **environment)
    assert said.code == 0


async def test_what_cannot_be_decided_is_one_line(desk: Desk) -> None:
    environment = await as_(desk, "carol", Role.APPROVER)
    hold = await desk.open()
    await holdgate("holds", "approve", hold.id, **environment)
    said = await holdgate("holds", "reject", hold.id, "--reason", "no", **environment)
    assert said.failed() == "The hold is already approved by carol."
    said = await holdgate("holds", "show", "H-nothing", **environment)
    assert said.failed() == "There is no such hold."
    said = await holdgate("holds", "approve", "../../me", **environment)
    assert said.failed() == "There is nothing at this address."
    other = await desk.open()
    said = await holdgate("holds", "reject", other.id, "--reason", " ", **environment)
    assert said.failed() == "The reason is not accepted: a rejection needs a reason."
    said = await holdgate("holds", "reject", other.id, "--reason", "\x1b[2J", **environment)
    assert said.failed() == "The reason is not accepted: a reason cannot contain control characters."
    said = await holdgate("holds", "approve", other.id, **await as_(desk, "vic"))
    assert said.failed() == "Your roles do not allow this."
    said = await holdgate("holds", "approve", other.id, **await as_(desk, "alice", Role.APPROVER))
    assert said.failed() == "Not allowed: nobody decides about their own statement."


async def test_hostile_text_speaks_to_no_terminal(desk: Desk) -> None:
    hold = await desk.open(
        sql=HOSTILE,
        user=HOSTILE,
        application_name=HOSTILE,
        reason=HOSTILE,
        parameters=(HOSTILE,),
        relations=(HOSTILE,),
        database=HOSTILE,
    )
    environment = await as_(desk, "carol", Role.APPROVER)
    for words in (("list",), ("show", hold.id), ("approve", hold.id), ("list", "--json", "--state", "all")):
        said = await holdgate("holds", *words, **environment)
        assert said.code == 0
        for char in "\x1b\x07\u202e":
            assert char not in said.out
        assert r"\x1b[2J" in said.out or r"\u001b[2J" in said.out


class TestWatch:
    @asynccontextmanager
    async def watching(self, desk: Desk, *words: str) -> AsyncIterator[asyncio.subprocess.Process]:
        environment = await as_(desk, "vic")
        process = await asyncio.create_subprocess_exec(
            *command("holds", "watch", *words),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={"PATH": "/usr/bin:/bin", **environment},
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    @staticmethod
    async def line(stream: asyncio.StreamReader | None) -> str:
        assert stream is not None
        async with asyncio.timeout(20):
            return (await stream.readline()).decode()

    async def test_holds_are_told_as_they_open_and_end(self, desk: Desk) -> None:
        waiting = await desk.open(sql=HOSTILE)
        async with self.watching(desk) as process:
            first = await self.line(process.stdout)
            assert f"{waiting.id} waits alice@shop:" in first
            assert "\x1b" not in first
            # It listens once it has been seen to be subscribed.
            async with asyncio.timeout(20):
                while not desk.bus._subscriptions:
                    await asyncio.sleep(0.01)
            hold = await desk.open(check_seconds=60.0)
            await desk.holds.checked(hold.id, (), "ask", "")
            await desk.holds.decide(
                hold.id,
                who="carol",
                who_groups={"dpo"},
                who_roles={Role.APPROVER},
                approve=True,
                reason="",
                how="api",
            )
            await desk.holds.claim(hold.id, hold.digest)
            await desk.holds.record_outcome(hold.id, "DELETE 1", 1, None, 1.5)
            words = ("waits", "its criteria are checked", "approved by carol", "runs", "done (DELETE 1)")
            told = [await self.line(process.stdout) for _ in words]
            for text, word in zip(told, words, strict=True):
                assert re.fullmatch(rf"\S+ \S+ {hold.id} {re.escape(word)} alice@shop: .*\n", text)
            process.send_signal(signal.SIGINT)
            async with asyncio.timeout(20):
                assert await process.wait() == 130
            assert await self.line(process.stderr) == ""

    async def test_as_json_for_whoever_reads_on(self, desk: Desk) -> None:
        async with self.watching(desk, "--json") as process:
            async with asyncio.timeout(20):
                while not desk.bus._subscriptions:
                    await asyncio.sleep(0.01)
            hold = await desk.open(sql=HOSTILE)
            text = await self.line(process.stdout)
            assert text.isascii()
            assert f'"id":"{hold.id}"' in text

    async def test_a_token_that_is_revoked_ends_it(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(gateway.api.events, "_RECHECK_SECONDS", 0.0)
        token, secret = await desk.tokens.issue("vic", {Role.VIEWER})
        watching = asyncio.ensure_future(
            holdgate("holds", "watch", "--json", HOLDGATE_SERVER=desk.url, HOLDGATE_TOKEN=secret)
        )
        async with asyncio.timeout(20):
            while not desk.bus._subscriptions:
                await asyncio.sleep(0.01)
            await desk.tokens.revoke(token.id)
            desk.bus.publish("hold.test", {})
            said = await watching
        assert said.failed() == "the token is not accepted any more: it expired or was revoked"

    async def test_a_connection_that_is_lost_is_said_and_taken_up_again(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("gateway.cli.holds._RETRY_SECONDS", 0.05)
        token, secret = await desk.tokens.issue("vic", {Role.VIEWER})
        watching = asyncio.ensure_future(
            holdgate("holds", "watch", HOLDGATE_SERVER=desk.url, HOLDGATE_TOKEN=secret)
        )
        async with asyncio.timeout(20):
            while not desk.bus._subscriptions:
                await asyncio.sleep(0.01)
            await desk.open(user="before")
            desk.server._management.streams.close()
            while desk.bus._subscriptions:
                await asyncio.sleep(0.01)
            desk.server._management.streams._closed = False
            await desk.open(user="meanwhile")
            while not desk.bus._subscriptions:
                await asyncio.sleep(0.01)
            await desk.tokens.revoke(token.id)
            monkeypatch.setattr(gateway.api.events, "_RECHECK_SECONDS", 0.0)
            desk.bus.publish("hold.test", {})
            said = await watching
        assert said.code == 1
        assert re.search("before@shop.*\n.*meanwhile@shop", said.out)
        assert f"holdgate: the connection to {desk.url} was lost; trying again\n" in said.err


async def test_the_queue(desk: Desk) -> None:
    environment = await as_(desk, "vic")
    said = await holdgate("holds", "queue", **environment)
    assert (said.out, said.err) == ("", "nothing is at work under a cap, and nothing waits\n")
    holds = [await desk.open() for _ in range(3)]
    for number, hold in enumerate(holds):
        await desk.holds.decide(
            hold.id,
            who="carol",
            who_groups={"dpo"},
            who_roles={Role.APPROVER},
            approve=True,
            reason=None,
            how="api",
        )
        cap = Demand("two", "shop.public.customer", 2, 3600.0)
        await desk.holds.line_up(f"e{number}", hold.id, [cap], desk.clock.now(), False)
    said = await holdgate("holds", "queue", **environment)
    header, row = (re.split("  +", line) for line in said.out.splitlines())
    assert header == ["CAP", "FOR", "MOST", "TAKEN", "WAITING"]
    assert row == ["two", "shop.public.customer", "2 an hour", "2", holds[2].id]
    said = await holdgate("holds", "queue", "--json", **environment)
    assert [one["waiting"] for one in said.json] == [[holds[2].id]]
    said = await holdgate("holds", "show", holds[2].id, **environment)
    assert re.search(r"^queue: +place 1 of 1 under the cap two, room at ", said.out, re.MULTILINE)
    said = await holdgate("holds", "list", "--state", "approved", **environment)
    assert [line.split()[1] for line in said.out.splitlines()[1:]] == ["queued", "approved", "approved"]


async def test_whoever_asked_confirms_by_command(tmp_path: Path) -> None:
    async with management(tmp_path, store={"key": "0123456789abcdef0123456789abcdef"}) as desk:
        desk.clock.ahead = 15 - desk.clock.now().timestamp() % 30
        secret, _ = await desk.totp.begin("alice")
        one_time = pyotp.TOTP(secret)
        await desk.totp.confirm("alice", one_time.at(desk.clock.now()))
        desk.clock.ahead += 90
        hold = await desk.open(confirm="second-factor")
        environment = await as_(desk, "alice")
        said = await holdgate("holds", "show", hold.id, **environment)
        assert re.search(r"^confirmation: +by alice, second-factor, not given$", said.out, re.MULTILINE)
        said = await holdgate("holds", "confirm", hold.id, "--totp", "000000", **environment)
        assert said.failed() == "Not proven: the code is wrong; compare the clock of your telephone."
        code = one_time.at(desk.clock.now())
        said = await holdgate("holds", "confirm", hold.id, "--totp", code, **environment)
        assert said.out == f"{hold.id} confirmed: DELETE FROM customer WHERE customer_id = $1\n"
        said = await holdgate("holds", "show", hold.id, **environment)
        assert re.search(r"^confirmation: +by alice at \S+ \S+ \(totp\)$", said.out, re.MULTILINE)
