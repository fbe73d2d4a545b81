"""What rules ask of whoever asks, and what the rest of the file makes possible."""

from pathlib import Path

import pytest

from gateway.config import Config, ConfigError, load_config

KEY = "store: {key: 0123456789abcdef0123456789abcdef}\n"
URL = "admin: {public_url: 'https://hold.example'}\n"
MAIL = "notifications: {post: {kind: email, host: h, from: a@b.example}}\n"
BASE = "databases: {shop: {host: db}}\ngroups: {dpo: [carol]}\n"


def load(tmp_path: Path, text: str, way: str) -> Config:
    file = tmp_path / "holdgate.yaml"
    rule = f"rules: [{{name: a, when: {{action: delete}}, then: hold, approval: {{from: [dpo], confirm: {way}}}}}]\n"
    file.write_text(BASE + rule + text, encoding="utf-8")
    return load_config(file, environment={})


@pytest.mark.parametrize(
    ("way", "text"),
    [("second-factor", KEY), ("second-factor", URL), ("email", KEY + URL + MAIL)],
)
def test_what_is_possible(tmp_path: Path, way: str, text: str) -> None:
    approval = load(tmp_path, text, way).policy.rules[0].approval
    assert approval is not None
    assert approval.confirm == way


@pytest.mark.parametrize(
    ("way", "text", "missing"),
    [
        ("second-factor", "", "store.key, for authenticators, or an https admin.public_url, for passkeys"),
        ("email", KEY + URL, "a channel of the kind email under notifications"),
        ("email", KEY + MAIL, "admin.public_url, where the link leads to"),
        ("email", URL + MAIL, "store.key, with which the link is signed"),
        (
            "email",
            KEY,
            "a channel of the kind email under notifications; admin.public_url, where the link leads to",
        ),
    ],
)
def test_what_is_not(tmp_path: Path, way: str, text: str, missing: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load(tmp_path, text, way)
    (problem,) = raised.value.problems
    assert (problem.line, problem.path) == (3, "rules[0].approval.confirm")
    assert problem.message == f"{way} needs {missing}"
