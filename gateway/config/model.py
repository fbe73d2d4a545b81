"""The configuration as frozen values: what :func:`gateway.config.load_config` returns.

Paths are absolute, sizes are in bytes and durations in seconds. Secrets stay out of ``repr``.
"""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from rules.conflicts import ConflictAction, ConflictKind
from rules.criteria import SqlCheck

if TYPE_CHECKING:
    from gateway.config.channels import Channel
    from rules import Policy

__all__ = [
    "Admin",
    "AdminTls",
    "Audit",
    "CatalogSettings",
    "Config",
    "Conflicts",
    "Database",
    "Deputy",
    "LegalHold",
    "Limits",
    "Listen",
    "ListenTls",
    "Login",
    "Oidc",
    "PolicyTest",
    "Role",
    "Shutdown",
    "SslMode",
    "Store",
    "User",
    "WebCheck",
    "is_loopback",
    "passkey_host",
]

SslMode = Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]
"""The words of libpq's ``sslmode`` (PostgreSQL documentation, 32.19.1)."""


class Role(StrEnum):
    """What somebody may do on the management port."""

    VIEWER = "viewer"
    APPROVER = "approver"
    AUDITOR = "auditor"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class ListenTls:
    """TLS towards clients. ``client_ca`` signs the client certificates that are accepted."""

    mode: Literal["disable", "prefer", "require"] = "disable"
    cert: Path | None = None
    key: Path | None = None
    client_ca: Path | None = None


@dataclass(frozen=True, slots=True)
class Listen:
    """Where PostgreSQL clients connect. Port 0 lets the system choose one."""

    address: str = "127.0.0.1"
    port: int = 7432
    workers: int = 1
    tls: ListenTls = field(default_factory=ListenTls)


@dataclass(frozen=True, slots=True)
class AdminTls:
    """The certificate of the management port."""

    cert: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Admin:
    """The management port.

    ``public_url`` (no trailing slash) is how people reach it, for links in notices.
    """

    address: str = "127.0.0.1"
    port: int = 7433
    tls: AdminTls | None = None
    public_url: str | None = None
    open_metrics: bool = False


@dataclass(frozen=True, slots=True)
class Store:
    """Where holds and tokens are kept. A URL of a PostgreSQL store may contain a password; ``key`` seals the secrets in
    it that cannot be hashed."""

    url: str = field(repr=False)
    key: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Audit:
    """The audit file. ``retention`` is in seconds; None keeps every record."""

    file: Path
    statements: Literal["all", "held"] = "all"
    retention: float | None = None
    redact: Literal["none", "literals"] = "none"


@dataclass(frozen=True, slots=True)
class Login:
    """How the gateway itself logs in to a database server."""

    user: str
    password: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Database:
    """A database clients may ask for, and the server behind it.

    ``host`` is a name, an address or, when it begins with a slash, the folder of a unix socket. ``dbname``
    None means the name the client asked for. ``sslrootcert`` is a file or the word ``system``.
    """

    host: str
    port: int = 5432
    dbname: str | None = None
    sslmode: SslMode = "prefer"
    sslrootcert: str | None = None
    sslcert: Path | None = None
    sslkey: Path | None = None
    auth: Literal["passthrough", "gateway"] = "passthrough"
    login: Login | None = None
    inspect: Login | None = None
    resolve: Literal["static", "server"] = "static"


@dataclass(frozen=True, slots=True)
class User:
    """Somebody the gateway knows.

    ``verifier`` is PostgreSQL's SCRAM-SHA-256 form, ``cert`` the common name of the TLS client certificate
    that may log in as this user, ``role`` the server role a gateway login becomes, ``roles`` what the user
    may do on the management port (``roles_listed`` tells an empty list from none), ``oidc`` what the provider
    calls them, ``email`` and ``slack`` (a member id) where they are told of their holds.
    """

    name: str
    verifier: str | None = field(default=None, repr=False)
    trust: bool = False
    cert: str | None = None
    groups: tuple[str, ...] = ()
    role: str | None = None
    hold: Literal["wait", "ticket"] = "wait"
    roles: frozenset[Role] = frozenset()
    roles_listed: bool = False
    oidc: str | None = None
    enabled: bool = True
    email: str | None = None
    slack: str | None = None


@dataclass(frozen=True, slots=True)
class Deputy:
    """``deputy`` decides in the name of ``absent`` on the days from ``first`` to ``last``, in UTC, both included."""

    deputy: str
    absent: str
    first: date
    last: date

    def covers(self, moment: datetime) -> bool:
        """Whether ``moment`` lies in these days."""
        return self.first <= moment.astimezone(UTC).date() <= self.last


@dataclass(frozen=True, slots=True)
class Oidc:
    """An OpenID provider whose people use the management port.

    ``issuer`` is compared letter for letter with what the provider says of itself. ``username`` and ``groups``
    name claims of the ID token. Names are taken without their domain where it is one of ``domains``;
    ``map_groups`` (None: as they are) turns the provider's groups into those of the rules, and ``roles`` says
    which roles a group gives. What the provider said of somebody counts for ``session`` seconds.
    """

    issuer: str
    client_id: str
    client_secret: str | None = field(default=None, repr=False)
    label: str = "single sign-on"
    scopes: tuple[str, ...] = ("openid", "profile", "email")
    algorithms: tuple[str, ...] = ("RS256", "ES256")
    username: str = "preferred_username"
    domains: frozenset[str] = frozenset()
    groups: str = "groups"
    map_groups: Mapping[str, str] | None = None
    roles: Mapping[str, frozenset[Role]] = field(default_factory=dict)
    session: float = 8 * 3600.0


