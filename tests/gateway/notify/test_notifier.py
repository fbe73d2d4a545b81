"""Sending what is in the outbox: again when it fails, to its end, and without anybody waiting for it."""

import asyncio
import base64
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.config import Channel, Config, Role, TeamsChannel, WebhookChannel, load_config
from gateway.holds import HoldState
from gateway.metrics import Metrics
from gateway.notify.notifier import Notifier, Pace, retry_seconds
from gateway.people import People
from gateway.store import Message, MessageState
from rules import Escalation, Stage
from tests.gateway.management import hold_request, write_config
from tests.gateway.store.samples import sqlite_url
from tests.gateway.test_holds import open_desk
from tests.support.gateway import SHOP_POLICY, GatewayProcess, make_config
from tests.support.postgres import Postgres
from tests.support.receivers import HANG, RESET, Behaviour, WebServer, web_server
from tests.support.wire import Q, RawClient

KEY = b"k" * 32
QUICK = Pace(poll=0.02, first=0.02, longest=0.1, margin=0.2)
DELETE = "DELETE FROM invoice_line WHERE invoice_line_id = 7"


class Desk:
    """Holds, and a notifier that tells of them by the channels of a configuration."""

    def __init__(self, folder: Path, server: WebServer) -> None:
        self.config: Config = load_config(write_config(folder))
        self.server = server
        self.metrics = Metrics()
        self.holds: Any
        self.store: Any
        self.notifier: Notifier

    def channel(self, name: str = "feed", path: str = "/", **changes: Any) -> None:
        """Send by a webhook of this name from now on."""
        channel = WebhookChannel(name=name, url=f"{self.server.url}{path}", secrets=(KEY,), timeout=0.3)
        self.use({**self.config.notifications, name: dataclasses.replace(channel, **changes)})

    def use(self, channels: dict[str, Channel]) -> None:
        self.config = dataclasses.replace(self.config, notifications=channels)
        self.notifier.reload()

    async def message(self, wanted: Callable[[Message], bool], number: int = 0) -> Message:
        """The message of this number, oldest first, once it is as wanted."""
        async with asyncio.timeout(15):
            while True:
                found = list(reversed(await self.store.messages(state=None, limit=50)))
                if len(found) > number and wanted(found[number]):
                    message: Message = found[number]
                    return message
                await asyncio.sleep(0.01)

    def counted(self, outcome: str, channel: str = "feed") -> float:
        value: float = self.metrics.notifications_total.labels(channel, outcome)._value.get()
        return value


@contextlib.asynccontextmanager
async def desk(folder: Path, *behaviours: Behaviour, **changes: Any) -> AsyncIterator[Desk]:
    async with web_server(*behaviours) as server, open_desk(folder, sqlite_url(folder)) as holding:
        made = Desk(folder, server)
        made.holds, made.store = holding.holds, holding.store
        made.notifier = Notifier(
            holding.store,
            holding.bus,
            lambda: made.config,
            People(holding.store, lambda: made.config),
            made.metrics,
            pace=QUICK,
        )
        await made.notifier.start()
        try:
            made.channel(**changes)
            yield made
        finally:
            await made.notifier.stop()


def state(*wanted: MessageState) -> Callable[[Message], bool]:
    return lambda message: message.state in wanted


def test_waits_grow_and_are_spread() -> None:
    pace = Pace(first=5.0, longest=3600.0)
    for attempts, longest in ((1, 5.0), (2, 10.0), (5, 80.0), (40, 3600.0), (4000, 3600.0)):
        waits = [retry_seconds(pace, attempts, None) for _ in range(50)]
        assert longest / 2 <= min(waits) < max(waits) <= longest
    assert retry_seconds(pace, 1, 60.0) == 60.0
    assert retry_seconds(pace, 1, 1e9) == 3600.0


async def test_a_hold_is_told_of_as_it_opens_and_ends(tmp_path: Path) -> None:
    async with desk(tmp_path) as made:
        hold = await made.holds.open(hold_request())
        asked = (await made.server.next()).json()
        await made.holds.end(hold.id, HoldState.WITHDRAWN, "no more")
        ended = (await made.server.next()).json()
        await made.message(state(MessageState.SENT), 1)
    assert [(one["type"], one["data"]["id"]) for one in (asked, ended)] == [
        ("hold.asked", hold.id),
        ("hold.resolved", hold.id),
    ]
    assert (ended["data"]["state"], ended["data"]["end_reason"]) == ("withdrawn", "no more")
    assert (made.counted("sent"), made.counted("failed"), made.counted("dead")) == (2, 0, 0)


