"""``holdgate sessions``."""

from gateway.config import Role
from tests.gateway.cli.running import holdgate
from tests.gateway.management import Desk, SessionValue


async def environment(desk: Desk, *roles: Role) -> dict[str, str]:
    return {"HOLDGATE_SERVER": desk.url, "HOLDGATE_TOKEN": await desk.token("root", *roles)}


async def test_who_is_connected(desk: Desk) -> None:
    given = await environment(desk, Role.ADMIN)
    said = await holdgate("sessions", "list", **given)
    assert (said.code, said.out, said.err) == (0, "", "no client is connected\n")
    desk.sessions.sessions = {
        "S-1": SessionValue(
            "S-1", current_sql="SELECT\n'\x1b[2J'", application_name="\x1b[31mpsql", hold_id="H-1"
        ),
        "S-2": SessionValue("S-2", client_addr=None, backend_pid=None),
    }
    said = await holdgate("sessions", "list", **given)
    header, first, second = said.out.splitlines()
    assert header.split() == ["ID", "USER", "DATABASE", "FROM", "STATE", "SINCE", "PID", "HOLD", "STATEMENT"]
    assert r"127.0.0.1, \x1b[31mpsql" in first
    assert first.endswith(r"4711  H-1   SELECT '\x1b[2J'")
    assert second.split()[:4] == ["S-2", "alice", "shop", "psql"]
    said = await holdgate("sessions", "list", "--json", **given)
    assert [session["id"] for session in said.json] == ["S-1", "S-2"]


async def test_a_session_is_ended(desk: Desk) -> None:
    given = await environment(desk, Role.ADMIN)
    for words, out in ((), "session S-1 ended\n"), (("--json",), '{"id":"S-1","killed":true}\n'):
        desk.sessions.sessions["S-1"] = SessionValue("S-1")
        said = await holdgate("sessions", "kill", "S-1", *words, **given)
        assert (said.code, said.out, said.err) == (0, out, "")
    assert desk.sessions.killed == [("S-1", "root")] * 2
    said = await holdgate("sessions", "kill", "S-1", **given)
    assert said.failed() == "There is no such session."
    said = await holdgate("sessions", "kill", "S-1", **await environment(desk, Role.VIEWER))
    assert said.failed() == "Your roles do not allow this."
