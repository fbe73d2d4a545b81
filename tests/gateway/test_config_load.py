from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.config import Config, ConfigError, Role, load_config

VERIFIER = "SCRAM-SHA-256$4096:c2FsdHNhbHQ=$" + "A" * 43 + "=:" + "B" * 43 + "="
EXAMPLE = Path(__file__).parents[2] / "config.example.yaml"

Load = Callable[..., Config]
Faults = Callable[..., list[str]]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    path = tmp_path / "holdgate.yaml"

    def run(text: str, **environment: str) -> Config:
        if "databases:" not in text:
            text += "\ndatabases: {shop: {host: db}}\n"
        path.write_text(text)
        return load_config(path, environment=environment)

    return run


@pytest.fixture
def faults(load: Load) -> Faults:
    """Every problem as ``line:column: path: message``."""

    def run(text: str, **environment: str) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            load(text, **environment)
        return [f"{one.line}:{one.column}: {one.path}: {one.message}" for one in caught.value.problems]

    return run


def test_the_example_loads_as_it_is() -> None:
    secrets = {"SHOP_PASSWORD": "hunter2", "ALICE_VERIFIER": VERIFIER, "CAROL_VERIFIER": VERIFIER}
    config = load_config(EXAMPLE, environment=secrets)
    shop = config.databases["shop"]
    assert shop.login is not None
    assert shop.login.password == "hunter2"
    assert config.audit.file == EXAMPLE.parent / "audit.jsonl"
    assert config.groups_of("carol") == {"dpo"}
    assert config.users["carol"].roles == {Role.VIEWER, Role.APPROVER}
    assert config.audit.retention == 400 * 86_400
    assert "hunter2" not in repr(config)


def test_the_example_names_every_missing_variable() -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(EXAMPLE, environment={})
    assert [problem.path for problem in caught.value.problems] == [
        "databases.shop.login.password",
        "users.alice.verifier",
        "users.carol.verifier",
    ]


def test_the_least_there_can_be(load: Load, tmp_path: Path) -> None:
    config = load("")
    assert (config.listen.address, config.listen.port) == ("127.0.0.1", 7432)
    assert (config.admin.address, config.admin.port) == ("127.0.0.1", 7433)
    assert config.store.url == f"sqlite:///{tmp_path / 'holdgate.db'}"
    assert config.audit.file == tmp_path / "audit.jsonl"
    assert config.databases["shop"].auth == "passthrough"
    assert config.limits.pending_holds == 1000
    assert config.shutdown.grace == 30
    assert config.path == tmp_path / "holdgate.yaml"


def test_a_text_stands_in_for_the_file(tmp_path: Path) -> None:
    file = tmp_path / "holdgate.yaml"
    file.write_text("not: [yaml", encoding="utf-8")
    text = "databases: {shop: {host: a}}\nlisten: {workers: 3}\naudit: {file: a.jsonl}\n"
    config = load_config(file, text=text)
    assert (config.listen.workers, config.text, config.path) == (3, text, file)
    assert config.audit.file == tmp_path / "a.jsonl"


def test_empty_sections_are_defaults(load: Load) -> None:
    assert load("listen:\nadmin:\nusers:\nrules:\ngroups:\n").listen.port == 7432