async def test_each_stage_is_asked_and_an_escalation_asks_others(tmp_path: Path) -> None:
    stages = (Stage(("lead",), escalation=Escalation(("legal",), 0.3)), Stage(("dpo",)))
    async with desk(tmp_path) as made:
        hold = await made.holds.open(hold_request(stages=stages))

        async def approve(who: str, group: str) -> None:
            person: dict[str, Any] = {"who": who, "who_groups": {group}, "who_roles": {Role.APPROVER}}
            await made.holds.decide(hold.id, **person, approve=True, reason="", how="api")

        told = [(await made.server.next()).json() for _ in range(2)]
        await approve("lea", "lead")
        told.append((await made.server.next()).json())
        await approve("carol", "dpo")
        told.append((await made.server.next()).json())
    assert [one["type"] for one in told] == ["hold.asked", "hold.escalated", "hold.asked", "hold.resolved"]
    assert [len(one["data"]["decisions"]) for one in told] == [0, 0, 1, 2]


async def test_it_is_tried_again_with_the_same_id_until_it_is_taken(tmp_path: Path) -> None:
    async with desk(tmp_path, (500, {}, b""), RESET, HANG, (302, {"Location": "/"}, b"")) as made:
        await made.holds.open(hold_request())
        message = await made.message(state(MessageState.SENT))
    assert message.attempts == 5
    assert len({one.headers["webhook-id"] for one in made.server.seen}) == 1
    assert (made.counted("failed"), made.counted("sent")) == (4, 1)


@pytest.mark.parametrize(("behaviour", "attempts"), [((500, {}, b""), 3), ((410, {}, b""), 1)])
async def test_in_the_end_it_is_given_up_loudly(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, behaviour: Behaviour, attempts: int
) -> None:
    async with desk(tmp_path, path="/s3cret", attempts=3) as made:
        made.server.otherwise = behaviour
        hold = await made.holds.open(hold_request())
        dead = await made.message(state(MessageState.DEAD))
        async with asyncio.timeout(5):
            while made.metrics.notifications.labels("dead")._value.get() != 1:
                await asyncio.sleep(0.01)
        assert (dead.attempts, dead.error, dead.hold_id) == (attempts, f"HTTP {behaviour[0]}", hold.id)
        assert made.counted("dead") == 1
        assert f"is given up after {attempts} attempts: HTTP {behaviour[0]}" in caplog.text
        assert "s3cret" not in caplog.text
        # Sent anew, it has all of its attempts again.
        made.server.otherwise = (200, {}, b"")
        assert await made.store.revive_message(dead.id)
        assert (await made.message(state(MessageState.SENT))).attempts == 1


async def test_a_channel_that_asks_to_be_left_alone_is(tmp_path: Path) -> None:
    async with desk(tmp_path, (429, {"Retry-After": "60"}, b"")) as made:
        await made.holds.open(hold_request())
        first = await made.message(lambda message: message.error is not None)
        # Asked for more than the longest wait, which is what it gets.
        assert 0.05 < (first.due_at - first.created_at).total_seconds() < 5
        await made.message(state(MessageState.SENT))
    assert made.counted("failed") == 1


async def test_a_dead_channel_disturbs_nothing(tmp_path: Path) -> None:
    async with web_server(otherwise=HANG) as silent, desk(tmp_path) as made:
        made.channel("silent", url=silent.url, timeout=1.0)
        for number in range(6):
            await made.holds.open(hold_request(session_id=f"S-{number}"))
        # The holds are there, and the other channel has told of all of them, while this one still waits.
        for _ in range(6):
            await made.server.next()
        assert made.counted("failed", "silent") == 0
        assert 0 < len(silent.seen) <= QUICK.batch


async def test_what_breaks_a_channel_stops_nothing_behind_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.notify.notifier.notice_of", lambda *_: 1 / 0)
    async with desk(tmp_path, attempts=1) as made:
        await made.holds.open(hold_request())
        assert (await made.message(state(MessageState.DEAD))).error == "failed: ZeroDivisionError"
        monkeypatch.undo()
        await made.holds.open(hold_request())
        await made.message(state(MessageState.SENT), 1)


