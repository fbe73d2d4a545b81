"""Reading ``oidc:``: what may be written, and every mistake in it."""

from pathlib import Path

import pytest

from gateway.config import Config, ConfigError, Role, load_config

_BASE = "databases: {shop: {host: db}}\nadmin: {public_url: https://hold.example}\ngroups: {dpo: [carol], staff: []}\n"


def load(tmp_path: Path, text: str, base: str = _BASE) -> Config:
    file = tmp_path / "holdgate.yaml"
    file.write_text(base + text, encoding="utf-8")
    return load_config(file, environment={})


def faults(tmp_path: Path, text: str, base: str = _BASE) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        load(tmp_path, text, base)
    return [f"{one.line}: {one.path}: {one.message}" for one in raised.value.problems]


def test_without_it_there_is_no_provider(tmp_path: Path) -> None:
    assert load(tmp_path, "").oidc is None


def test_what_has_to_be_written(tmp_path: Path) -> None:
    oidc = load(tmp_path, "oidc: {issuer: https://login.example, client_id: holdgate}").oidc
    assert oidc is not None
    assert (oidc.client_secret, oidc.map_groups, dict(oidc.roles)) == (None, None, {})
    assert oidc.scopes == ("openid", "profile", "email")
    assert oidc.algorithms == ("RS256", "ES256")
    assert oidc.session == 8 * 3600


def test_everything_that_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hunter2\n")
    oidc = load(
        tmp_path,
        """\
oidc:
  issuer: http://127.0.0.1:8080/realms/acme
  client_id: holdgate
  client_secret: file:secret
  name: Acme
  scopes: [groups, openid]
  algorithms: [PS256, Ed25519]
  username: {claim: email, domains: [Corp.example]}
  groups: {claim: roles, map: {/acme/privacy: dpo}}
  roles: {viewer: [staff, dpo], approver: [dpo]}
  session: 30m
""",
    ).oidc
    assert oidc is not None
    assert oidc.client_secret == "hunter2"
    assert "hunter2" not in repr(oidc)
    assert oidc.label == "Acme"
    assert oidc.scopes == ("openid", "groups")
    assert oidc.algorithms == ("PS256", "Ed25519")
    assert oidc.username == "email"
    assert oidc.domains == {"corp.example"}
    assert (oidc.groups, oidc.map_groups) == ("roles", {"/acme/privacy": "dpo"})
    assert oidc.roles == {"dpo": {Role.VIEWER, Role.APPROVER}, "staff": {Role.VIEWER}}
    assert oidc.session == 1800


def test_every_mistake_at_once(tmp_path: Path) -> None:
    text = """\
oidc:
  issuer: http://login.example
  client_secret: file:nowhere
  algorithms: [HS256, none, RS256]
  username: {claim: email, domain: corp.example}
  groups: {map: {privacy: dpos}}
  roles: {approver: [dpos], owner: [dpo]}
  session: 1s
  scope: [groups]
"""
    found = faults(tmp_path, text)
    nowhere = tmp_path / "nowhere"
    assert found == [
        "4: oidc.client_id: is missing; for example client_id: holdgate",
        "5: oidc.issuer: must be an https address: whoever is on the way could be the provider",
        f"6: oidc.client_secret: cannot read {nowhere}: No such file or directory",
        "7: oidc.algorithms: HS256, none cannot be trusted here; expected some of RS256, RS384, RS512, PS256, PS384, "
        "PS512, ES256, ES384, ES512, Ed25519, EdDSA",
        "8: oidc.username.domains: is missing; with claim: email, say which domains' addresses become names",
        "8: oidc.username.domain: unknown key; did you mean domains?",
        "9: oidc.groups.map.privacy: no group dpos under groups; add it there, dpos: [] is enough",
        "10: oidc.roles.approver: no group dpos under groups; add it there, dpos: [] is enough",
        "10: oidc.roles.owner: unknown key; known here: admin, approver, auditor, viewer",
        "11: oidc.session: expected at least 60 s and at most 100 years",
        "12: oidc.scope: unknown key; did you mean scopes?",
    ]


@pytest.mark.parametrize(
    "issuer",
    [
        "login.example",
        "ftp://login.example",
        "https://",
        "https://a@b.example",
        "https://b.example?x=1",
        "https://[b",
    ],
)
def test_an_issuer_that_is_no_address(tmp_path: Path, issuer: str) -> None:
    assert faults(tmp_path, f'oidc: {{issuer: "{issuer}", client_id: holdgate}}') == [
        "4: oidc.issuer: expected an address such as https://login.example.org/realms/acme"
    ]


def test_the_provider_has_to_know_where_to_send_people_back(tmp_path: Path) -> None:
    base = "databases: {shop: {host: db}}\n"
    assert faults(tmp_path, "oidc: {issuer: https://login.example, client_id: h}", base) == [
        "2: oidc: needs admin.public_url: the provider sends people back to PUBLIC_URL/oidc/callback, which must be "
        "registered there"
    ]
    # Where the address is written and wrong, once is enough.
    wrong = f"{base}admin: {{public_url: nowhere}}\n"
    (only,) = faults(tmp_path, "oidc: {issuer: https://login.example, client_id: h}", wrong)
    assert "admin.public_url" in only


def test_a_domain_is_written_without_at(tmp_path: Path) -> None:
    text = 'oidc: {issuer: https://login.example, client_id: h, username: {domains: ["@corp.example"]}}'
    assert faults(tmp_path, text) == [
        "4: oidc.username.domains: @corp.example: write the domain alone, without @"
    ]


def test_two_users_are_not_one_person(tmp_path: Path) -> None:
    text = "users: {alice: {oidc: a.smith@corp.example}, bob: {oidc: A.Smith@corp.example}}"
    assert faults(tmp_path, text) == ["4: users.bob.oidc: alice is already this person of the provider"]
    users = load(tmp_path, "users: {alice: {oidc: a.smith@corp.example}}").users
    assert users["alice"].oidc == "a.smith@corp.example"