def test_every_problem_at_once(faults: Faults) -> None:
    found = faults(
        "listen: {prot: 5, workers: 0, port: 70000}\n"
        "store: {url: mysql://x}\n"
        "audit: {retention: never, statements: al}\n"
        "rules:\n"
        "  - {name: x, when: {actoin: delete}, then: hold, approval: {from: [nobody]}}\n"
        "limts: {}\n"
    )
    assert found[:6] == [
        "1:10: listen.prot: unknown key; did you mean port?",
        "1:28: listen.workers: expected a whole number from 1 to 64, found 0",
        "1:37: listen.port: expected a whole number from 0 to 65535, found 70000",
        "2:14: store.url: expected sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE",
        "3:20: audit.retention: expected a duration such as 30s, 15m, 1h30m or 400d, found 'never'",
        "3:39: audit.statements: expected one of all, held, found 'al'; did you mean all?",
    ]
    assert [line.partition(": ")[2].partition(":")[0] for line in found[6:]] == [
        "rules[0].when.actoin",
        "rules[0].approval.from",
        "limts",
    ]
    assert [line.partition(": ")[0] for line in found[6:]] == ["5:30", "5:68", "6:1"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("- a\n- b\ndatabases", "not YAML"),
        ("listen: 5", "1:9: listen: expected a mapping of keys and values, found a number"),
        ("listen: [a]", "1:9: listen: expected a mapping of keys and values, found a list"),
        ("listen: {port: true}", "listen.port: expected a whole number"),
        ("listen: {port: 1.5}", "listen.port: expected a whole number"),
        ("listen: {address: {a: b}}", "listen.address: expected text, found a mapping"),
        ("listen: {address: ''}", "listen.address: expected text, found none"),
        ('listen: {address: "a\\tb"}', "listen.address: control characters are not allowed"),
        ("listen: {workers: 0}", "listen.workers: expected a whole number from 1"),
        (
            "listen: {tls: {mode: on}}",
            "listen.tls.mode: expected one of disable, prefer, require, found 'on'",
        ),
        ("listen: {tls: {mode: require}}", "listen.tls.cert: is missing; TLS needs both"),
        ("listen: {tls: {mode: require}}", "listen.tls.key: is missing; TLS needs both"),
        ("listen: {tls: {cert: nowhere.crt}}", "listen.tls.cert: cannot read"),
        ("admin: {address: 0.0.0.0}", "1:18: admin.address: 0.0.0.0 can be reached from outside"),
        ("admin: {tls: {cert: nowhere.crt}}", "admin.tls.key: is missing"),
        (
            "admin: {public_url: holdgate.example.org}",
            "admin.public_url: expected an address such as https://",
        ),
        ("admin: {public_url: 'http://[::1'}", "admin.public_url: expected an address"),
        ("admin: {open_metrics: maybe}", "admin.open_metrics: expected true or false, found 'maybe'"),
        ("store: {url: 'sqlite://'}", "store.url: expected sqlite:///FILE"),
        ("audit: {file: [a]}", "audit.file: expected text, found a list"),
        ("audit: {retention: 5m}", "audit.retention: expected at least 86400 s"),
        ("audit: {redact: all}", "audit.redact: expected one of none, literals"),
        ("databases: {}", "databases: name at least one"),
        ("databases: {shop: {}}", "databases.shop.host: is missing; for example host: db.internal"),
        ("databases: {shop: {host: a, auth: gateway}}", "databases.shop.login: is missing"),
        ("databases: {shop: {host: a, login: {}}}", "databases.shop.login.user: is missing"),
        ("databases: {shop: {host: a, sslmode: verify}}", "databases.shop.sslmode: expected one of"),
        ("databases: {shop: {host: a, sslmode: verify-ca}}", "databases.shop.sslrootcert: is missing"),
        ("databases: {shop: {host: a, sslrootcert: nowhere}}", "databases.shop.sslrootcert: cannot read"),
        ("databases: {shop: {host: a, sslkey: nowhere}}", "databases.shop.sslcert: is missing"),
        ("databases: {shop: {host: a, prot: 1}}", "databases.shop.prot: unknown key; did you mean port?"),
        ("databases: {'': {host: a}}", "a name has 1 to 63 bytes"),
        (f"databases: {{{'x' * 64}: {{host: a}}}}", "a name has 1 to 63 bytes"),
        ("users: {alice: {verifier: md5abc}}", "users.alice.verifier: expected SCRAM-SHA-256$"),
        (
            "users: {alice: {groups: support}}",
            "users.alice.groups: expected a list of names such as [groups]",
        ),
        (
            "users: {alice: {groups: [support, {}]}}",
            "users.alice.groups[1]: expected a name, found a mapping",
        ),
        ("users: {alice: {roles: [king]}}", "users.alice.roles: king: expected some of viewer, approver"),
        ("users: {alice: {hold: paper}}", "users.alice.hold: expected one of wait, ticket, found 'paper'"),
        ("users: {alice: {cert: alice}}", "users.alice.cert: needs listen.tls.client_ca"),
        (
            "listen: {address: 0.0.0.0}\nusers: {a: {trust: true}}",
            "2:20: users.a.trust: no password is asked",
        ),
        ("limits: {statement_bytes: 10}", "limits.statement_bytes: expected a size from 1024 to"),
        ("limits: {statement_bytes: lots}", "limits.statement_bytes: expected a size such as"),
        ("limits: {request_bytes: 64KiB}", "limits.request_bytes: cannot be less than statement_bytes"),
        ("limits: {reader_workers: 0}", "limits.reader_workers: expected a whole number from 1"),
        ("limits: {reader_memory: 64MiB}", "limits.reader_memory: expected a size from 536870912 to"),
        ("limits: {sessions: 0}", "limits.sessions: expected a whole number from 1"),
        ("shutdown: {grace: [1]}", "shutdown.grace: expected a duration such as 30s"),
        ("groups: {dpo: carol}", "groups.dpo: expected a list of names such as [dpo], found text"),
        ("rules: {a: b}", "rules: "),
        ("personal_data: [{relation: customer}]", "personal_data[0].relation: "),
        ("defaults: {unreadable: maybe}", "defaults.unreadable: "),
    ],
)
def test_what_is_refused(faults: Faults, load: Load, text: str, problem: str) -> None:
    assert any(problem in found for found in faults(text)), faults(text)


