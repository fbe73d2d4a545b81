"""Whom a message is for, and by which address."""

from pathlib import Path
from typing import Any

import pytest

from gateway.clock import now
from gateway.config import Channel, EmailChannel, TeamsChannel, load_config
from gateway.notify.addressees import addressees_of
from gateway.notify.sender import Addressees
from gateway.people import People
from gateway.store import Hold, HoldState
from rules import Escalation, Stage
from tests.gateway.management import write_config
from tests.gateway.notify.samples import message
from tests.gateway.store.samples import Place, approval, hold, sqlite_url

POST = EmailChannel(name="post", host="localhost", port=25, sender="h@example.org", domain="example.org")
LATER_DPO = Stage(("support",), escalation=Escalation(("dpo",), 1.0))
TODAY = now().date().isoformat()


async def found(folder: Path, event: str, one: Hold, channel: Channel = POST, **changes: Any) -> Addressees:
    users = {"carol": {"roles": ["approver"], "email": "c@else.example"}, **changes.pop("users", {})}
    config = load_config(write_config(folder, users=users, **changes))
    async with Place("sqlite", sqlite_url(folder)).open() as store:
        return await addressees_of(message(event), one, channel, config, People(store, lambda: config))


@pytest.mark.parametrize(
    ("stage", "event", "expected"),
    [
        (Stage(("dpo",)), "asked", ("c@else.example", "dave@example.org")),
        (Stage(("support",)), "asked", ()),
        (Stage(()), "asked", ("c@else.example", "dave@example.org", "erin@example.org")),
        (
            Stage(("support",), escalation=Escalation(("dpo",), 1.0)),
            "escalated",
            ("c@else.example", "dave@example.org"),
        ),
        (
            Stage(("support",), escalation=Escalation(("dpo",), 1.0)),
            "review",
            ("c@else.example", "dave@example.org"),
        ),
    ],
)
async def test_those_who_are_asked_and_can_approve(
    tmp_path: Path, stage: Stage, event: str, expected: tuple[str, ...]
) -> None:
    # alice is of both groups and an approver, but it is her statement.
    to = await found(tmp_path, event, hold(stages=(stage,)))
    assert to == Addressees(email=expected)


async def test_deputies_and_fixed_addresses(tmp_path: Path) -> None:
    days = {"from": TODAY, "until": TODAY}
    to = await found(
        tmp_path,
        "asked",
        hold(),
        EmailChannel(
            name="post", host="h", port=25, sender="h@x.y", to=("dpo@example.org",), domain="example.org"
        ),
        deputies=[{"deputy": "erin", "for": "dave", **days}],
    )
    assert to.email == ("dpo@example.org", "c@else.example", "dave@example.org", "erin@example.org")


async def test_whoever_asked_is_told_of_what_was_decided(tmp_path: Path) -> None:
    done = hold(state=HoldState.APPROVED, decisions=(approval(),))
    assert await found(tmp_path, "resolved", done) == Addressees(email=("alice@example.org",))
    assert await found(tmp_path, "resolved", hold(state=HoldState.WITHDRAWN)) == Addressees()
    asks = hold(confirm="email")
    assert await found(tmp_path, "confirm", asks) == Addressees(email=("alice@example.org",))
    users = {"alice": {"slack": "U1", "groups": ["support"]}}
    team = TeamsChannel(name="team", url="https://team.example")
    assert await found(tmp_path, "resolved", done, team, users=users) == Addressees(slack="U1")
    assert await found(tmp_path, "asked", hold(), team, users=users) == Addressees()


async def test_whoever_has_no_address_gets_no_mail(tmp_path: Path) -> None:
    plain = EmailChannel(name="post", host="h", port=25, sender="h@x.y")
    assert await found(tmp_path, "asked", hold(), plain) == Addressees(email=("c@else.example",))
    done = hold(state=HoldState.REJECTED, user="not an address")
    assert await found(tmp_path, "resolved", done) == Addressees()
