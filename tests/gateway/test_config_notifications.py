"""Reading ``notifications:``: what may be written, and every mistake in it."""

import base64
from pathlib import Path

import pytest

from gateway.config import (
    AppriseChannel,
    Config,
    ConfigError,
    EmailChannel,
    SlackChannel,
    TeamsChannel,
    WebhookChannel,
    load_config,
)

KEY = base64.b64encode(bytes(range(32))).decode()
_BASE = """\
databases: {shop: {host: db}}
groups: {dpo: [carol]}
rules: [{name: erasure, when: {action: delete}, then: hold}]
notifications:
"""


def load(tmp_path: Path, text: str) -> Config:
    file = tmp_path / "holdgate.yaml"
    file.write_text(_BASE + text, encoding="utf-8")
    return load_config(file, environment={"TOKEN": "xoxb-1", "HOOK": "https://hooks.example/s3cret"})


def faults(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        load(tmp_path, text)
    assert "s3cret" not in str(raised.value)
    return [f"{one.line}:{one.column}: {one.path}: {one.message}" for one in raised.value.problems]


def test_every_kind_of_channel(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"whsec_{KEY}\n")
    (tmp_path / "ca.crt").write_text("")
    found = load(
        tmp_path,
        """\
  feed: {kind: webhook, url: "${HOOK}", secret: file:key, ca: ca.crt}
  chat: {kind: slack, token: "${TOKEN}", channel: C012, events: [asked], groups: [dpo], rules: [erasure], sql: none}
  team: {kind: teams, url: "http://127.0.0.1:1/hook", timeout: 3s, attempts: 2, sql: full}
  post: {kind: email, host: mail.example, from: "Hold Gate <holdgate@example.org>", to: [dpo@example.org],
         user: u, password: p, domain: example.org}
  local: {kind: email, host: localhost, tls: none, from: holdgate@example.org}
  rest: {kind: apprise, urls: ["jsons://rest.example/s3cret", "json://localhost/x", "discord://123/abc"]}
""",
    ).notifications
    feed, chat, team, post, local, rest = found.values()
    assert isinstance(feed, WebhookChannel)
    assert (feed.url, feed.secrets, feed.ca) == (
        "https://hooks.example/s3cret",
        (bytes(range(32)),),
        tmp_path / "ca.crt",
    )
    assert (feed.events, feed.sql, feed.timeout, feed.attempts) == (
        ("asked", "escalated", "resolved", "review"),
        "redacted",
        10.0,
        12,
    )
    assert isinstance(chat, SlackChannel)
    assert (chat.token, chat.channel, chat.url) == ("xoxb-1", "C012", "https://slack.com/api")
    assert (chat.events, chat.groups, chat.rules, chat.sql) == (
        ("asked",),
        frozenset({"dpo"}),
        frozenset({"erasure"}),
        "none",
    )
    assert isinstance(team, TeamsChannel)
    assert (team.timeout, team.attempts) == (3.0, 2)
    assert isinstance(post, EmailChannel)
    assert (post.port, post.tls, post.to, post.domain) == (
        587,
        "starttls",
        ("dpo@example.org",),
        "example.org",
    )
    assert isinstance(local, EmailChannel)
    assert (local.port, local.user) == (25, None)
    assert isinstance(rest, AppriseChannel)
    assert len(rest.urls) == 3
    assert not any(secret in repr(found) for secret in ("s3cret", "xoxb", "password='p'"))


def test_two_keys_while_receivers_change_theirs(tmp_path: Path) -> None:
    other = base64.b64encode(bytes(24)).decode()
    channel = load(
        tmp_path, f'  feed: {{kind: webhook, url: "${{HOOK}}", secret: "whsec_{KEY} {other}"}}\n'
    ).notifications["feed"]
    assert isinstance(channel, WebhookChannel)
    assert channel.secrets == (bytes(range(32)), bytes(24))


def test_addresses_of_people(tmp_path: Path) -> None:
    config = load(tmp_path, "users: {alice: {email: alice@example.org, slack: U012}}\n")
    assert (config.users["alice"].email, config.users["alice"].slack) == ("alice@example.org", "U012")
    assert faults(tmp_path, "users: {alice: {email: alice}}\n") == [
        "5:24: users.alice.email: expected an address such as alice@example.org"
    ]


@pytest.mark.parametrize(
    ("channel", "expected"),
    [
        (
            "{}",
            "kind: is missing; for example kind: webhook; there are webhook, slack, teams, email, apprise",
        ),
        (
            "{kind: sms, number: 1}",
            "kind: expected one of webhook, slack, teams, email, apprise",
        ),
        (
            "{kind: webhook, secret: whsec_KEY}",
            "url: is missing; for example url: https://hooks.example.org/holdgate",
        ),
        ("{kind: teams, url: 'http://hooks.example/s3cret'}", "url: must be an https address"),
        ("{kind: teams, url: 'ftp://hooks.example/s3cret'}", "url: expected an address such as"),
        ("{kind: teams, url: 'https://u:s3cret@hooks.example/'}", "url: expected an address such as"),
        ("{kind: teams, url: 'https://[s3cret'}", "url: expected an address such as"),
        ("{kind: teams, url: '${HOOK}', secret: x}", "secret: unknown key"),
        ("{kind: teams, url: '${HOOK}', timeout: 2m}", "timeout: expected at most 60s"),
        ("{kind: teams, url: '${HOOK}', attempts: 0}", "attempts: expected a whole number from 1 to 100"),
        ("{kind: teams, url: '${HOOK}', events: [asked, told]}", "events[1]: no event told; there are asked"),
        ("{kind: teams, url: '${HOOK}', groups: [dop]}", "groups[0]: no group dop under groups"),
        ("{kind: teams, url: '${HOOK}', rules: [erazure]}", "rules[0]: no rule erazure under rules"),
        ("{kind: teams, url: '${HOOK}', sql: some}", "sql: expected one of full, redacted, none"),
        ("{kind: webhook, url: '${HOOK}', secret: s3cret}", "secret: expected whsec_ and 24 to 64 bytes"),
        ("{kind: webhook, url: '${HOOK}', secret: whsec_AAAA}", "secret: expected whsec_ and 24 to 64 bytes"),
        ("{kind: slack, token: '${TOKEN}'}", "channel: is missing"),
        ("{kind: email, host: h, from: nobody}", "from: expected an address such as Holdgate <"),
        ('{kind: email, host: h, from: "a@b.c\\r\\nBcc: x@y.z"}', "from: control characters are not allowed"),
        ("{kind: email, host: h, tls: none, from: a@b.c}", "tls: none is for a mail server on this machine"),
        ("{kind: email, host: h, from: a@b.c, to: [b]}", "to[0]: expected an address such as"),
        ("{kind: email, host: h, from: a@b.c, user: u}", "password: is missing; the two go together"),
        ("{kind: email, host: h, from: a@b.c, domain: '@b.c'}", "domain: expected a domain such as"),
        ("{kind: apprise}", "urls: is missing; for example"),
        ("{kind: apprise, urls: ['nothing://s3cret']}", "urls[0]: Apprise knows no such address"),
        ("{kind: apprise, urls: ['json://far.example/s3cret']}", "urls[0]: is not encrypted; jsons:// is"),
    ],
)
def test_every_mistake_is_named(tmp_path: Path, channel: str, expected: str) -> None:
    channel = channel.replace("KEY", KEY)
    (fault,) = faults(tmp_path, f"  one: {channel}\n")
    line, column, message = fault.split(":", 2)
    # What is missing is missed where its channel is.
    assert (line, int(column) >= 3) == ("5", True)
    assert message.startswith(f" notifications.one.{expected}")


def test_apprise_is_an_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    (fault,) = faults(tmp_path, "  one: {kind: apprise, urls: ['jsons://h/x']}\n")
    assert fault.endswith("Apprise is not installed: pip install 'holdgate[apprise]'")
