"""The web services that criteria ask, and what criteria need of the rest of the file."""

from pathlib import Path

import pytest

from gateway.config import Config, ConfigError, load_config
from tests.support.webservice import KEY, SECRET

BASE = "databases: {shop: {host: db}}\n"
RULES = "rules:\n  - name: a\n    then: hold\n    criteria:\n      - {%s}\n"


def load(tmp_path: Path, text: str) -> Config:
    file = tmp_path / "holdgate.yaml"
    file.write_text(BASE + text, encoding="utf-8")
    return load_config(file, environment={"DESK": SECRET})


def faults(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        load(tmp_path, text)
    return [f"{one.line}:{one.column}: {one.path}: {one.message}" for one in raised.value.problems]


def test_a_service_is_known_by_its_name_and_its_secrets_are_not_shown(tmp_path: Path) -> None:
    (tmp_path / "older").write_text("aGVsbG8gd29ybGQsIGhlbGxvIHdvcmxkIQ==\n")
    text = """\
checks:
  desk: {url: 'https://desk.example.org/hold?token=t', secret: '${DESK}'}
  here: {url: 'http://127.0.0.1:1/', secret: file:older, timeout: 2s}
"""
    config = load(tmp_path, text + RULES % "webhook: desk")
    desk, here = config.checks["desk"], config.checks["here"]
    assert (desk.keys, desk.timeout, desk.ca) == ((KEY,), 5.0, None)
    assert (here.keys, here.timeout) == ((b"hello world, hello world!",), 2.0)
    assert "token" not in repr(config.checks)
    assert config.policy.rules[0].criteria[0].webhook == "desk"
    # A new secret is no new policy, another address is.
    assert (
        load(tmp_path, text.replace("${DESK}", f"${{DESK}} {SECRET}") + RULES % "webhook: desk").policy
        == config.policy
    )
    other = load(tmp_path, text.replace("token=t", "token=u") + RULES % "webhook: desk")
    assert other.policy.version != config.policy.version


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("{}", ["secret: is missing; for example", "url: is missing; for example"]),
        ("{url: 'http://desk.example.org', secret: '${DESK}'}", ["url: must be an https address"]),
        ("{url: 'ftp://desk', secret: '${DESK}'}", ["url: expected an address such as https://desk"]),
        ("{url: 'https://me:pw@desk', secret: '${DESK}'}", ["url: expected an address"]),
        ("{url: 'https://desk:99999', secret: '${DESK}'}", ["url: expected an address"]),
        ("{url: 'https://desk/#a', secret: '${DESK}'}", ["url: expected an address"]),
        ("{url: 'https://desk', secret: short}", ["secret: expected whsec_ and 24 to 64 bytes in base64"]),
        ("{url: 'https://desk', secret: whsec_c2hvcnQ=}", ["secret: expected whsec_ and 24 to 64 bytes in base64"]),
        ("{url: 'https://desk', secret: '${DESK}', timeout: 31s}", ["timeout: expected at most 30s: somebody waits"]),
        ("{url: 'https://desk', secret: '${DESK}', ca: gone.crt}", ["ca: cannot read"]),
        ("{url: 'https://desk', secret: '${DESK}', method: PUT}", ["method: unknown key"]),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_service(tmp_path: Path, written: str, said: list[str]) -> None:
    found = faults(tmp_path, f"checks: {{desk: {written}}}\n")
    assert len(found) == len(said)
    for one, start in zip(found, said, strict=True):
        assert one.partition("checks.desk.")[2].startswith(start)
        assert one.startswith("2:")


def test_what_criteria_need(tmp_path: Path) -> None:
    assert faults(tmp_path, RULES % "webhook: desk") == [
        "6:19: rules[0].criteria[0].webhook: no desk under checks"
    ]
    assert faults(tmp_path, RULES % "sql: SELECT true") == [
        "6:15: rules[0].criteria[0].sql: is asked by databases.*.inspect, and no database has such a login"
    ]
    inspected = "databases: {shop: {host: db, inspect: {user: reader}}}\n"
    text = (tmp_path / "holdgate.yaml").read_text().replace(BASE, inspected)
    (tmp_path / "holdgate.yaml").write_text(text)
    assert load_config(tmp_path / "holdgate.yaml").policy.rules[0].criteria[0].sql is not None