def test_missing_pairs(faults: Faults, tmp_path: Path) -> None:
    (tmp_path / "x.crt").write_text("certificate")
    assert "databases.shop.sslkey: is missing" in faults("databases: {shop: {host: a, sslcert: x.crt}}")[0]


def test_verifiers_are_checked_whole(faults: Faults, load: Load) -> None:
    assert load(f"users: {{alice: {{verifier: {VERIFIER}}}}}").users["alice"].verifier == VERIFIER
    for broken in (
        VERIFIER.replace("4096", "0"),
        VERIFIER.replace("c2FsdHNhbHQ=", "===="),
        VERIFIER.replace("A" * 43 + "=", "AAAA"),
        VERIFIER[:-1],
        VERIFIER + "=",
    ):
        found = faults(f"users: {{alice: {{verifier: {broken}}}}}")
        assert len(found) == 1
        assert broken not in found[0]


def test_secrets_from_files(load: Load, faults: Faults, tmp_path: Path) -> None:
    text = "databases: {shop: {host: a, auth: gateway, login: {user: app, password: file:secret.txt}}}"
    secret = tmp_path / "secret.txt"
    secret.write_text("hunter2\n")
    login = load(text).databases["shop"].login
    assert login is not None
    assert login.password == "hunter2"
    for content in (b"", b"\n", b"two\nlines\n", b"\xff\xfe", b"x" * 70_000):
        secret.write_bytes(content)
        (found,) = faults(text)
        assert found.startswith("1:73: databases.shop.login.password: the file ")
    secret.unlink()
    assert "No such file or directory" in faults(text)[0]


def test_values_of_the_environment_are_never_shown(faults: Faults) -> None:
    found = faults(
        "listen: {port: ${SECRET}}\nadmin: {open_metrics: ${SECRET}}\nlimits: {statement_bytes: ${SECRET}}\n"
        "audit: {statements: ${SECRET}, retention: ${SECRET}}\nstore: {url: ${SECRET}}\n",
        SECRET="hunter2",
    )
    assert len(found) == 6
    assert not any("hunter2" in line for line in found)
    assert found[0].endswith("found the value of ${SECRET}")