@dataclass(frozen=True, slots=True)
class WebCheck:
    """A web service that says whether a criterion is met. ``keys`` sign what it is sent, the newest first; ``timeout``
    is in seconds; ``ca`` is a PEM file of the authorities to trust, None for the machine's own."""

    name: str
    url: str = field(repr=False)
    keys: tuple[bytes, ...] = field(repr=False)
    timeout: float = 5.0
    ca: Path | None = None


@dataclass(frozen=True, slots=True)
class LegalHold:
    """People whose data must not be deleted: those whose key in ``relation`` is one of ``subjects``, and those for whom
    the query of ``check`` answers true."""

    relation: str
    reason: str
    subjects: tuple[str, ...] = ()
    check: SqlCheck | None = None


@dataclass(frozen=True, slots=True)
class Conflicts:
    """What is done about statements that concern the same people. What has ended counts for ``window`` seconds."""

    export_then_delete: ConflictAction = ConflictAction.ORDER
    delete_then_export: ConflictAction = ConflictAction.ORDER
    delete_twice: ConflictAction = ConflictAction.WARN
    window: float = 24 * 3600.0
    legal_holds: tuple[LegalHold, ...] = ()

    def action(self, kind: ConflictKind) -> ConflictAction:
        """What is done about a conflict of this kind."""
        actions = {
            ConflictKind.EXPORT_THEN_DELETE: self.export_then_delete,
            ConflictKind.DELETE_THEN_EXPORT: self.delete_then_export,
            ConflictKind.DELETE_TWICE: self.delete_twice,
        }
        return actions[kind]


@dataclass(frozen=True, slots=True)
class Limits:
    """Caps: bytes, seconds and counts."""

    statement_bytes: int = 1024 * 1024
    request_bytes: int = 256 * 1024 * 1024
    startup_seconds: float = 20.0
    sessions: int = 10_000
    pending_holds: int = 1_000
    pending_holds_per_user: int = 20
    read_ahead_bytes: int = 64 * 1024
    notice_seconds: float = 30.0
    preview_seconds: float = 5.0
    reader_workers: int = 2
    reader_seconds: float = 5.0
    reader_memory: int = 1024 * 1024 * 1024
    reader_queue: int = 1_000


@dataclass(frozen=True, slots=True)
class Shutdown:
    """``grace``: seconds running statements have to finish when the gateway is asked to stop."""

    grace: float = 30.0


@dataclass(frozen=True, slots=True)
class PolicyTest:
    """What the policy must say of a statement. ``groups`` None: those the configuration gives the user;
    ``rule`` and ``obligations`` None: any. ``catalog`` is the dump that names are looked up in, None where they stand
    for themselves, ``search_path`` None the one it says. ``line`` and ``column`` are where it is written."""

    sql: str
    expect: Literal["allow", "hold", "deny"]
    user: str = ""
    database: str = ""
    groups: frozenset[str] | None = None
    rule: str | None = None
    obligations: frozenset[str] | None = None
    catalog: Path | None = None
    search_path: str | None = None
    line: int = 0
    column: int = 0


@dataclass(frozen=True, slots=True)
class CatalogSettings:
    """``poll``: seconds between two looks at a database's catalog for what did not pass through this gateway."""

    poll: float = 30.0


@dataclass(frozen=True, slots=True)
class Config:
    """Everything the file says, checked."""

    path: Path
    listen: Listen
    admin: Admin
    store: Store
    audit: Audit
    databases: Mapping[str, Database]
    users: Mapping[str, User]
    groups: Mapping[str, frozenset[str]]
    catalog: CatalogSettings
    limits: Limits
    shutdown: Shutdown
    policy: "Policy"
    oidc: Oidc | None = None
    tests: tuple[PolicyTest, ...] = ()
    deputies: tuple[Deputy, ...] = ()
    checks: Mapping[str, WebCheck] = field(default_factory=dict)
    notifications: Mapping[str, "Channel"] = field(default_factory=dict)
    conflicts: Conflicts = field(default_factory=Conflicts)
    text: str = field(default="", repr=False)
    """The file's text, for processes that are to have the same configuration whatever the file holds by then."""

    def database(self, name: str) -> Database | None:
        """The database of this name, else the one called ``*``, else None."""
        return self.databases.get(name) or self.databases.get("*")

    def groups_of(self, user: str) -> frozenset[str]:
        """The groups ``user`` is in, whichever of ``users`` and ``groups`` says so; empty for a stranger."""
        known = self.users.get(user)
        named = known.groups if known else ()
        return frozenset(named) | {group for group, members in self.groups.items() if user in members}

    def stands_in_for(self, user: str, at: datetime) -> dict[str, frozenset[str]]:
        """Those in whose name ``user`` may decide at ``at``, with their groups. Whoever is disabled has no deputy."""
        return {
            one.absent: self.groups_of(one.absent)
            for one in self.deputies
            if one.deputy == user and one.covers(at) and self.users[one.absent].enabled
        }

    def members_of(self, group: str) -> frozenset[str]:
        """The users in ``group``, whichever of ``users`` and ``groups`` says so."""
        listed = self.groups.get(group, frozenset())
        return listed | {user.name for user in self.users.values() if group in user.groups}


def passkey_host(public_url: str | None) -> str | None:
    """The host for which browsers make passkeys when the management port is reached by ``public_url``, None if they
    make none: they want https, or http on localhost, and a name (Web Authentication Level 2, "RP ID")."""
    if public_url is None:
        return None
    parts = urlsplit(public_url)
    host = parts.hostname or ""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host if parts.scheme == "https" or host == "localhost" else None
    return None


def is_loopback(address: str) -> bool:
    """Whether only this machine can connect to ``address``.

    A name other than ``localhost`` is not trusted.
    """
    if address == "localhost":
        return True
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(parsed, "ipv4_mapped", None)
    return bool((mapped or parsed).is_loopback)
