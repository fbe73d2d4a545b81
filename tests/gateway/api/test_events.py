"""Server-sent events: nothing missed, nothing shown to who may not see it, and an end when there is one."""

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

import gateway.api.events
from gateway.api.events import visible
from gateway.config import Role
from tests.gateway.management import Caller, Desk, management
from tests.support.postgres import Postgres
from tests.support.relay import Relay

PATH = "/api/v1/events"


@dataclass
class Sent:
    """One event, or one comment (its ``kind`` is a colon)."""

    kind: str
    id: str = ""
    data: Any = None


class Reader:
    """Reads one stream."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._lines = response.aiter_lines()

    async def next(self) -> Sent:
        """The next event or comment."""
        async with asyncio.timeout(10):
            fields: dict[str, str] = {}
            async for line in self._lines:
                if line.startswith(":"):
                    return Sent(":", data=line[1:].strip())
                if line:
                    name, _, value = line.partition(": ")
                    fields[name] = value
                elif "event" in fields:
                    data = json.loads(fields["data"])
                    return Sent(fields["event"], fields.get("id", ""), data)
                else:
                    fields.clear()
            raise StopAsyncIteration

    async def event(self) -> Sent:
        """The next event."""
        while (sent := await self.next()).kind == ":":
            pass
        return sent

    async def ends(self) -> bool:
        """Whether the stream ends, with nothing but signs of life before."""
        async with asyncio.timeout(10):
            return not [line async for line in self._lines if line and not line.startswith(":")]


@asynccontextmanager
async def stream(caller: Caller, after: str | None = None) -> AsyncIterator[Reader]:
    headers = {} if after is None else {"Last-Event-ID": after}
    async with caller, caller.stream("GET", PATH, headers=headers) as response:
        assert response.status_code == 200
        reader = Reader(response)
        assert (await reader.next()).data == "connected"
        yield reader


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Signs of life, and looks at who is reading, all the time."""
    monkeypatch.setattr(gateway.api.events, "_RECHECK_SECONDS", 0.0)
    # The default of an argument, which was evaluated when the class was made.
    monkeypatch.setattr(gateway.api.events.EventStreams.__init__, "__defaults__", (0.02,))
    monkeypatch.setattr("gateway.api.app.create_app.__kwdefaults__", {"heartbeat": 0.02})


async def test_what_happens_is_told_as_it_happens(desk: Desk) -> None:
    async with stream(await desk.client("vic")) as reader:
        assert reader.response.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert reader.response.headers["cache-control"] == "no-store"
        hold = await desk.open(sql="line\nbreak\r\n\x1b\u2028")
        opened = await reader.event()
        assert (opened.kind, opened.data["kind"], opened.data["id"]) == (
            "hold.opened",
            "hold.opened",
            opened.id,
        )
        assert opened.data["data"] == hold.to_dict()
        assert opened.data["at"].endswith("Z")
        await desk.holds.end(hold.id, hold.state.__class__.ABANDONED, "gone")
        assert (await reader.event()).data["data"]["state"] == "abandoned"


async def test_who_comes_back_misses_nothing(desk: Desk) -> None:
    async with stream(await desk.client("vic")) as reader:
        await desk.open()
        seen = await reader.event()
    missed = [await desk.open(user=f"u{number}") for number in range(3)]
    async with stream(await desk.client("vic"), after=seen.id) as reader:
        found = [(await reader.event()).data["data"]["id"] for _ in missed]
        assert found == [hold.id for hold in missed]
        await desk.open(user="now")
        assert (await reader.event()).data["data"]["user"] == "now"


@pytest.mark.parametrize("after", ["", "x", "feedbeef-1", "9" * 400, "-", "a-b"])
async def test_who_comes_from_elsewhere_is_told_to_look_anew(desk: Desk, after: str) -> None:
    async with stream(await desk.client("vic"), after=after) as reader:
        assert (await reader.event()).kind == "reset"
        await desk.open()
        assert (await reader.event()).kind == "hold.opened"


async def test_who_cannot_keep_up_is_told_to_look_anew(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(desk.bus).subscribe, "__kwdefaults__", {"after": None, "backlog": 3})
    async with stream(await desk.client("vic")) as reader:
        for number in range(10):
            desk.bus.publish("hold.test", {"number": number})
        assert (await reader.event()).kind == "reset"


