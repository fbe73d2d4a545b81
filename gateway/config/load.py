"""From the file to a :class:`~gateway.config.model.Config`, or to all of its problems at once."""

import base64
import binascii
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from gateway.config.checks import check_criteria, read_checks
from gateway.config.confirmations import check_confirmations
from gateway.config.conflicts import read_conflicts
from gateway.config.deputies import read_deputies
from gateway.config.document import parse_document
from gateway.config.errors import ConfigError, ConfigProblem
from gateway.config.model import (
    Admin,
    AdminTls,
    Audit,
    CatalogSettings,
    Config,
    Database,
    Limits,
    Listen,
    ListenTls,
    Login,
    Role,
    Shutdown,
    SslMode,
    Store,
    User,
    WebCheck,
    is_loopback,
)
from gateway.config.notifications import ADDRESS, read_notifications
from gateway.config.oidc import open_groups, read_oidc
from gateway.config.policy_tests import read_policy_tests
from gateway.config.section import Section
from gateway.config.step_up import check_step_ups
from rules import Policy, PolicyError, compile_policy

__all__ = ["load_config"]

MIN_KEY = 32
MAX_FILE = 4 * 1024 * 1024
MIN_READER_MEMORY = 512 * 1024 * 1024
"""What a reader takes before it has read anything, its stack included, and a little to work with."""

TLS_MODES: tuple[Literal["disable", "prefer", "require"], ...] = ("disable", "prefer", "require")
SSL_MODES: tuple[SslMode, ...] = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
RESOLVE_MODES: tuple[Literal["static", "server"], ...] = ("static", "server")
AUTH_MODES: tuple[Literal["passthrough", "gateway"], ...] = ("passthrough", "gateway")
STATEMENTS: tuple[Literal["all", "held"], ...] = ("all", "held")
REDACTIONS: tuple[Literal["none", "literals"], ...] = ("none", "literals")
HOLD_MODES: tuple[Literal["wait", "ticket"], ...] = ("wait", "ticket")
ROLES: tuple[Role, ...] = tuple(Role)

_VERIFIER = re.compile(
    r"SCRAM-SHA-256\$([1-9][0-9]{0,9}):([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/=]+):([A-Za-z0-9+/=]+)"
)
_KEY_BYTES = 32


def load_config(
    path: str | os.PathLike[str], *, environment: Mapping[str, str] | None = None, text: str | None = None
) -> Config:
    """Read and check the file at ``path``; ``environment`` (the process's by default) fills in ``${NAME}``.

    With ``text`` the file is taken to hold that.

    Raises :class:`ConfigError` with every problem found, each with line and column.
    """
    file = Path(path)
    if text is None:
        text = _read(file)
    document = parse_document(text, file, os.environ if environment is None else environment)
    top = Section(document, document.value, ())
    config = _assemble(top, file, text)
    top.close()
    if document.problems:
        raise ConfigError(document.problems)
    assert config is not None
    return config


def _read(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_FILE + 1)
    except OSError as error:
        raise ConfigError([ConfigProblem(str(file), 0, 0, "", f"cannot read: {error.strerror}")]) from None
    if len(content) > MAX_FILE:
        raise ConfigError([ConfigProblem(str(file), 0, 0, "", f"larger than {MAX_FILE} bytes")])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start]
        line, column = before.count(b"\n") + 1, error.start - before.rfind(b"\n")
        raise ConfigError([ConfigProblem(str(file), line, column, "", "not UTF-8 text")]) from None


def _assemble(top: Section, file: Path, text: str) -> Config | None:
    listen = _listen(top.section("listen"))
    admin = _admin(top.section("admin"))
    store = _store(top.section("store"))
    audit = _audit(top.section("audit"))
    databases = {name: _database(section, name) for name, section in top.sections("databases")}
    if not databases:
        top.problem("databases", "name at least one; for example {shop: {host: db.internal}}")
    users = {name: _user(section, name, listen) for name, section in top.sections("users")}
    groups = _groups(top.section("groups"))
    deputies = read_deputies(top, users)
    catalog = _catalog(top.section("catalog"))
    limits = _limits(top.section("limits"))
    shutdown = _shutdown(top.section("shutdown"))
    oidc = read_oidc(top, admin, users, groups)
    checks = read_checks(top)
    policy = _policy(top, databases, users, groups, open_groups(oidc, users, groups), checks)
    if policy is not None:
        check_step_ups(top, policy, store, admin)
        check_criteria(top, policy, databases)
    rules = None if policy is None else [rule.name for rule in policy.rules]
    notifications = read_notifications(top, users, groups, rules)
    conflicts = read_conflicts(top, policy, databases)
    if policy is not None:
        check_confirmations(top, policy, store, admin, notifications.values())
    tests = read_policy_tests(top)
    if policy is None:
        return None
    return Config(
        path=file.absolute(),
        listen=listen,
        admin=admin,
        store=store,
        audit=audit,
        databases=databases,
        users=users,
        groups=groups,
        catalog=catalog,
        limits=limits,
        shutdown=shutdown,
        policy=policy,
        oidc=oidc,
        tests=tests,
        deputies=deputies,
        checks=checks,
        notifications=notifications,
        conflicts=conflicts,
        text=text,
    )


