"""Names and statements made to harm whoever looks at them: kept, shown and recorded, and nobody is harmed."""

import json
import re
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.gateway.cli.running import holdgate
from tests.support.gateway import SHOP_POLICY, RunningGateway, make_config, running_gateway
from tests.support.postgres import Postgres
from tests.support.wire import Q, RawClient

ESCAPES = b"\x1b[2J\x1b]0;owned\x07\x9b31m"
MARKUP = b"<script>alert(1)</script>'\"&amp;"
REORDERED = "\u202esafe\u2066\u200b".encode()
INVALID = b"\xff\xfe\xc0\x80\xed\xa0\x80"
LINES = b"one\r\ntwo\n2030-01-01 INFO forged"
EVERYTHING = (ESCAPES, MARKUP, REORDERED, INVALID, LINES)


@pytest.fixture
async def gateway(postgres: Postgres, tmp_path: Path) -> AsyncIterator[RunningGateway]:
    people = {"users": {"carol": {"roles": ["approver", "viewer"]}}}
    async with running_gateway(tmp_path, make_config(postgres, SHOP_POLICY, people)) as running:
        yield running


async def connect(gateway: RunningGateway, database: str, name: bytes) -> RawClient:
    """A client that calls itself so."""
    body = struct.pack("!i", 196608)
    for key, value in ((b"user", b"postgres"), (b"database", database.encode()), (b"application_name", name)):
        body += key + b"\0" + value + b"\0"
    client = await RawClient.connect(gateway.host, gateway.port, login=False)
    await client.send(struct.pack("!i", len(body) + 5) + body + b"\0")
    await client.read_until("Z")
    return client


def harmless(text: str) -> None:
    """Nothing that a terminal would obey, and nothing that cannot be encoded."""
    text.encode()
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u202a-\u202e\u2066-\u2069]", text)


@pytest.mark.parametrize("harm", EVERYTHING, ids=["escapes", "markup", "reordered", "invalid", "lines"])
async def test_whoever_looks_is_not_harmed(gateway: RunningGateway, database: str, harm: bytes) -> None:
    carol, olga, root = [await gateway.client(name) for name in ("carol", "olga", "root")]
    client = await connect(gateway, database, harm)
    sql = b"DELETE FROM customer WHERE email = '" + harm.replace(b"'", b"''") + b"'"
    await client.send(Q(sql))
    hold = await carol.wait_for_hold()
    assert hold["state"] == "pending"

    # Over HTTP everything is there, as JSON that every reader can read.
    for person, path in (
        (carol, "/api/v1/sessions"),
        (carol, "/api/v1/holds"),
        (carol, f"/api/v1/holds/{hold['id']}"),
        (olga, "/api/v1/audit"),
        (root, "/metrics"),
    ):
        answer = await person.http.get(path)
        assert answer.status_code == 200, (path, answer.text)

    for words in (("holds", "list"), ("holds", "show", hold["id"]), ("sessions", "list"), ("audit", "tail")):
        token = olga.token if "audit" in words else carol.token
        said = await holdgate(*words, HOLDGATE_SERVER=gateway.url, HOLDGATE_TOKEN=token)
        assert said.code == 0, said
        assert said.out
        harmless(said.out)
        said = await holdgate(*words, "--json", HOLDGATE_SERVER=gateway.url, HOLDGATE_TOKEN=token)
        assert said.out.isascii()

    await carol.reject(hold["id"], "no")
    refusal = (await client.read_until("E"))[-1]
    assert refusal.fields["M"] == "statement rejected by carol: no"
    client.abort()

    await gateway.written()
    content = (gateway.directory / "audit.jsonl").read_bytes()
    assert content.isascii()
    assert not re.search(rb"[\x00-\x09\x0b-\x1f\x7f]", content)
    verified = await holdgate("audit", "verify", "--file", str(gateway.directory / "audit.jsonl"))
    assert verified.code == 0
    for record in gateway.audit(kind="statement"):
        json.dumps(record)


async def test_a_reason_cannot_harm_whoever_asked(gateway: RunningGateway, database: str) -> None:
    carol = await gateway.client("carol")
    async with await gateway.raw(database) as client:
        await client.send(Q("DELETE FROM customer"))
        hold = await carol.wait_for_hold()
        for harm in ("\x1b[2J", "\x07", "\u202e", "\u2066", "\0", "\x9b", "\x7f"):
            for decide in (carol.approve, carol.reject):
                assert (await decide(hold["id"], f"fine{harm}")).status_code == 422
        await carol.reject(hold["id"], "<b>no</b>\nbut thanks")
        answer = (await client.read_until("Z"))[-2]
        assert answer.fields["M"] == "statement rejected by carol: <b>no</b>\nbut thanks"


async def test_names_that_are_refused_disturb_nobody(gateway: RunningGateway, database: str) -> None:
    for harm in EVERYTHING:
        body = struct.pack("!i", 196608) + b"user\0" + harm + b"\0database\0nosuch" + harm + b"\0\0"
        client = await RawClient.connect(gateway.host, gateway.port, login=False)
        await client.send(struct.pack("!i", len(body) + 4) + body)
        (error,) = [each for each in await client.read_to_end() if each.tag == "E"]
        assert error.sqlstate in ("28000", "3D000", "22021")
        client.abort()
    async with await gateway.raw(database) as client:
        await client.query("SELECT 1")
