"""Statements that whoever sent them has to confirm, with a real client, real mail, and a real browser's requests."""

import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyotp
import pytest

from gateway.clock import now
from tests.support.gateway import (
    SHOP_POLICY,
    ApproverClient,
    RunningGateway,
    make_config,
    running_gateway,
)
from tests.support.ports import free_port
from tests.support.postgres import Postgres
from tests.support.receivers import Mail, MailServer, mail_server
from tests.support.wire import Q, tags

DELETE = "DELETE FROM invoice_line WHERE invoice_line_id = 7"
LINES = "SELECT count(*) FROM invoice_line"
KEY = "0123456789abcdef0123456789abcdef"


def policy(way: str, **rule: Any) -> dict[str, Any]:
    approval = {"from": ["dpo"], "confirm": way, "expires": "15m"}
    return {"rules": [{**SHOP_POLICY["rules"][0], "approval": approval, **rule}]}


@pytest.fixture
async def mail() -> AsyncIterator[MailServer]:
    async with mail_server() as server:
        yield server


def config(postgres: Postgres, mail: MailServer, *changes: dict[str, Any]) -> dict[str, Any]:
    port = free_port()
    return make_config(
        postgres,
        SHOP_POLICY,
        {
            "admin": {"port": port, "public_url": f"http://127.0.0.1:{port}"},
            "store": {"key": KEY},
            "users": {
                "postgres": {"email": "asker@example.org", "roles": ["viewer"]},
                "carol": {"email": "carol@example.org"},
            },
            "notifications": {
                "post": {
                    "kind": "email",
                    "host": "127.0.0.1",
                    "port": mail.port,
                    "tls": "none",
                    "from": "holdgate@example.org",
                }
            },
        },
        *changes,
    )


def link_in(mail: Mail) -> str:
    found = re.search(r"http://127\.0\.0\.1:\d+/confirm/H-[0-9A-Z]{26}\?t=\S+", mail.text)
    assert found is not None, mail.text
    return found[0]


async def refused_for_now(carol: ApproverClient, hold_id: str) -> None:
    answer = await carol.approve(hold_id)
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:holdgate:problem:awaiting-confirmation")


async def follow(gateway: RunningGateway, link: str) -> None:
    """What somebody does with the link: they look, and press the button."""
    async with ApproverClient(gateway.url, "") as anybody:
        del anybody.http.headers["Authorization"]
        page = await anybody.http.get(link)
        assert page.status_code == 200
        assert DELETE in page.text
        path, _, token = link.partition("?t=")
        assert (await anybody.http.post(path, data={"t": token})).status_code == 200


async def test_by_a_link_and_only_then_are_others_asked(
    postgres: Postgres, database: str, tmp_path: Path, mail: MailServer
) -> None:
    before = postgres.scalar(LINES, database)
    async with (
        running_gateway(tmp_path, config(postgres, mail, policy("email"))) as gateway,
        await gateway.raw(database) as client,
    ):
        carol = await gateway.client("carol")
        await client.send(Q(DELETE))
        notice = await client.read()
        found = re.fullmatch(
            "statement waits for your confirmation: hold (H-[0-9A-Z]{26})", notice.fields["M"]
        )
        assert found is not None, notice.fields
        assert notice.fields["H"].startswith("Follow the link that is sent to you by e-mail.")
        assert "Nobody is asked before." in notice.fields["D"]
        hold_id = found[1]
        asked = await mail.next()
        assert asked.recipients == ("asker@example.org",)
        assert "Confirm that you ask for this: delete on public.invoice_line" in asked.message["Subject"]
        await refused_for_now(carol, hold_id)
        link = link_in(asked)
        await follow(gateway, link)
        # Now the session is told, and whoever can decide.
        notice = await client.read()
        assert notice.fields["M"] == f"statement still waits for approval: hold {hold_id}"
        to_carol = await mail.next()
        assert to_carol.recipients == ("carol@example.org",)
        assert "postgres asks for approval" in to_carol.message["Subject"]
        assert "/confirm/" not in to_carol.text
        assert (await carol.approve(hold_id)).status_code == 200
        assert tags(await client.read_until("Z")) == "CZ"
        decided = await mail.next()
        assert decided.recipients == ("asker@example.org",)
        records = await gateway.recorded(hold_id=hold_id)
        assert [(one["kind"], one["tag"]) for one in records] == [
            ("hold", "opened"),
            ("hold", "confirmed"),
            ("decision", "approved"),
            ("statement", "DELETE 1"),
        ]
        assert records[1]["details"]["confirmed_how"] == "email"
    assert postgres.scalar(LINES, database) == before - 1
    assert len(mail.seen) == 3


async def test_a_ticket_and_a_second_factor(
    postgres: Postgres, database: str, tmp_path: Path, mail: MailServer
) -> None:
    async with (
        running_gateway(tmp_path, config(postgres, mail, policy("second-factor", hold="ticket"))) as gateway,
        await gateway.raw(database) as client,
    ):
        carol, asker = await gateway.client("carol"), await gateway.client("postgres")
        secret = (await asker.http.post("/api/v1/me/totp")).json()["secret"]
        one_time = pyotp.TOTP(secret)
        answer = await asker.http.post("/api/v1/me/totp/confirm", json={"code": one_time.now()})
        assert answer.status_code == 204
        (refused, _) = await client.query(DELETE)
        found = re.fullmatch(
            "statement needs your confirmation: ticket (H-[0-9A-Z]{26})", refused.fields["M"]
        )
        assert found is not None, refused.fields
        assert f"{gateway.gateway.config.admin.public_url}/#{found[1]}" in refused.fields["H"]
        # The code that set it up is used up; the next one is of the next half minute, which counts already.
        code = one_time.at(now() + timedelta(seconds=30))
        answer = await asker.http.post(f"/api/v1/holds/{found[1]}/confirm", json={"totp": code})
        assert answer.status_code == 200, answer.text
        (refused, _) = await client.query(DELETE)
        assert refused.fields["M"] == f"statement needs approval: ticket {found[1]}"
        assert (await carol.approve(found[1])).status_code == 200
        assert tags(await client.query(DELETE)) == "CZ"


async def test_in_nobodys_time(postgres: Postgres, database: str, tmp_path: Path, mail: MailServer) -> None:
    """What nobody confirms expires, and says so; whoever has no address reads that there is none."""
    hasty = policy("email")
    hasty["rules"][0]["approval"]["expires"] = "1s"
    settings = config(postgres, mail, hasty)
    del settings["users"]["postgres"]
    async with running_gateway(tmp_path, settings) as gateway, await gateway.raw(database) as client:
        await client.send(Q(DELETE))
        notice = await client.read()
        assert notice.fields["H"].startswith("No e-mail address of postgres is known: ask the operator")
        answer = await client.read_until("Z")
        assert tags(answer) == "EZ"
        assert re.fullmatch("hold H-[0-9A-Z]{26} expired before you confirmed it", answer[0].fields["M"])
    assert mail.seen == []