def _listen(section: Section) -> Listen:
    listen = Listen(
        address=section.text("address", "127.0.0.1"),
        port=section.integer("port", 7432, 0, 65_535),
        workers=section.integer("workers", 1, 1, 64),
        tls=_listen_tls(section.section("tls")),
    )
    section.close()
    return listen


def _listen_tls(section: Section) -> ListenTls:
    given = "cert" in section or "key" in section
    mode = section.word("mode", "prefer" if given else "disable", TLS_MODES)
    tls = ListenTls(
        mode, section.optional_file("cert"), section.optional_file("key"), section.optional_file("client_ca")
    )
    if mode != "disable" or given:
        for key in ("cert", "key"):
            if key not in section:
                section.problem(key, "is missing; TLS needs both cert and key")
    section.close()
    return tls


def _admin(section: Section) -> Admin:
    tls: AdminTls | None = None
    if "tls" in section:
        part = section.section("tls")
        cert, key = part.optional_file("cert"), part.optional_file("key")
        for name in ("cert", "key"):
            if name not in part:
                part.problem(name, "is missing; TLS needs both cert and key")
        if cert is not None and key is not None:
            tls = AdminTls(cert, key)
        part.close()
    else:
        section.raw("tls")
    address = section.text("address", "127.0.0.1")
    if "tls" not in section and not is_loopback(address):
        section.problem(
            "address" if "address" in section else "tls",
            f"{address} can be reached from outside and decisions need TLS there; "
            "add tls: {cert: FILE, key: FILE} or listen on 127.0.0.1",
        )
    admin = Admin(
        address=address,
        port=section.integer("port", 7433, 0, 65_535),
        tls=tls,
        public_url=_public_url(section),
        open_metrics=section.flag("open_metrics", False),
    )
    section.close()
    return admin


def _public_url(section: Section) -> str | None:
    url = section.optional_text("public_url")
    if url is None:
        return None
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or " " in url or parts.query or parts.fragment or parts.username:
        section.problem("public_url", "expected an address such as https://holdgate.example.org")
        return None
    return url.rstrip("/")


def _store(section: Section) -> Store:
    url = section.secret("url") or "sqlite:///holdgate.db"
    scheme, separator, rest = url.partition("://")
    if scheme == "sqlite" and separator and rest.startswith("/") and len(rest) > 1 and "?" not in rest:
        file = section.document.folder / Path(rest[1:]).expanduser()
        url = f"sqlite:///{os.path.abspath(file)}"
    elif scheme not in ("postgresql", "postgres") or not rest:
        section.problem("url", "expected sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE")
    key = section.secret("key")
    if key is not None and len(key) < MIN_KEY:
        section.problem("key", f"must have {MIN_KEY} characters or more; `openssl rand -base64 32` makes one")
    section.close()
    return Store(url, key)


def _audit(section: Section) -> Audit:
    audit = Audit(
        file=section.path_to("file", "audit.jsonl"),
        statements=section.word("statements", "all", STATEMENTS),
        retention=section.optional_duration("retention", 86_400.0),
        redact=section.word("redact", "none", REDACTIONS),
    )
    section.close()
    return audit


def _login(parent: Section, key: str) -> Login | None:
    if key not in parent:
        parent.raw(key)
        return None
    section = parent.section(key)
    login = Login(section.required_text("user", "user: app"), section.secret("password"))
    section.close()
    return login


def _database(section: Section, name: str) -> Database:
    sslrootcert = section.optional_text("sslrootcert")
    if sslrootcert is not None and sslrootcert != "system":
        found = section.optional_file("sslrootcert")
        sslrootcert = str(found) if found else None
    database = Database(
        host=section.required_text("host", "host: db.internal"),
        port=section.integer("port", 5432, 1, 65_535),
        dbname=section.optional_text("dbname"),
        sslmode=section.word("sslmode", "prefer", SSL_MODES),
        sslrootcert=sslrootcert,
        sslcert=section.optional_file("sslcert"),
        sslkey=section.optional_file("sslkey"),
        auth=section.word("auth", "passthrough", AUTH_MODES),
        login=_login(section, "login"),
        inspect=_login(section, "inspect"),
        resolve=section.word("resolve", "static", RESOLVE_MODES),
    )
    if database.auth == "gateway" and "login" not in section:
        section.problem("login", f"is missing; with auth: gateway, say how to log in to {name}")
    if database.sslmode in ("verify-ca", "verify-full") and "sslrootcert" not in section:
        section.problem(
            "sslrootcert", f"is missing; {database.sslmode} needs a file of certificates or the word system"
        )
    if ("sslcert" in section) != ("sslkey" in section):
        section.problem("sslkey" if "sslcert" in section else "sslcert", "is missing; the two go together")
    return database