@pytest.mark.parametrize(
    ("kind", "roles", "sees"),
    [
        ("hold.opened", {Role.VIEWER}, True),
        ("session.started", {Role.APPROVER}, True),
        ("gateway.reloaded", {Role.VIEWER}, True),
        ("reset", set(), True),
        ("audit.record", {Role.VIEWER, Role.APPROVER}, False),
        ("audit.record", {Role.AUDITOR}, True),
        ("audit.record", {Role.ADMIN}, True),
        ("something.else", {Role.VIEWER, Role.APPROVER, Role.AUDITOR}, False),
        ("something.else", {Role.ADMIN}, True),
    ],
)
def test_who_sees_what(kind: str, roles: set[Role], sees: bool) -> None:
    assert visible(kind, frozenset(roles)) is sees


async def test_what_a_reader_may_not_see_is_left_out(desk: Desk) -> None:
    async with (
        stream(await desk.client("vic")) as reader,
        stream(await desk.client("olga", Role.AUDITOR)) as auditor,
    ):
        desk.bus.publish("audit.record", {"secret": True})
        desk.bus.publish("hold.test", {})
        assert (await reader.event()).kind == "hold.test"
        assert (await auditor.event()).kind == "audit.record"


@pytest.mark.usefixtures("quick")
class TestQuick:
    async def test_signs_of_life_come_when_nothing_happens(self, desk: Desk) -> None:
        async with stream(await desk.client("vic")) as reader:
            assert [(await reader.next()).data for _ in range(3)] == ["still here"] * 3

    async def test_a_revoked_token_is_signed_out(self, desk: Desk) -> None:
        token, secret = await desk.tokens.issue("vic", {Role.VIEWER})
        caller = await desk.client()
        caller.headers["Authorization"] = f"Bearer {secret}"
        async with stream(caller) as reader:
            await desk.tokens.revoke(token.id)
            assert (await reader.event()).kind == "signed-out"
            assert await reader.ends()

    async def test_a_browser_that_signs_out_is_signed_out(self, desk: Desk) -> None:
        browser = await desk.browser("carol")
        headers, cookies = dict(browser.headers), browser.cookies
        async with stream(browser) as reader:
            async with httpx.AsyncClient(base_url=desk.url, headers=headers, cookies=cookies) as other:
                assert (await other.post("/api/v1/logout")).status_code == 204
            assert (await reader.event()).kind == "signed-out"

    async def test_somebody_who_loses_their_roles_is_signed_out_and_sees_nothing_more(
        self, desk: Desk
    ) -> None:
        async with stream(await desk.browser("carol")) as reader:
            users = {
                **desk.config.users,
                "carol": dataclasses.replace(desk.config.users["carol"], enabled=False),
            }
            desk.config = dataclasses.replace(desk.config, users=users)
            desk.bus.publish("hold.test", {})
            assert (await reader.event()).kind == "signed-out"
            assert await reader.ends()

    async def test_an_unattended_page_is_signed_out_in_time(self, desk: Desk) -> None:
        async with stream(await desk.browser("carol")) as reader:
            # The stream itself does not count as somebody being there.
            desk.clock.ahead += 1_700.0
            assert (await reader.next()).data == "still here"
            desk.clock.ahead += 200.0
            assert (await reader.event()).kind == "signed-out"

    async def test_a_store_that_does_not_answer_ends_the_stream(
        self, tmp_path: Path, postgres: Postgres, empty_database: str
    ) -> None:
        async with Relay(postgres.host, postgres.port) as relay:
            url = f"postgresql://{postgres.superuser}@{relay.host}:{relay.port}/{empty_database}"
            async with (
                management(tmp_path, store={"url": url}) as desk,
                stream(await desk.client("vic")) as reader,
            ):
                relay.refuse()
                relay.cut()
                # Who may look cannot be known, so nobody does.
                assert await reader.ends()
                relay.refuse(False)


async def test_a_reader_who_leaves_is_forgotten(desk: Desk) -> None:
    async with stream(await desk.client("vic")):
        assert len(desk.bus._subscriptions) == 1
    async with asyncio.timeout(10):
        while desk.bus._subscriptions:
            await asyncio.sleep(0.01)


async def test_there_are_only_so_many_streams(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway.api.events, "_STREAMS", 1)
    async with stream(await desk.client("vic")), await desk.client("vic") as other:
        answer = await other.get(PATH)
        assert answer.status_code == 503
        assert answer.json()["type"] == "urn:holdgate:problem:too-many-streams"


async def test_streams_end_when_the_port_closes(desk: Desk) -> None:
    async with stream(await desk.client("vic")) as reader:
        stopping = asyncio.ensure_future(desk.server.stop())
        assert await reader.ends()
        async with asyncio.timeout(10):
            await stopping
