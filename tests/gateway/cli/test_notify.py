"""``holdgate notify test``: one line that says whether it works, and what does not."""

from pathlib import Path
from typing import Any

from tests.gateway.cli.running import Said, holdgate
from tests.gateway.management import write_config
from tests.support.receivers import HANG, mail_server, web_server

KEY = "whsec_" + "A" * 43 + "="


async def notify(folder: Path, channel: dict[str, Any], *arguments: str, name: str = "one") -> Said:
    users = {"alice": {"email": "alice@example.org", "groups": ["support"], "roles": ["viewer"]}, "carol": {}}
    path = write_config(folder, notifications={"one": channel}, users=users)
    return await holdgate("notify", "test", name, "-c", str(path), *arguments)


async def test_a_webhook(tmp_path: Path) -> None:
    async with web_server((404, {}, b"")) as server:
        channel = {"kind": "webhook", "url": f"{server.url}/s3cret", "secret": KEY}
        said = await notify(tmp_path, channel)
        assert said == Said(1, "", "holdgate: one: HTTP 404\n")
        assert await notify(tmp_path, channel) == Said(0, "sent by one\n", "")
        assert server.seen[1].json() == {
            "type": "hold.test",
            "timestamp": server.seen[1].json()["timestamp"],
            "data": {"test": True},
        }
        server.otherwise = HANG
        said = await notify(tmp_path, {**channel, "timeout": "0.2s"})
        assert said == Said(1, "", "holdgate: one: no answer within 0.2 s\n")


async def test_mail(tmp_path: Path) -> None:
    async with mail_server() as server:
        channel = {
            "kind": "email",
            "host": "127.0.0.1",
            "port": server.port,
            "tls": "none",
            "from": "holdgate@example.org",
        }
        assert (await notify(tmp_path, channel)).err == (
            "holdgate: one: nobody whom it is for has an e-mail address; say whom by --user\n"
        )
        assert (await notify(tmp_path, channel, "--user", "alice")).code == 0
        assert (await notify(tmp_path, {**channel, "to": ["dpo@example.org"]})).code == 0
        assert [mail.recipients for mail in server.seen] == [("alice@example.org",), ("dpo@example.org",)]


async def test_wrong_usage(tmp_path: Path) -> None:
    channel = {"kind": "teams", "url": "http://127.0.0.1:1"}
    said = await notify(tmp_path, channel, name="two")
    assert said == Said(2, "", "holdgate: no channel two under notifications; there is one\n")
    assert (
        await notify(tmp_path, channel, "--user", "mallory")
    ).err == "holdgate: no user mallory under users\n"
    said = await notify(tmp_path, channel)
    assert (said.code, said.out) == (1, "")
    assert said.err.startswith("holdgate: one: ")
    assert said.err.count("\n") == 1
