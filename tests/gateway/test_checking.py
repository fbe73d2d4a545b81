"""The session that a statement is judged in which no session has sent."""

from pathlib import Path
from typing import Any

import pytest

from gateway.catalog.described import Described, SearchPaths
from gateway.checking import check_context, database_meant
from gateway.config import Config, load_config
from rules.catalog import Namespace, SchemaSnapshot
from tests.gateway.management import write_config

SNAPSHOT = SchemaSnapshot(5, "shop", 180_000, namespaces=(Namespace("public"), Namespace("app_ro")))


def config(tmp_path: Path, **databases: Any) -> Config:
    users = {"alice": {"groups": ["support"], "role": "app_ro"}, "bob": {}}
    return load_config(write_config(tmp_path, users=users, databases=databases))


@pytest.mark.parametrize(
    ("named", "given", "meant"),
    [
        (["shop"], None, "shop"),
        (["shop"], "", "shop"),
        (["shop"], "other", "other"),
        (["shop", "crm"], None, ""),
        ([], None, ""),
    ],
)
def test_which_database_is_meant(tmp_path: Path, named: list[str], given: str | None, meant: str) -> None:
    assert database_meant(config(tmp_path, **{name: {"host": "db"} for name in named}), given) == meant


def test_the_session_would_be_as_the_configuration_says(tmp_path: Path) -> None:
    login = {"host": "db", "auth": "gateway", "login": {"user": "app", "password": "x"}}
    described = Described(SNAPSHOT, SearchPaths(by_role={"bob": "nowhere", "app": '"$user"'}))
    found = config(tmp_path, shop={"host": "db"}, crm=login)
    context = check_context(found, described, user="alice", database="crm")
    assert (context.user, context.role, context.database) == ("alice", "app_ro", "crm")
    assert (context.groups, context.search_path) == (frozenset(["support"]), ("app_ro",))
    assert context.catalog is SNAPSHOT
    context = check_context(found, described, user="bob", database="shop")
    assert (context.role, context.groups, context.search_path) == (None, frozenset(), ())
    context = check_context(found, described, user="stranger", database="shop", groups=["dpo"])
    assert (context.groups, context.search_path) == (frozenset(["dpo"]), ("public",))
    context = check_context(found, described, user="bob", database="shop", search_path=("a",))
    assert context.search_path == ("a",)
