"""``holdgate token``, by a gateway and in the store itself."""

import re
from pathlib import Path

import pytest

from gateway.config import Role
from tests.gateway.cli.running import holdgate
from tests.gateway.management import Desk, write_config


@pytest.fixture(params=["store", "gateway"])
async def where(request: pytest.FixtureRequest, desk: Desk) -> tuple[str, ...]:
    """The options by which the commands reach the tokens; a gateway runs on the store in both cases."""
    if request.param == "store":
        return ("-c", str(desk.config.path))
    return ("--server", desk.url, "--token", await desk.token("root", Role.ADMIN))


async def test_a_token_is_made_listed_and_revoked(desk: Desk, where: tuple[str, ...]) -> None:
    said = await holdgate(
        *("token", "create", "--user", "grafana", "--role", "viewer", "--role", "auditor"),
        *("--note", "dashboards", "--expires", "90d", *where),
    )
    assert said.code == 0
    fields = dict(re.findall(r"^(\w+): +(.+)$", said.out, re.MULTILINE))
    assert (fields["user"], fields["roles"]) == ("grafana", "auditor, viewer")
    found = await desk.tokens.verify(fields["token"])
    assert found is not None
    assert (found.id, found.user, found.note) == (fields["id"], "grafana", "dashboards")
    assert found.expires_at is not None
    assert round((found.expires_at - found.created_at).total_seconds()) == 90 * 86_400

    said = await holdgate("token", "list", *where)
    assert fields["token"] not in said.out
    row = next(row for row in said.out.splitlines() if row.startswith(found.id))
    assert re.search(r"grafana +auditor,viewer .* dashboards$", row)
    said = await holdgate("token", "list", "--json", *where)
    assert found.to_dict() in said.json

    said = await holdgate("token", "revoke", found.id, *where)
    assert (said.code, said.out) == (0, f"token {found.id} revoked\n")
    assert await desk.tokens.verify(fields["token"]) is None
    said = await holdgate("token", "revoke", found.id, *where)
    assert re.fullmatch(
        rf"[Tt]here is no (such )?token( {found.id})?, or it was revoked before\.?", said.failed()
    )


async def test_as_json(desk: Desk, where: tuple[str, ...]) -> None:
    said = await holdgate("token", "create", "--user", "grafana", "--role", "viewer", "--json", *where)
    (made,) = said.json
    assert (made["user"], made["roles"], made["expires_at"]) == ("grafana", ["viewer"], None)
    assert await desk.tokens.verify(made["secret"])
    said = await holdgate("token", "revoke", made["id"], "--json", *where)
    assert said.json == [{"id": made["id"], "revoked": True}]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ("--user", "a\x1b[2J", "--role", "viewer"),
            r"--user a\x1b[2J holds characters that cannot be shown",
        ),
        (("--user", "\udcff", "--role", "viewer"), r"--user \udcff holds characters that cannot be shown"),
        (("--user", " ", "--role", "viewer"), "--user is empty"),
        (("--user", "a", "--role", "viewer", "--note", "a\nb"), "--note a b holds characters"),
        (
            ("--user", "a", "--role", "viewer", "--expires", "soon"),
            "--expires 'soon' is not a length of time",
        ),
        (("--user", "a", "--role", "viewer", "--expires", "999999999d"), "is longer than a hundred years"),
    ],
)
async def test_a_token_that_makes_no_sense(
    desk: Desk, where: tuple[str, ...], words: tuple[str, ...], says: str
) -> None:
    before = len(await desk.tokens.list())
    assert says in (await holdgate("token", "create", *words, *where)).failed(2)
    assert len(await desk.tokens.list()) == before


async def test_an_approver_for_somebody_else_is_made_on_the_machine_only(desk: Desk) -> None:
    words = ("token", "create", "--user", "carol", "--role", "approver")
    remote = ("--server", desk.url, "--token", await desk.token("root", Role.ADMIN))
    said = (await holdgate(*words, *remote)).failed()
    assert "holdgate token create -c FILE makes any" in said
    assert (await holdgate(*words, "-c", str(desk.config.path))).code == 0


async def test_the_first_token_needs_no_gateway(tmp_path: Path) -> None:
    path = write_config(tmp_path)
    said = await holdgate("token", "list", "-c", str(path))
    assert (said.code, said.out, said.err) == (0, "", "no tokens\n")
    assert (
        await holdgate("token", "create", "--user", "carol", "--role", "approver", "-c", str(path))
    ).code == 0
    assert len((await holdgate("token", "list", "--json", "-c", str(path))).json) == 1


@pytest.mark.parametrize(
    "words", [("list",), ("revoke", "T-1"), ("create", "--user", "a", "--role", "viewer")]
)
async def test_a_configuration_or_store_that_cannot_be_used(tmp_path: Path, words: tuple[str, ...]) -> None:
    path = tmp_path / "holdgate.yaml"
    said = (await holdgate("token", *words, "-c", str(path))).failed()
    assert (
        said
        == f"{path} cannot be used, see holdgate validate: {path}: cannot read: No such file or directory"
    )
    path.write_text("listen: {prot: 1}\nusers: 5\n")
    said = (await holdgate("token", *words, "-c", str(path))).failed()
    assert said.startswith(f"{path} cannot be used, see holdgate validate: ")
    path = write_config(tmp_path)
    (tmp_path / "holdgate.db").write_text("a letter" * 500)
    said = (await holdgate("token", *words, "-c", str(path))).failed()
    assert said == "the store cannot be used: file is not a database"
