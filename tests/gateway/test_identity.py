"""What is known of a session by what its server says."""

import pytest

from gateway.identity import Principal, SessionState, split_search_path
from tests.support.postgres import Postgres

PATHS = [
    '"$user", public',
    "Crm,PUBLIC",
    '  crm ,  "In, here"  ,"a""b",x ',
    '"A", "B","c d"',
    '"one"',
    "",
    '"", x',
]


@pytest.mark.parametrize("path", PATHS)
def test_a_search_path_is_split_as_the_server_does(
    postgres: Postgres, empty_database: str, path: str
) -> None:
    names = split_search_path(path)
    with postgres.connect(empty_database) as connection:
        for name in {*names, "in, here", "b", "c d"} - {"public", "$user"}:
            connection.execute('CREATE SCHEMA "' + name.replace('"', '""') + '"')
        connection.execute("SELECT set_config('search_path', %s, false)", (path,))
        ((there,),) = connection.execute("SELECT current_schemas(false)").fetchall()
    assert [name for name in names if name != "$user"] == there


def test_what_a_reset_goes_back_to_is_what_the_session_began_with() -> None:
    state, who = SessionState("alice"), Principal("alice", frozenset(), "shop", None)
    state.begins_with({"client_encoding": "SJIS", "standard_conforming_strings": "on", "TimeZone": "UTC"})
    began = state.context(who, {})
    assert (began.client_encoding, began.bad_defaults) == ("SJIS", frozenset(["client_encoding"]))
    state.parameter("client_encoding", "UTF8")
    later = state.context(who, {})
    assert (later.client_encoding, later.bad_defaults) == ("UTF8", frozenset(["client_encoding"]))
