"""A management port on real sockets, with real holds in a real SQLite file and a real audit beside it.

There is no gateway behind it: what is judged is judged by the real rules, and the client sessions are plain
values, so that the port can be tested by itself.
"""

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Self

import httpx
import yaml

from gateway.api.passwords import PasswordCheck
from gateway.api.server import ManagementServer
from gateway.api.services import Services
from gateway.audit import AuditLog
from gateway.bus import Bus
from gateway.clock import Clock, now
from gateway.config import Config, Role, load_config
from gateway.holds import Hold, HoldRequest, Holds
from gateway.metrics import Metrics
from gateway.passkeys import Passkeys
from gateway.people import People
from gateway.reviews import Reviews
from gateway.store import Storage, open_store
from gateway.tokens import Tokens
from gateway.totp import Totp
from protocol.scram import build_verifier
from rules import Context, Explanation, Judge, Stage
from tests.support.gateway import known_authorities
from tests.support.oidc import OidcServer
from tests.support.ports import free_port

__all__ = [
    "PASSWORD",
    "Desk",
    "SessionValue",
    "SteppedClock",
    "hold_request",
    "management",
    "signing_in_by",
    "write_config",
]

PASSWORD = "correct horse"


class SteppedClock(Clock):
    """A clock that is moved by hand; without being moved it is the real one."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=self.ahead)

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead


@dataclass(frozen=True, slots=True)
class SessionValue:
    """A client session."""

    id: str
    user: str = "alice"
    groups: tuple[str, ...] = ("crew", "support")
    database: str = "shop"
    client_addr: str | None = "127.0.0.1"
    application_name: str = "psql"
    state: str = "idle"
    started_at: datetime = datetime(2030, 1, 31, 12, tzinfo=UTC)
    transaction_status: str | None = "I"
    current_sql: str | None = None
    hold_id: str | None = None
    backend_pid: int | None = 4711


@dataclass
class SessionList:
    """The sessions of a gateway as plain values."""

    sessions: dict[str, SessionValue] = field(default_factory=dict)
    killed: list[tuple[str, str]] = field(default_factory=list)

    async def list(self) -> Sequence[SessionValue]:
        return list(self.sessions.values())

    async def kill(self, session_id: str, by: str, /) -> bool:
        self.killed.append((session_id, by))
        return self.sessions.pop(session_id, None) is not None


@cache
def _verifier() -> str:
    return str(build_verifier(PASSWORD, b"sixteen bytes...", 4096))


def write_config(folder: Path, **changes: Any) -> Path:
    """A configuration file: ``changes`` replace top-level keys, or are merged into them if both are mappings.

    alice asks (and could approve, were it not her own); carol and dave are of the group dpo; erin approves
    but is of another group; vic looks; olga audits; root administers; gone is disabled; plain has no role.
    """
    document: dict[str, Any] = {
        "admin": {"address": "127.0.0.1", "port": 0},
        "store": {"url": "sqlite:///holdgate.db"},
        "audit": {"file": "audit.jsonl"},
        "databases": {"*": {"host": "127.0.0.1"}},
        "users": {
            "alice": {"verifier": _verifier(), "groups": ["support", "dpo"], "roles": ["viewer", "approver"]},
            "carol": {"verifier": _verifier(), "roles": ["viewer", "approver"]},
            "dave": {"verifier": _verifier(), "roles": ["approver"]},
            "erin": {"verifier": _verifier(), "roles": ["approver"]},
            "vic": {"verifier": _verifier(), "roles": ["viewer"]},
            "olga": {"verifier": _verifier(), "roles": ["auditor"]},
            "root": {"verifier": _verifier(), "roles": ["admin"]},
            "gone": {"verifier": _verifier(), "roles": ["admin"], "enabled": False},
            "plain": {"verifier": _verifier()},
            "nopass": {"roles": ["viewer"]},
        },
        "groups": {"dpo": ["carol", "dave"]},
        "personal_data": [
            {"relation": "public.customer", "columns": ["email", "phone"], "subject": "customer_id"}
        ],
        "rules": [
            {
                "name": "erasure",
                "when": {"action": "delete", "data": "personal"},
                "then": "hold",
                "approval": {"from": ["dpo"], "expires": "15m"},
            },
            {"name": "no-ddl", "when": {"action": "ddl", "groups": ["support"]}, "then": "deny"},
        ],
        "defaults": {
            "unreadable": "hold",
            "unknown_relation": "allow",
            "opaque_function": "hold",
            "otherwise": "allow",
        },
    }
    for name, value in changes.items():
        known = document.get(name)
        document[name] = (
            {**known, **value} if isinstance(known, dict) and isinstance(value, Mapping) else value
        )
    path = folder / "holdgate.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path


def signing_in_by(provider: OidcServer, **changes: Any) -> dict[str, Any]:
    """What a configuration needs so that people sign in through ``provider``; ``changes`` are of ``oidc``."""
    port = free_port()
    return {
        "admin": {"port": port, "public_url": f"http://127.0.0.1:{port}"},
        "groups": {"dpo": ["carol", "dave"], "staff": []},
        "oidc": provider.settings(**changes),
    }


def hold_request(**changes: Any) -> HoldRequest:
    """What alice asks for: to delete one customer."""
    request: dict[str, Any] = {
        "user": "alice",
        "groups": ("support",),
        "database": "shop",
        "client_addr": "10.0.0.7",
        "application_name": "psql",
        "session_id": "S-0001",
        "statement_id": "S-0001.1",
        "sql": "DELETE FROM customer WHERE customer_id = $1",
        "parameters": ("5",),
        "actions": ("delete",),
        "relations": ("public.customer",),
        "columns": (),
        "row_bound": "POINT",
        "rule": "erasure",
        "reason": "deletes personal data",
        "stages": (Stage(("dpo",)),),
        "expires": 900.0,
        "digest": "d" * 64,
    }
    return HoldRequest(**{**request, **changes})


@dataclass
class Desk:
    """A running management port and everything behind it."""

    config: Config
    store: Storage
    audit: AuditLog
    bus: Bus
    metrics: Metrics
    holds: Holds
    tokens: Tokens
    people: People
    totp: Totp
    passkeys: Passkeys
    sessions: SessionList
    clock: SteppedClock
    judge: Judge
    reasons: list[str] = field(default_factory=list)
    failure: Exception | None = None
    server: ManagementServer = field(init=False)

    @property
    def url(self) -> str:
        """Where this test reaches the port, whatever ``admin.public_url`` says."""
        scheme = "https" if self.config.admin.tls else "http"
        return f"{scheme}://127.0.0.1:{self.server.port}"

    async def token(self, user: str, *roles: Role) -> str:
        """A new token; without ``roles`` it may look."""
        _, secret = await self.tokens.issue(user, roles or (Role.VIEWER,))
        return secret

    async def client(self, user: str | None = None, *roles: Role) -> "Caller":
        """A caller with a token of ``user``, or without one."""
        caller = Caller(base_url=self.url, timeout=20)
        if user is not None:
            caller.headers["Authorization"] = f"Bearer {await self.token(user, *roles)}"
        return caller

    async def browser(self, user: str) -> "Caller":
        """A caller that has signed in with a password, sending its CSRF token."""
        async with Caller(base_url=self.url, timeout=20) as caller:
            answer = await caller.post("/api/v1/login", json={"user": user, "password": PASSWORD})
        assert answer.status_code == 200, answer.text
        headers = {"X-CSRF-Token": answer.json()["csrf_token"]}
        return Caller(base_url=self.url, timeout=20, cookies=answer.cookies, headers=headers)

    async def open(self, **changes: Any) -> Hold:
        """A statement that waits."""
        return await self.holds.open(hold_request(**changes))

    async def check(self, sql: str, user: str | None, database: str | None) -> Explanation:
        if self.failure is not None:
            raise self.failure
        name = user or ""
        context = Context(user=name, now=now(), groups=self.config.groups_of(name), database=database or "")
        return self.judge.explain(sql.encode(), context)

    async def readiness(self) -> Sequence[str]:
        return self.reasons

    async def render_metrics(self) -> tuple[bytes, str]:
        return self.metrics.render()


class Caller(httpx.AsyncClient):
    """An HTTP client that is closed with ``async with``, typed as itself."""

    def __init__(self, **options: Any) -> None:
        super().__init__(verify=known_authorities(), **options)

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        return self


@contextlib.asynccontextmanager
async def management(folder: Path, **changes: Any) -> AsyncIterator[Desk]:
    """Serve a management port for as long as the context lasts; ``changes`` go into its configuration."""
    config = load_config(write_config(folder, **changes))
    async with contextlib.AsyncExitStack() as stack:
        clock = SteppedClock()
        store = await open_store(config.store.url)
        stack.push_async_callback(store.close)
        audit = AuditLog(config.audit, clock=clock)
        await audit.start()
        stack.push_async_callback(audit.stop)
        bus = Bus(clock=clock)
        people = People(store, lambda: desk.config, clock=clock)
        holds = Holds(store, bus, audit, config.limits, people, clock=clock)
        await holds.start()
        stack.push_async_callback(holds.stop)
        desk = Desk(
            config=config,
            store=store,
            audit=audit,
            bus=bus,
            metrics=Metrics("1.2.3"),
            holds=holds,
            tokens=Tokens(store, lambda: desk.config, people, clock=clock),
            people=people,
            totp=Totp(store, lambda: desk.config, clock=clock),
            passkeys=Passkeys(store, lambda: desk.config, clock=clock),
            sessions=SessionList(),
            clock=clock,
            judge=Judge(config.policy),
        )
        desk.server = ManagementServer(
            Services(
                config=lambda: desk.config,
                holds=holds,
                reviews=Reviews(store, bus, audit, clock=clock),
                grants=holds.grants,
                audit=audit,
                bus=bus,
                metrics=desk.render_metrics,
                sessions=desk.sessions,
                tokens=desk.tokens,
                people=people,
                totp=desk.totp,
                passkeys=desk.passkeys,
                outbox=store,
                authenticate=PasswordCheck(lambda: desk.config, b"secret"),
                check=desk.check,
                readiness=desk.readiness,
                clock=clock,
            )
        )
        stack.push_async_callback(desk.server.stop)
        await desk.server.start()
        yield desk
