"""Commands that need no running gateway: validate, scram-verifier, demo."""

import getpass
import sys
from pathlib import Path
from typing import Any

import pytest

from protocol.scram import derive_keys, parse_verifier
from tests.gateway.cli.running import holdgate
from tests.gateway.management import write_config


@pytest.fixture
def config(tmp_path: Path) -> str:
    return str(write_config(tmp_path))


class TestValidate:
    async def test_a_good_configuration(self, config: str) -> None:
        said = await holdgate("validate", "-c", config)
        assert (said.code, said.out, said.err) == (0, f"{config}: valid\n", "")
        (found,) = (await holdgate("validate", "-c", config, "--json")).json
        assert (found["valid"], found["problems"]) == (True, [])
        assert len(found["policy"]) == 64

    async def test_every_problem_at_once_in_their_order(self, tmp_path: Path) -> None:
        path = tmp_path / "holdgate.yaml"
        path.write_text(
            "listen: {prot: 1}\n"
            "admin: 5\n"
            "databases: {shop: {host: a}}\n"
            "listen: {}\n"
            "users: {alice: {verifier: x}}\n"
            "rules:\n"
            "  - {name: a, when: {actoin: read}, then: allow}\n"
            "bogus: ${NOWHERE}\n"
        )
        said = await holdgate("validate", "-c", str(path))
        assert (said.code, said.out) == (1, "")
        places = [line.removeprefix(str(path)).split(": ")[0] for line in said.err.splitlines()]
        assert places == [":1:10", ":2:8", ":4:1", ":5:27", ":7:30", ":8:1", ":8:8"]
        (found,) = (await holdgate("validate", "-c", str(path), "--json")).json
        assert found["valid"] is False
        assert [f":{one['line']}:{one['column']}" for one in found["problems"]] == places
        assert {one["file"] for one in found["problems"]} == {str(path)}

    @pytest.mark.parametrize(
        ("content", "says"),
        [
            (None, "cannot read: No such file or directory"),
            ("directory", "cannot read: Is a directory"),
            (b"\xff\xfe", "1:1: not UTF-8 text"),
            (b"a: \0", "not YAML"),
            (b"a: [", "1:5: not YAML: while parsing a flow node"),
            (b"\t- a", "not YAML"),
            (b"- a\n- b\n", "1:1: expected a mapping of keys and values, found a list"),
            (b"just text", "expected a mapping of keys and values, found text"),
            (b"", "1:1: databases: name at least one"),
            (b"a: &a [*a]\n", "holdgate.yaml:1:"),
            (b"a: !!python/object/apply:os.system ['id']\n", "the YAML tag"),
            (b"databases: {shop: {host: \x1b[2J}}\n", "not YAML: the character #x001b is not allowed"),
            (b'databases: {shop: {host: "\\e[2J"}}\n', "control characters are not allowed"),
            (b'"\\e[2J": 5\n', r"\x1b[2J: unknown key"),
        ],
    )
    async def test_a_file_that_cannot_be_read(
        self, tmp_path: Path, content: bytes | str | None, says: str
    ) -> None:
        path = tmp_path / "holdgate.yaml"
        if content == "directory":
            path.mkdir()
        elif isinstance(content, bytes):
            path.write_bytes(content)
        said = await holdgate("validate", "-c", str(path))
        assert (said.code, said.out) == (1, "")
        assert says in said.err
        assert "\x1b" not in said.err
        assert all(line.startswith(str(path)) for line in said.err.splitlines())

    async def test_a_secret_is_not_repeated(self, tmp_path: Path) -> None:
        path = tmp_path / "holdgate.yaml"
        path.write_text("databases: {s: {host: a, auth: gateway, login: {user: u, password: [hunter2]}}}\n")
        said = await holdgate("validate", "-c", str(path))
        assert said.code == 1
        assert "hunter2" not in said.err


class TestScramVerifier:
    async def test_the_verifier_of_a_password(self, monkeypatch: pytest.MonkeyPatch) -> None:
        typed: list[str] = []

        def ask(prompt: str) -> str:
            typed.append(prompt)
            return "correct horse"

        monkeypatch.setattr(getpass, "getpass", ask)
        said = await holdgate("scram-verifier", "--iterations", "5000")
        verifier = parse_verifier(said.out.strip())
        assert verifier.iterations == 5000
        assert derive_keys("correct horse", verifier.salt, 5000).stored_key == verifier.stored_key
        assert typed == ["Password: ", "Again: "]
        assert (await holdgate("scram-verifier")).out != said.out

    async def test_from_standard_input(self) -> None:
        said = await holdgate("scram-verifier", "--stdin", stdin="correct horse\n")
        verifier = parse_verifier(said.out.strip())
        assert derive_keys("correct horse", verifier.salt, 4096).stored_key == verifier.stored_key

    async def test_two_passwords_that_differ(self, monkeypatch: pytest.MonkeyPatch) -> None:
        passwords = iter(["one", "other"])
        monkeypatch.setattr(getpass, "getpass", lambda prompt: next(passwords))
        assert (await holdgate("scram-verifier")).failed() == "the two passwords differ; try again"

    async def test_no_terminal_to_ask_on(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def nobody(prompt: str) -> str:
            raise EOFError

        monkeypatch.setattr(getpass, "getpass", nobody)
        assert (await holdgate("scram-verifier")).failed(2) == "no terminal to ask on; use --stdin"

    @pytest.mark.parametrize(
        ("stdin", "says"),
        [
            ("", "the password is empty"),
            ("\n", "the password is empty"),
            ("\udcff\n", "the password is not UTF-8 text"),
        ],
    )
    async def test_a_password_that_is_none(self, stdin: str, says: str) -> None:
        assert (await holdgate("scram-verifier", "--stdin", stdin=stdin)).failed() == says


class TestDemo:
    async def test_it_is_handed_what_was_typed(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        given: dict[str, Any] = {}

        def run(**options: Any) -> int:
            given.update(options)
            return 1

        monkeypatch.setattr("gateway.demo.main.run", run)
        words = ("--port", "1", "--admin-port", "2", "--data", str(tmp_path), "--tour")
        assert (await holdgate("demo", *words)).code == 1
        assert given == {"port": 1, "admin_port": 2, "data": tmp_path, "tour": True}
        await holdgate("demo")
        assert given == {"port": None, "admin_port": None, "data": None, "tour": False}

    async def test_without_its_packages_it_says_how_to_get_them(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delitem(sys.modules, "gateway.demo.main", raising=False)
        monkeypatch.setitem(sys.modules, "psycopg", None)
        said = (await holdgate("demo")).failed()
        assert (
            said == "the demo needs psycopg: install it with pip install 'holdgate[demo]', or use make demo"
        )
