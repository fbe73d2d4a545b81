"""What approvals ask for, and what the rest of the file makes possible."""

from pathlib import Path

import pytest

from gateway.config import Config, ConfigError, load_config

KEY = "0123456789abcdef0123456789abcdef"
BASE = "databases: {shop: {host: db}}\ngroups: {dpo: [carol, dave], legal: [], board: [erin]}\n"


def load(tmp_path: Path, text: str) -> Config:
    file = tmp_path / "holdgate.yaml"
    file.write_text(BASE + text, encoding="utf-8")
    return load_config(file, environment={})


def faults(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        load(tmp_path, text)
    return [f"{one.line}: {one.path}: {one.message}" for one in raised.value.problems]


def test_codes_need_a_key(tmp_path: Path) -> None:
    rules = """\
approval: {step_up: totp}
rules:
  - {name: a, then: hold, approval: {from: [dpo]}}
  - {name: b, then: hold, approval: {stages: [{from: [dpo]}, {from: [board], step_up: [totp]}]}}
"""
    needs = (
        "step_up: totp needs store.key, with which the secrets of authenticators are sealed; "
        "`openssl rand -base64 32` makes one"
    )
    assert faults(tmp_path, rules) == [f"3: approval: {needs}", f"6: rules[1].approval: {needs}"]
    policy = load(tmp_path, f"store: {{key: {KEY}}}\n{rules}").policy
    assert policy.approval.stages[0].step_up == ("totp",)
    approval = policy.rules[1].approval
    assert approval is not None
    assert [stage.step_up for stage in approval.stages] == [(), ("totp",)]


def test_a_key_that_can_be_guessed(tmp_path: Path) -> None:
    (only,) = faults(tmp_path, "store: {key: secret}")
    assert only == "3: store.key: must have 32 characters or more; `openssl rand -base64 32` makes one"
    (tmp_path / "key").write_text(KEY)
    config = load(tmp_path, "store: {key: file:key}")
    assert config.store.key == KEY
    assert KEY not in repr(config)


def test_a_provider_may_know_more_people_than_the_file(tmp_path: Path) -> None:
    """A quorum larger than the people listed is a mistake, unless the provider can fill the group."""
    rules = "rules: [{name: a, then: hold, approval: {from: [legal], quorum: 2}}]\n"
    admin = "admin: {public_url: https://hold.example}\n"
    provider = "issuer: https://login.example, client_id: h"
    assert "is more than the 0 people of legal" in faults(tmp_path, rules)[0]
    load(tmp_path, f"{rules}{admin}oidc: {{{provider}}}")
    load(tmp_path, f"{rules}{admin}oidc: {{{provider}, groups: {{map: {{x: legal}}}}}}")
    mapped = f"{rules}{admin}oidc: {{{provider}, groups: {{map: {{x: dpo}}}}}}"
    assert "is more than the 0 people of legal" in faults(tmp_path, mapped)[0]


def test_passkeys_need_an_address_for_which_browsers_make_them(tmp_path: Path) -> None:
    rules = "approval: {step_up: [passkey, totp]}\nstore: {key: 0123456789abcdef0123456789abcdef}\n"
    needs = (
        "step_up: passkey needs admin.public_url: https and a host's name, for which browsers make passkeys"
    )
    for url in ("", "admin: {public_url: http://hold.example}", "admin: {public_url: https://10.0.0.1}"):
        assert faults(tmp_path, rules + url) == [f"3: approval: {needs}"]
    for url in ("https://hold.example", "http://localhost:7433"):
        policy = load(tmp_path, f"{rules}admin: {{public_url: {url}}}").policy
        assert policy.approval.stages[0].step_up == ("totp", "passkey")