def _user(section: Section, name: str, listen: Listen) -> User:
    verifier = section.secret("verifier")
    if verifier is not None and not _is_verifier(verifier):
        section.problem(
            "verifier",
            "expected SCRAM-SHA-256$ITERATIONS:SALT$STOREDKEY:SERVERKEY; `holdgate scram-verifier` prints it",
        )
    user = User(
        name=name,
        verifier=verifier,
        trust=section.flag("trust", False),
        cert=section.optional_text("cert"),
        groups=section.names("groups"),
        role=section.optional_text("role"),
        roles=_roles(section),
        roles_listed="roles" in section,
        oidc=section.optional_text("oidc"),
        hold=section.word("hold", "wait", HOLD_MODES),
        enabled=section.flag("enabled", True),
        email=section.optional_text("email"),
        slack=section.optional_text("slack"),
    )
    if user.email is not None and ADDRESS.fullmatch(user.email) is None:
        section.problem("email", "expected an address such as alice@example.org")
    if user.trust and not is_loopback(listen.address):
        section.problem(
            "trust", f"no password is asked, so listen.address must be loopback, not {listen.address}"
        )
    if user.cert is not None and listen.tls.client_ca is None:
        section.problem("cert", "needs listen.tls.client_ca, which says whose certificates are accepted")
    return user


def _roles(section: Section) -> frozenset[Role]:
    names = section.names("roles")
    unknown = [name for name in names if name not in ROLES]
    if unknown:
        section.problem("roles", f"{', '.join(unknown)}: expected some of {', '.join(ROLES)}")
    return frozenset(Role(name) for name in names if name in ROLES)


def _is_verifier(text: str) -> bool:
    """PostgreSQL's stored form (documentation, 53.8 pg_authid): 32-byte keys, salt and keys in base64."""
    match = _VERIFIER.fullmatch(text)
    if match is None:
        return False
    try:
        salt, stored, server = (base64.b64decode(part, validate=True) for part in match.groups()[1:])
    except binascii.Error:
        return False
    return bool(salt) and len(stored) == len(server) == _KEY_BYTES


def _groups(section: Section) -> dict[str, frozenset[str]]:
    groups: dict[str, frozenset[str]] = {}
    for name in section.written():
        groups[name] = frozenset(section.names(name))
    return groups


def _catalog(section: Section) -> CatalogSettings:
    catalog = CatalogSettings(poll=section.duration("poll", CatalogSettings().poll, 0.1))
    section.close()
    return catalog


def _limits(section: Section) -> Limits:
    default = Limits()
    limits = Limits(
        statement_bytes=section.size("statement_bytes", default.statement_bytes, 1024, 1024**3),
        request_bytes=section.size("request_bytes", default.request_bytes, 1024),
        startup_seconds=section.duration("startup_seconds", default.startup_seconds, 0.1),
        sessions=section.integer("sessions", default.sessions, 1),
        pending_holds=section.integer("pending_holds", default.pending_holds, 1),
        pending_holds_per_user=section.integer("pending_holds_per_user", default.pending_holds_per_user, 1),
        read_ahead_bytes=section.size("read_ahead_bytes", default.read_ahead_bytes, 1024, 1024**3),
        notice_seconds=section.duration("notice_seconds", default.notice_seconds, 0.1),
        preview_seconds=section.duration("preview_seconds", default.preview_seconds, 0.0),
        reader_workers=section.integer("reader_workers", default.reader_workers, 1),
        reader_seconds=section.duration("reader_seconds", default.reader_seconds, 0.05),
        reader_memory=section.size("reader_memory", default.reader_memory, MIN_READER_MEMORY),
        reader_queue=section.integer("reader_queue", default.reader_queue, 1),
    )
    if limits.request_bytes < limits.statement_bytes:
        section.problem("request_bytes", "cannot be less than statement_bytes")
    section.close()
    return limits


def _shutdown(section: Section) -> Shutdown:
    shutdown = Shutdown(grace=section.duration("grace", Shutdown().grace, 0.0))
    section.close()
    return shutdown


def _policy(
    top: Section,
    databases: Mapping[str, Database],
    users: Mapping[str, User],
    groups: Mapping[str, frozenset[str]],
    filled_elsewhere: Sequence[str],
    checks: Mapping[str, WebCheck],
) -> Policy | None:
    """Compile the rules; their problems carry a path into the file, which becomes a line and a column.

    The names of users, groups and databases go along, so that a rule about somebody unknown is noticed;
    secrets do not, so that a new password is not a new policy.
    """
    document: dict[str, object] = {}
    for key in ("personal_data", "rules", "defaults", "approval", "redact_errors", "erasing_update", "caps"):
        value = top.raw(key)
        if value is not None:
            document[key] = value
    document["databases"] = {name: {} for name in databases}
    document["users"] = {
        name: {"groups": list(user.groups), "role": user.role} for name, user in users.items()
    }
    document["groups"] = {name: sorted(members) for name, members in groups.items()}
    if checks:
        document["checks"] = {name: {"url": one.url} for name, one in checks.items()}
    if filled_elsewhere:
        document["open_groups"] = list(filled_elsewhere)
    try:
        return compile_policy(document)
    except PolicyError as error:
        for problem in error.problems:
            top.document.problem(problem.path, problem.message)
        return None
