"""``holdgate grants``."""

import re
from dataclasses import replace
from typing import Any

from gateway.config import Role
from gateway.store import Grantable
from tests.gateway.cli.running import holdgate
from tests.gateway.cli.test_holds import as_
from tests.gateway.management import Desk

LIMITS = Grantable(3600, 5, "a" * 64, "b" * 64, "DELETE FROM t WHERE id = …", "DELETE", True, "", (), "")


async def grantable(desk: Desk) -> str:
    """A hold that may be granted with."""
    limits = replace(LIMITS, binding=desk.people.config.policy.binding(()))
    return (await desk.open(grantable=limits)).id


async def test_granted_listed_and_revoked(desk: Desk) -> None:
    hold_id, environment = await grantable(desk), await as_(desk, "carol", Role.APPROVER)
    said = await holdgate("grants", "list", **environment)
    assert (said.out, said.err) == ("", "no grants are in force\n")
    said = await holdgate("holds", "show", hold_id, **environment)
    assert re.search(r"^can be granted: +for up to 3600 s, 5 times: DELETE FROM t", said.out, re.MULTILINE)
    terms = ("--grant-for", "30m", "--grant-uses", "3")
    said = await holdgate("holds", "approve", hold_id, *terms, **environment)
    granted = re.search("^(G-[0-9A-Z]{26}) granted;", said.out, re.MULTILINE)
    assert granted is not None, said
    said = await holdgate("grants", "list", **environment)
    header, row = said.out.splitlines()
    assert header.split()[:6] == ["ID", "STATE", "USER", "DATABASE", "UNTIL", "USES"]
    assert [row.split()[0], row.split()[1]] == [granted[1], "active"]
    assert "0 of 3" in row
    assert row.endswith("carol       DELETE FROM t WHERE id = …")
    said = await holdgate("grants", "revoke", granted[1], "--reason", "done", **environment)
    assert said.out.startswith(f"{granted[1]} revoked: ")
    said = await holdgate("grants", "list", "--json", **environment)
    assert said.out == ""
    said = await holdgate("grants", "list", "--all", "--json", **environment)
    one: dict[str, Any] = said.json[0]
    assert (one["state"], one["revoked_by"], one["revoke_reason"]) == ("revoked", "carol", "done")
    said = await holdgate("grants", "revoke", granted[1], "--json", **environment)
    assert said.code != 0
    assert "was revoked before" in said.err


async def test_what_is_not_granted(desk: Desk) -> None:
    environment = await as_(desk, "carol", Role.APPROVER)
    hold_id = await grantable(desk)
    said = await holdgate("holds", "approve", hold_id, "--grant-uses", "3", **environment)
    assert said.err == "holdgate: a grant needs a time: --grant-for 1h\n"
    said = await holdgate("holds", "approve", hold_id, "--grant-for", "2h", **environment)
    assert "a grant is for at most 3600 s here" in said.err
