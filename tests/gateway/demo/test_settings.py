import stat
from pathlib import Path

import pytest

from gateway.config import Role, load_config
from gateway.demo.settings import APPROVER, AUDITOR, DATABASE, REQUESTER, DemoError, Passwords, write_config
from protocol.scram import derive_keys, parse_verifier


def test_passwords_are_made_once_and_kept_private(tmp_path: Path) -> None:
    first = Passwords.of(tmp_path)
    assert Passwords.of(tmp_path) == first
    assert first.app != first.superuser
    assert Passwords.of(tmp_path / ".." / tmp_path.name) == first
    assert stat.S_IMODE((tmp_path / "passwords.json").stat().st_mode) == 0o600


@pytest.mark.parametrize("content", ["", "[]", '{"app": "x"}', "\0"])
def test_passwords_that_are_damaged_are_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "passwords.json").write_text(content, encoding="ascii")
    with pytest.raises(DemoError, match=r"remove .* to begin anew"):
        Passwords.of(tmp_path)


def test_the_configuration_loads(tmp_path: Path) -> None:
    file = write_config(
        tmp_path, port=1111, admin_port=2222, upstream_port=3333, passwords=Passwords("s", "a", "c")
    )
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    config = load_config(file)
    assert (config.listen.port, config.admin.port) == (1111, 2222)
    assert config.admin.public_url == "http://127.0.0.1:2222"
    database = config.database(DATABASE)
    assert database is not None
    assert (database.port, database.auth) == (3333, "gateway")
    assert config.users[REQUESTER].trust
    assert "dpo" in config.groups_of(APPROVER)
    assert Role.APPROVER in config.users[APPROVER].roles
    verifier = parse_verifier(config.users[APPROVER].verifier or "")
    assert verifier.stored_key == derive_keys("c", verifier.salt, verifier.iterations).stored_key
    assert config.users[AUDITOR].roles == {Role.AUDITOR}
    # Who asks does not decide.
    assert not config.users[REQUESTER].roles
