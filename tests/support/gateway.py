"""A gateway in front of the test server: inside the test's own loop, or as a process of its own.

Both take a configuration made by :func:`make_config`: everything is allowed and logins pass through, unless
the test says otherwise. :data:`SHOP_POLICY` is the policy for the sample database.
"""

import asyncio
import contextlib
import copy
import json
import os
import signal
import ssl
import sys
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import httpx
import psycopg
import yaml

from gateway.app import Gateway
from gateway.audit import AuditRecord, Kind
from gateway.config import Role, load_config
from gateway.people import People
from gateway.store import open_store
from gateway.tasks import cancel_all
from gateway.tokens import Tokens
from tests.support.ports import free_port
from tests.support.postgres import Postgres
from tests.support.wire import RawClient

__all__ = [
    "ALLOW_ALL",
    "SHOP_POLICY",
    "ApproverClient",
    "GatewayProcess",
    "RunningGateway",
    "audit_records",
    "held",
    "make_config",
    "merged",
    "running_gateway",
    "write_config",
]

_PATIENCE = 20.0

ALLOW_ALL: Mapping[str, Any] = {
    "defaults": {
        "unreadable": "allow",
        "unknown_relation": "allow",
        "opaque_function": "allow",
        "otherwise": "allow",
    }
}
"""The policy under which a client must not notice the gateway."""

SHOP_POLICY: Mapping[str, Any] = {
    "personal_data": [
        {
            "relation": "public.customer",
            "columns": ["email", "phone", "address", "postal_code"],
            "subject": "customer_id",
        },
        {"relation": "public.invoice", "columns": ["billing_address"], "subject": "customer_id"},
        {"relation": "public.invoice_line", "subject": "invoice_line_id"},
    ],
    "rules": [
        {
            "name": "erasure",
            "when": {"action": "delete", "data": "personal"},
            "then": "hold",
            "approval": {"from": ["dpo"], "expires": "15m"},
        },
        {
            "name": "bulk",
            "when": {"action": "read", "data": "personal", "rows": "> 20"},
            "then": "hold",
            "approval": {"from": ["dpo"]},
        },
        {"name": "no-ddl", "when": {"action": "ddl", "groups": ["support"]}, "then": "deny"},
    ],
    "defaults": {
        "unreadable": "hold",
        "unknown_relation": "hold",
        "opaque_function": "hold",
        "otherwise": "allow",
    },
}
"""Deletions and reads of more than 20 customers wait for the group ``dpo`` (carol and dave)."""

_PEOPLE: Mapping[str, Any] = {
    "alice": {"groups": ["support"]},
    "carol": {"groups": ["dpo"], "roles": ["approver", "viewer"]},
    "dave": {"groups": ["dpo"], "roles": ["approver", "viewer"]},
    "olga": {"roles": ["auditor"]},
    "root": {"roles": ["admin"]},
}


# --- configuration --------------------------------------------------------------------------------------