async def test_people_are_not_asked_about_what_is_over(tmp_path: Path) -> None:
    async with desk(tmp_path) as made:
        made.use({"team": TeamsChannel(name="team", url=made.server.url, events=("asked",))})
        made.server.behaviours.append((500, {}, b""))
        hold = await made.holds.open(hold_request())
        await made.message(lambda message: message.attempts == 1)
        await made.holds.end(hold.id, HoldState.WITHDRAWN, "no more")
        dropped = await made.message(state(MessageState.DROPPED))
    assert dropped.error == "the hold is withdrawn already"
    assert made.counted("dropped", "team") == 1


async def test_channels_come_change_and_go(tmp_path: Path) -> None:
    async with desk(tmp_path, path="/one") as made:
        await made.holds.open(hold_request())
        assert (await made.server.next()).path == "/one"
        made.channel(path="/two")
        await made.holds.open(hold_request())
        assert (await made.server.next()).path == "/two"
        made.use({})
        await made.holds.open(hold_request())
        assert len(await made.store.messages(state=None, limit=50)) == 2


async def test_a_channel_that_cannot_be_made_is_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with desk(tmp_path) as made:
        made.channel("bad", url="https://127.0.0.1:1", ca=Path(__file__))
        await made.holds.open(hold_request())
        await made.server.next()
    assert "nothing can be sent by bad: the certificates in" in caplog.text


async def test_what_a_dead_gateway_did_not_send_the_next_one_does(tmp_path: Path) -> None:
    async with desk(tmp_path) as made:
        made.server.otherwise = HANG
        await made.holds.open(hold_request())
        first = await made.server.next()
    # Whoever stopped had it under way, and its lease is not over.
    async with desk(tmp_path) as again:
        second = await again.server.next()
    assert first.headers["webhook-id"] == second.headers["webhook-id"]


# Processes


def _settings(server: WebServer) -> dict[str, Any]:
    secret = "whsec_" + base64.b64encode(KEY).decode()
    return {
        "notifications": {
            "feed": {"kind": "webhook", "url": f"{server.url}/s3cret", "secret": secret, "timeout": "0.5s"}
        },
        "rules": [
            {
                "name": "erasure",
                "when": {"action": "delete"},
                "then": "hold",
                "hold": "ticket",
                "approval": {"from": ["dpo"]},
            }
        ],
    }


@pytest.mark.timeout(120)
async def test_killed_between_the_hold_and_the_delivery(
    postgres: Postgres, database: str, tmp_path: Path
) -> None:
    """Two gateways on one store: what the killed one had under way the other delivers, and neither sends what the other
    did."""
    name = postgres.create_database(template=None)
    store = f"postgresql://{postgres.superuser}@{postgres.host}:{postgres.port}/{name}"
    async with web_server(HANG) as server:
        gateways = []
        for each in ("here", "there"):
            (tmp_path / each).mkdir()
            config = make_config(postgres, SHOP_POLICY, {"store": {"url": store}}, _settings(server))
            gateways.append(GatewayProcess(tmp_path / each, config))
        async with gateways[0] as here, gateways[1] as there:
            client = await RawClient.connect(here.host, here.port, database=database)
            await client.send(Q(DELETE))
            # Whichever gateway took it hangs; it dies, or the lease ends.
            first = await server.next()
            await client.close()
            await here.kill()
            second = await server.next()
            assert first.headers["webhook-id"] == second.headers["webhook-id"]
            assert (first.json()["type"], first.json()["data"]["ticket"]) == ("hold.asked", True)
            async with await there.client("carol") as carol:
                assert (await carol.approve(first.json()["data"]["id"])).status_code == 200
            third = await server.next()
            assert (third.json()["type"], third.json()["data"]["state"]) == ("hold.resolved", "approved")
            text = there.log_text() + here.log_text()
            assert "s3cret" not in text
            sent = await _sent(there)
        assert [one.headers["webhook-id"] for one in server.seen] == [
            one.headers["webhook-id"] for one in (first, second, third)
        ]
        assert sent == ["asked", "resolved"]
    postgres.drop_database(name)


async def _sent(gateway: GatewayProcess) -> list[str]:
    """What was sent, oldest first, as an auditor sees it."""
    async with asyncio.timeout(10), await gateway.client("olga") as olga:
        while True:
            answer: httpx.Response = await olga.http.get("/api/v1/notifications", params={"state": "sent"})
            messages = answer.json()["messages"]
            if len(messages) == 2:
                return [one["event"] for one in reversed(messages)]
            await asyncio.sleep(0.05)
