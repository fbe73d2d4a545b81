"""What is known of a session by what its server says."""

import pytest

from gateway.identity import split_search_path
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
