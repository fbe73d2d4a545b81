from pathlib import Path

import pytest

from gateway.config import Config, Database, Login, Store, User, is_loopback, load_config


@pytest.fixture
def config(tmp_path: Path) -> Config:
    path = tmp_path / "holdgate.yaml"
    path.write_text(
        "databases: {shop: {host: a}, '*': {host: b}}\n"
        "users: {alice: {groups: [support]}, dora: {}}\n"
        "groups: {dpo: [carol, alice], support: [carol]}\n"
    )
    return load_config(path)


def test_database(config: Config) -> None:
    shop, other = config.database("shop"), config.database("anything")
    assert shop is not None
    assert other is not None
    assert (shop.host, other.host) == ("a", "b")


def test_no_database_without_a_star(tmp_path: Path) -> None:
    path = tmp_path / "holdgate.yaml"
    path.write_text("databases: {shop: {host: a}}")
    assert load_config(path).database("other") is None


def test_groups_count_from_either_side(config: Config) -> None:
    assert config.groups_of("alice") == {"support", "dpo"}
    assert config.groups_of("carol") == {"support", "dpo"}
    assert config.groups_of("dora") == config.groups_of("nobody") == frozenset()
    assert config.members_of("support") == {"alice", "carol"}
    assert config.members_of("nothing") == frozenset()


@pytest.mark.parametrize(
    "value",
    [
        Login("app", "hunter2"),
        User("alice", verifier="hunter2"),
        Store("postgresql://u:hunter2@h/d"),
        Database("h", login=Login("app", "hunter2")),
    ],
)
def test_secrets_stay_out_of_repr(value: object) -> None:
    assert "hunter2" not in repr(value)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.1.2.3", "::1", "localhost", "::ffff:127.0.0.1"])
def test_loopback(address: str) -> None:
    assert is_loopback(address)


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "10.0.0.1", "db.internal", "", "localhost.evil.org"])
def test_not_loopback(address: str) -> None:
    assert not is_loopback(address)