def make_config(upstream: Postgres, *overrides: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration in front of ``upstream`` on free ports; each of ``overrides`` is merged into it.

    Every database name leads to the same name there, and logins pass through. Known are alice (support),
    carol and dave (dpo, approvers), olga (auditor) and root (admin); passing through, they log in as the
    server lets them. Files are named relative to the configuration's folder.
    """
    return merged(
        {
            "listen": {"address": "127.0.0.1", "port": free_port()},
            "admin": {"address": "127.0.0.1", "port": free_port()},
            "store": {"url": "sqlite:///holdgate.db"},
            "audit": {"file": "audit.jsonl"},
            "databases": {
                "*": {
                    "host": upstream.host,
                    "port": upstream.port,
                    "sslmode": "disable",
                    "auth": "passthrough",
                }
            },
            "users": _PEOPLE,
            "shutdown": {"grace": "2s"},
            **ALLOW_ALL,
        },
        *overrides,
    )


def merged(base: Mapping[str, Any], *overrides: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of ``base`` with ``overrides`` in it: mappings key by key, all else replaced."""
    result = copy.deepcopy(dict(base))
    for override in overrides:
        for key, value in override.items():
            known = result.get(key)
            if isinstance(known, Mapping) and isinstance(value, Mapping):
                result[key] = merged(known, value)
            else:
                result[key] = copy.deepcopy(value)
    return result


def write_config(directory: Path, config: Mapping[str, Any]) -> Path:
    """Write ``config`` as ``directory/holdgate.yaml`` and return its path."""
    file = directory / "holdgate.yaml"
    # By way of JSON, so that values used twice are written twice and not as YAML's anchors and aliases.
    plain = json.loads(json.dumps(config))
    file.write_text(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return file


def audit_records(directory: Path, **wanted: object) -> list[dict[str, Any]]:
    """The audit's records whose fields equal ``wanted``, oldest first."""
    lines = (directory / "audit.jsonl").read_text(encoding="ascii").splitlines()
    records = [cast(dict[str, Any], json.loads(line)) for line in lines]
    return [record for record in records if all(record[key] == value for key, value in wanted.items())]


@cache
def known_authorities() -> ssl.SSLContext:
    """What a client trusts; read once, since reading it takes as long as everything else a client is made of."""
    return ssl.create_default_context()


# --- people ---------------------------------------------------------------------------------------------


class ApproverClient:
    """Somebody with a token on the management port."""

    def __init__(self, url: str, token: str) -> None:
        self.token = token
        self.http = httpx.AsyncClient(
            base_url=url,
            headers={"Authorization": f"Bearer {token}"},
            timeout=_PATIENCE,
            verify=known_authorities(),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.http.aclose()

    async def holds(self, **query: str) -> list[dict[str, Any]]:
        """The holds that match, newest first."""
        response = await self.http.get("/api/v1/holds", params=query)
        response.raise_for_status()
        return cast(list[dict[str, Any]], response.json()["holds"])

    async def hold(self, hold_id: str) -> dict[str, Any]:
        """One hold."""
        response = await self.http.get(f"/api/v1/holds/{hold_id}")
        response.raise_for_status()
        return cast(dict[str, Any], response.json())

    async def wait_for_hold(self, patience: float = _PATIENCE, **query: str) -> dict[str, Any]:
        """The newest pending hold that matches ``query``, as soon as there is one."""
        async with asyncio.timeout(patience):
            return await self._wait(lambda: self.holds(state="pending", **query))

    async def wait_for_end(self, hold_id: str, patience: float = _PATIENCE) -> dict[str, Any]:
        """The hold once it is no longer pending."""

        async def ended() -> list[dict[str, Any]]:
            hold = await self.hold(hold_id)
            return [] if hold["state"] == "pending" else [hold]

        async with asyncio.timeout(patience):
            return await self._wait(ended)

    async def wait_for_state(self, hold_id: str, state: str, patience: float = _PATIENCE) -> dict[str, Any]:
        """The hold once it is in this state."""

        async def reached() -> list[dict[str, Any]]:
            hold = await self.hold(hold_id)
            return [hold] if hold["state"] == state else []

        async with asyncio.timeout(patience):
            return await self._wait(reached)

    async def grants(self) -> list[dict[str, Any]]:
        """Grants, newest first."""
        response = await self.http.get("/api/v1/grants")
        response.raise_for_status()
        return cast(list[dict[str, Any]], response.json()["grants"])

    async def queue(self) -> list[dict[str, Any]]:
        """Who has places under caps, and who waits for one."""
        response = await self.http.get("/api/v1/queue")
        response.raise_for_status()
        return cast(list[dict[str, Any]], response.json()["queue"])

    async def wait_for_queue(self, taken: int, waiting: int, patience: float = _PATIENCE) -> None:
        """Return once so many places are taken and so many statements wait for one."""

        async def reached() -> list[dict[str, Any]]:
            queue = await self.queue()
            counts = [sum(len(one[key]) for one in queue) for key in ("taken", "waiting")]
            return [{"queue": queue}] if counts == [taken, waiting] else []

        async with asyncio.timeout(patience):
            await self._wait(reached)

    async def wait_for_preview(self, hold_id: str, patience: float = _PATIENCE) -> dict[str, Any]:
        """The hold once its preview was taken."""

        async def taken() -> list[dict[str, Any]]:
            hold = await self.hold(hold_id)
            return [] if hold["impact"] is None else [hold]

        async with asyncio.timeout(patience):
            return await self._wait(taken)

    async def wait_for_outcome(self, hold_id: str, patience: float = _PATIENCE) -> dict[str, Any]:
        """The hold once it is known how its statement ended."""

        async def ended() -> list[dict[str, Any]]:
            hold = await self.hold(hold_id)
            return [] if hold["outcome"] is None else [hold]

        async with asyncio.timeout(patience):
            return await self._wait(ended)

    async def approve(self, hold_id: str, reason: str = "", **body: object) -> httpx.Response:
        """Approve; the response may say that it was too late."""
        return await self.http.post(f"/api/v1/holds/{hold_id}/approve", json={"reason": reason, **body})

    async def reject(self, hold_id: str, reason: str) -> httpx.Response:
        """Reject; the response may say that it was too late."""
        return await self.http.post(f"/api/v1/holds/{hold_id}/reject", json={"reason": reason})

    async def _wait(self, look: Any) -> dict[str, Any]:
        # The stream is open before the first look, so nothing happens unseen between two looks.
        async with self.http.stream("GET", "/api/v1/events") as stream:
            stream.raise_for_status()
            found = await look()
            if not found:
                async for line in stream.aiter_lines():
                    if line.startswith("data:") and (found := await look()):
                        break
        assert found, "the event stream ended"
        return cast(dict[str, Any], found[0])


async def held(client: RawClient, carol: ApproverClient, *messages: bytes) -> dict[str, Any]:
    """Send what is held; returns once the client has its notice and the approver sees the hold."""
    await client.send(*messages)
    notice = await client.read()
    assert notice.tag == "N", notice
    assert "waits for approval" in notice.fields["M"]
    hold = await carol.wait_for_hold()
    assert hold["id"] in notice.fields["M"]
    assert "group dpo" in notice.fields["H"]
    return hold


async def _issue_token(config_path: Path, user: str, roles: Collection[Role]) -> str:
    """A token put into the store past the management port, as whoever sets a gateway up does."""
    config = load_config(config_path)
    store = await open_store(config.store.url)
    try:
        _, secret = await Tokens(store, lambda: config, People(store, lambda: config)).issue(
            user, frozenset(roles)
        )
    finally:
        await store.close()
    return secret


def _roles_of(config_path: Path, user: str) -> frozenset[Role]:
    return load_config(config_path).users[user].roles


# --- in this process ------------------------------------------------------------------------------------


@dataclass(slots=True)
class RunningGateway:
    """A gateway in the test's own loop."""

    gateway: Gateway
    directory: Path
    _clients: list[ApproverClient] = field(default_factory=list)

    @property
    def host(self) -> str:
        return self.gateway.config.listen.address

    @property
    def port(self) -> int:
        return self.gateway.listener.port

    @property
    def url(self) -> str:
        """The management port."""
        return f"http://127.0.0.1:{self.gateway.management.port}"

    async def client(self, user: str = "carol") -> ApproverClient:
        """``user``, with the roles that the configuration gives. Closed with the gateway."""
        roles = self.gateway.config.users[user].roles
        _, secret = await self.gateway.tokens.issue(user, roles)
        client = ApproverClient(self.url, secret)
        self._clients.append(client)
        return client

    async def raw(self, database: str, **options: Any) -> RawClient:
        """A raw connection through the gateway."""
        return await RawClient.connect(self.host, self.port, database=database, **options)

    async def psycopg(self, database: str, **options: Any) -> psycopg.AsyncConnection[Any]:
        """A psycopg connection through the gateway, as the superuser unless ``user`` is given; autocommit."""
        settings: dict[str, Any] = {
            "host": self.host,
            "port": self.port,
            "dbname": database,
            "user": "postgres",
            "autocommit": True,
            **options,
        }
        return await psycopg.AsyncConnection.connect(**settings)

    def audit(self, **wanted: object) -> list[dict[str, Any]]:
        """The audit's records so far."""
        return audit_records(self.directory, **wanted)

    async def written(self) -> None:
        """Return once every record is on disk. The writer is a thread and announces it to nobody."""
        audit = self.gateway.audit
        async with asyncio.timeout(_PATIENCE):
            while audit.queue_depth or not audit.healthy:
                await asyncio.sleep(0.005)

    async def until_sessions(self, count: int) -> None:
        """Return once so many sessions are left. A session that ends announces it to nobody."""
        async with asyncio.timeout(_PATIENCE):
            while len(self.gateway.sessions) != count:
                await asyncio.sleep(0.005)

    async def recorded(self, **wanted: object) -> list[dict[str, Any]]:
        """The same, with all that has happened by now: a record made durable is behind what came before it."""
        await self.gateway.audit.intent(AuditRecord(Kind.GATEWAY, tag="looked at"))
        return self.audit(**wanted)

    async def close_clients(self) -> None:
        """Close what :meth:`client` made."""
        for client in self._clients:
            await client.http.aclose()


@contextlib.asynccontextmanager
async def running_gateway(directory: Path, config: Mapping[str, Any]) -> AsyncIterator[RunningGateway]:
    """A gateway for the length of the block, with its files in ``directory``. No task may outlive it."""
    gateway = Gateway(load_config(write_config(directory, config)))
    await gateway.start()
    running = RunningGateway(gateway, directory)
    try:
        yield running
    finally:
        await running.close_clients()
        await gateway.stop()
        late = await cancel_all(5.0)
        assert not late, f"tasks that ignore their cancellation: {late}"


# --- as a process of its own ----------------------------------------------------------------------------


class GatewayProcess:
    """``holdgate serve`` as a child process. Use it with ``async with``; it is ready inside the block."""

    def __init__(
        self,
        directory: Path,
        config: Mapping[str, Any],
        *,
        environment: Mapping[str, str] | None = None,
        patience: float = _PATIENCE,
    ) -> None:
        self.directory = directory
        self.config_path = write_config(directory, config)
        self.host = str(config["listen"]["address"])
        self.port = int(config["listen"]["port"])
        self.url = f"http://127.0.0.1:{config['admin']['port']}"
        self._environment = {**os.environ, **(environment or {})}
        self._patience = patience
        self._log = directory / "gateway.log"
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and hasattr(error, "add_note"):
            error.add_note(f"--- log of the gateway\n{self.log_text()}")
        if self._process is not None and self._process.returncode is None:
            await self.stop()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process has not ended."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Start it and return once it is ready. Raises AssertionError with its log when it is not."""
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self.command("serve"),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
            )
        async with httpx.AsyncClient(base_url=self.url, verify=known_authorities()) as http:
            ready = asyncio.ensure_future(_until_ready(http))
            ended = asyncio.ensure_future(self._process.wait())
            await asyncio.wait({ready, ended}, timeout=self._patience, return_when=asyncio.FIRST_COMPLETED)
            for task in (ready, ended):
                task.cancel()
            await asyncio.gather(ready, ended, return_exceptions=True)
        if not ready.done() or ready.cancelled():
            if self._process.returncode is None:
                self._process.kill()
                await self._process.wait()
            raise AssertionError(f"the gateway did not become ready:\n{self.log_text()}")

    def command(self, name: str, *arguments: str) -> Sequence[str]:
        """The words of ``holdgate NAME -c CONFIG ARGUMENTS``."""
        return (sys.executable, "-m", "gateway.cli", name, "-c", str(self.config_path), *arguments)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    async def wait(self, patience: float = _PATIENCE) -> int:
        """Wait for its end; the exit code, negative for a signal."""
        assert self._process is not None
        async with asyncio.timeout(patience):
            return await self._process.wait()

    async def stop(self, patience: float = _PATIENCE) -> int:
        """SIGTERM, and wait for its end; the exit code."""
        self.signal(signal.SIGTERM)
        return await self.wait(patience)

    async def kill(self) -> None:
        """SIGKILL: no farewell to anybody."""
        self.signal(signal.SIGKILL)
        await self.wait()

    async def client(self, user: str = "carol") -> ApproverClient:
        """``user`` on the management port, with the roles the configuration gives. The caller closes it."""
        roles = _roles_of(self.config_path, user)
        return ApproverClient(self.url, await _issue_token(self.config_path, user, roles))

    def audit(self, **wanted: object) -> list[dict[str, Any]]:
        """The audit's records so far."""
        return audit_records(self.directory, **wanted)

    def log_text(self) -> str:
        """What it printed, over all of its starts."""
        return self._log.read_text(encoding="utf-8", errors="replace") if self._log.exists() else ""


async def _until_ready(http: httpx.AsyncClient) -> None:
    # Nothing announces that another process's port is open; a short look again and again is all there is.
    while True:
        with contextlib.suppress(httpx.TransportError):
            if (await http.get("/readyz")).status_code == 200:
                return
        await asyncio.sleep(0.02)