def test_numbers_and_flags_from_the_environment(load: Load) -> None:
    config = load("listen: {port: ${PORT}}\nadmin: {open_metrics: ${OPEN}}", PORT="5433", OPEN="yes")
    assert config.listen.port == 5433
    assert config.admin.open_metrics


def test_paths_start_at_the_file(load: Load, tmp_path: Path) -> None:
    for name in ("s.crt", "s.key", "ca.crt"):
        (tmp_path / name).write_text("x")
    config = load(
        "listen: {tls: {cert: s.crt, key: s.key, client_ca: ./ca.crt}}\n"
        "admin: {address: 0.0.0.0, tls: {cert: s.crt, key: s.key}, public_url: 'https://h.example.org/'}\n"
        "store: {url: sqlite:///data/../h.db}\naudit: {file: log/a.jsonl}\n"
        "users: {alice: {cert: alice}}\n"
        "databases: {shop: {host: a, sslmode: verify-full, sslrootcert: ca.crt},"
        " '*': {host: /run/postgresql, sslmode: verify-full, sslrootcert: system}}\n"
    )
    assert config.listen.tls.mode == "prefer"
    assert config.listen.tls.client_ca == tmp_path / "ca.crt"
    assert config.admin.tls is not None
    assert config.admin.public_url == "https://h.example.org"
    assert config.store.url == f"sqlite:///{tmp_path}/h.db"
    assert config.audit.file == tmp_path / "log/a.jsonl"
    assert config.databases["shop"].sslrootcert == str(tmp_path / "ca.crt")
    assert config.databases["*"].sslrootcert == "system"


def test_absolute_store_file(load: Load) -> None:
    assert load("store: {url: sqlite:////var/lib/h.db}").store.url == "sqlite:////var/lib/h.db"
    url = "postgresql://h@db/holdgate"
    assert load(f"store: {{url: '{url}'}}").store.url == url


def test_names_that_look_like_numbers(load: Load) -> None:
    config = load("databases: {1: {host: a, dbname: 2026}}\nusers: {7: {groups: [1]}}\ngroups: {1: [8]}")
    assert config.databases["1"].dbname == "2026"
    assert config.groups_of("7") == config.groups_of("8") == {"1"}


def test_roles_listed_tells_none_from_an_empty_list(load: Load) -> None:
    users = load("users: {a: {}, b: {roles: []}, c: {roles: [viewer, viewer]}}").users
    assert [users[name].roles_listed for name in "abc"] == [False, True, True]
    assert users["c"].roles == {Role.VIEWER}


def test_a_new_password_is_not_a_new_policy(load: Load) -> None:
    other = VERIFIER.replace("c2FsdHNhbHQ=", "cGVwcGVy")
    first = load(f"users: {{alice: {{verifier: {VERIFIER}}}}}").policy.version
    assert load(f"users: {{alice: {{verifier: {other}}}}}").policy.version == first
    assert load("users: {alice: {groups: [dpo]}}").policy.version != first


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: cannot read: No such file or directory"):
        load_config(tmp_path / "nowhere.yaml")
    with pytest.raises(ConfigError, match="cannot read: Is a directory"):
        load_config(tmp_path)
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"a: b\nc: \xff\n")
    with pytest.raises(ConfigError, match=r"binary\.yaml:2:4: not UTF-8 text"):
        load_config(binary)
    binary.write_bytes(b"#" * (5 * 1024 * 1024))
    with pytest.raises(ConfigError, match="larger than"):
        load_config(binary)


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    path = tmp_path / "holdgate.yaml"
    path.write_bytes(b"\xef\xbb\xbfdatabases: {shop: {host: a}}")
    assert load_config(str(path)).databases["shop"].host == "a"


def test_the_process_environment_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "holdgate.yaml"
    path.write_text("databases: {shop: {host: ${HOLDGATE_TEST_HOST}}}")
    monkeypatch.setenv("HOLDGATE_TEST_HOST", "db.internal")
    assert load_config(path).databases["shop"].host == "db.internal"
