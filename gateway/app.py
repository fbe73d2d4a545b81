"""The gateway as one process: its parts put together, started, reloaded and stopped."""

import asyncio
import contextlib
import hashlib
import logging
import secrets
import signal
import sys
from collections.abc import Sequence
from operator import attrgetter
from typing import Final

from gateway import clock
from gateway.api.app import installed_version
from gateway.api.passwords import PasswordCheck
from gateway.api.server import ManagementServer
from gateway.api.services import Services
from gateway.audit import AuditLog, AuditRecord, AuditUnavailable, Kind
from gateway.bus import Bus, Event
from gateway.collector import spare_what_stays
from gateway.config import Config, ConfigError, load_config
from gateway.fleet import Fleet
from gateway.front import Front
from gateway.holds import Holds
from gateway.listener import Listener
from gateway.logs import log_to_stderr
from gateway.metrics import Metrics
from gateway.notify.notifier import Notifier
from gateway.passkeys import Passkeys
from gateway.people import People
from gateway.reviews import Reviews
from gateway.seats import Seats
from gateway.sessions import SessionInfo
from gateway.store import Storage, StoreInUse, StoreUnavailable, open_store
from gateway.tasks import cancel_all, spawn
from gateway.tls import TlsError
from gateway.tokens import Tokens
from gateway.totp import Totp
from gateway.workers.crew import Crew
from gateway.workers.member import Shared

__all__ = ["Gateway", "StartError", "serve"]

logger = logging.getLogger(__name__)

GAUGE_SECONDS: Final = 1.0
"""How often what is only counted elsewhere is copied into the metrics."""

LAST_TASKS_SECONDS: Final = 5.0

_AT_START: Final = (
    *(
        "listen.address",
        "listen.port",
        "listen.workers",
        "admin.address",
        "admin.port",
        "admin.tls",
        "store.url",
    ),
    "audit.file",
)
"""Keys of the configuration that are looked at once."""


class _HoldMetrics:
    """Counts holds by what the bus says of them."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._opened: dict[object, float] = {}

    def __call__(self, event: Event) -> None:
        hold = event.data.get("id")
        if event.kind == "hold.opened" and not event.data.get("elsewhere"):
            self._opened[hold] = clock.monotonic()
            for action in _actions(event):
                self._metrics.conflicts_total.labels(action).inc()
            self._metrics.hold_opened()
        elif event.kind == "hold.resolved":
            # Holds that a dead process left behind were never counted as opened by this one.
            opened = self._opened.pop(hold, None)
            if opened is not None:
                self._metrics.hold_resolved(str(event.data["state"]), clock.monotonic() - opened)


def _actions(event: Event) -> list[str]:
    """What is done about each conflict of a hold that was opened."""
    conflicts = event.data["conflicts"]
    assert isinstance(conflicts, list), "a hold says so in its JSON"
    return [str(one["action"]) for one in conflicts]


class _Sessions:
    """The sessions of a gateway, for its management port."""

    def __init__(self, gateway: "Gateway") -> None:
        self._gateway = gateway

    async def list(self) -> Sequence[SessionInfo]:
        crew = self._gateway.crew
        return self._gateway.sessions.list() if crew is None else await crew.list()

    async def kill(self, session_id: str, by: str) -> bool:
        crew = self._gateway.crew
        if crew is not None:
            return await crew.kill(session_id, by)
        return self._gateway.sessions.kill(session_id, by)


class StartError(Exception):
    """The gateway cannot start; the text is one line that says why and what to do."""


class Gateway:
    """One gateway. ``start`` returns when clients are accepted; ``stop`` ends every session first."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.metrics = Metrics(installed_version())
        self.bus = Bus()
        self.audit = AuditLog(config.audit)
        self._mock_secret = mock_secret(config)
        self.front = Front(config, self.metrics, self.audit, self._mock_secret)
        self.sessions = self.front.sessions
        self.catalogs = self.front.catalogs
        self.seats = Seats(lambda: self.config.limits.sessions)
        self._gauges: asyncio.Task[None] | None = None
        self._started = contextlib.AsyncExitStack()
        self.store: Storage
        self.holds: Holds
        self.fleet: Fleet
        self.reviews: Reviews
        self.people: People
        self.notifier: Notifier
        self.tokens: Tokens
        self.listener: Listener | Crew
        self.crew: Crew | None = None
        self.management: ManagementServer

    async def start(self) -> None:
        """Open everything, the listener last. Raises ``StartError``; nothing stays open then."""
        try:
            await self._start()
        except (OSError, TlsError, AuditUnavailable, StoreUnavailable, StoreInUse) as error:
            await self._started.aclose()
            raise StartError(str(error)) from error
        except BaseException:
            await self._started.aclose()
            raise

    async def _start(self) -> None:
        config, started = self.config, self._started
        await self.audit.start()
        started.push_async_callback(self.audit.stop)
        self.store = await open_store(config.store.url)
        started.push_async_callback(self.store.close)
        await self.store.acquire()
        self.bus.listen(_HoldMetrics(self.metrics))
        self.people = People(self.store, lambda: self.config)
        self.holds = Holds(self.store, self.bus, self.audit, config.limits, self.people)
        self.holds.conflicts = config.conflicts
        self.reviews = Reviews(self.store, self.bus, self.audit)
        # Before holds are ended that a dead process left: whoever asked is told.
        self.notifier = Notifier(self.store, self.bus, lambda: self.config, self.people, self.metrics)
        started.push_async_callback(self.notifier.stop)
        await self.notifier.start()
        self.fleet = Fleet(self.store, self.holds, self.bus, self.metrics)
        started.push_async_callback(self.fleet.stop)
        await self.fleet.start()
        started.push_async_callback(self.front.stop)
        await self.front.start()
        self.tokens = Tokens(self.store, lambda: self.config, self.people)
        self.management = ManagementServer(
            Services(
                config=lambda: self.config,
                holds=self.holds,
                reviews=self.reviews,
                grants=self.holds.grants,
                audit=self.audit,
                bus=self.bus,
                metrics=self.render_metrics,
                sessions=_Sessions(self),
                tokens=self.tokens,
                people=self.people,
                totp=Totp(self.store, lambda: self.config),
                passkeys=Passkeys(self.store, lambda: self.config),
                outbox=self.store,
                authenticate=PasswordCheck(lambda: self.config, self._mock_secret),
                check=self.front.check,
                readiness=self.readiness,
            )
        )
        started.push_async_callback(self.management.stop)
        await self.management.start()
        self.listener = await self._listen()
        self._gauges = spawn(self._copy_gauges(), name="gauges")
        self._record("start", f"policy {config.policy.version[:12]}")
        logger.info(
            "listening on %s:%d, management port %s, policy %s",
            config.listen.address,
            self.listener.port,
            self.management.url,
            config.policy.version[:12],
        )

    async def _listen(self) -> Listener | Crew:
        """Accept clients: in this process, or in workers that have all else done here."""
        if self.config.listen.workers == 1:
            self._started.push_async_callback(self.front.stop_listening)
            return await self.front.listen(self.holds, self.seats)
        shared = Shared(self.holds, self.seats, self.audit)
        self.crew = Crew(lambda: self.config, shared, self.catalogs, self.metrics, self._mock_secret)
        await self.crew.start()
        return self.crew

    async def stop(self) -> None:
        """Take no new sessions, let running statements finish for ``shutdown.grace`` seconds, close all."""
        grace = self.config.shutdown.grace
        if self.crew is not None:
            await self.crew.stop(grace)
        else:
            await self.front.stop_listening()
            await self.sessions.drain(grace)
        if self._gauges is not None:
            self._gauges.cancel()
        self._record("stop")
        await self._started.aclose()

    def reload(self, config: Config) -> list[str]:
        """Take another configuration for new sessions and new statements; workers follow in ``reloaded``.

        Returns the keys that changed and count only after a restart.
        """
        old = self.config
        self.front.reload(config)
        self.config = config
        self.holds.limits = config.limits
        if old.policy.caps != config.policy.caps:
            spawn(self.holds.use_caps(config.policy.caps), name="caps")
        self.holds.conflicts = config.conflicts
        self.audit.use(config.audit)
        self.notifier.reload()
        self._record("reload", f"policy {config.policy.version[:12]}")
        return [key for key in _AT_START if attrgetter(key)(old) != attrgetter(key)(config)]

    async def reloaded(self) -> None:
        """Until every process of this gateway has taken the configuration."""
        if self.crew is not None:
            await self.crew.reload()

    async def render_metrics(self) -> tuple[bytes, str]:
        """The exposition text and its content type."""
        self.metrics.audit_queue.set(self.audit.queue_depth)
        return self.metrics.render(() if self.crew is None else await self.crew.families())

    async def readiness(self) -> Sequence[str]:
        """Why the gateway cannot serve now; empty when it can."""
        problems: list[str] = []
        door = self.crew or self.front.listener
        if door is None or not door.listening:
            problems.append("the listener does not accept connections")
        if not self.audit.healthy:
            problems.append(f"the audit cannot be written: {self.audit.failure or 'its queue is full'}")
        try:
            await self.store.ping()
        except StoreUnavailable as error:
            problems.append(f"the store does not answer: {error}")
        return problems

    def _record(self, what: str, reason: str | None = None) -> None:
        self.audit.append(AuditRecord(Kind.GATEWAY, tag=what, reason=reason))

    async def _copy_gauges(self) -> None:
        lost = 0
        while True:
            self.metrics.audit_queue.set(self.audit.queue_depth)
            self.metrics.audit_lost_total.inc(self.audit.lost - lost)
            lost = self.audit.lost
            self.metrics.holds_queued.set(self.holds.queue.waiting)
            self.catalogs.measure()
            await asyncio.sleep(GAUGE_SECONDS)


async def serve(config_path: str) -> int:
    """Run a gateway until SIGTERM or SIGINT; returns the exit code. SIGHUP reloads the configuration."""
    log_to_stderr(logging.INFO, "%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        gateway = Gateway(load_config(config_path))
        await gateway.start()
    except (ConfigError, StartError) as error:
        print(f"holdgate: {error}", file=sys.stderr)
        return 1
    if gateway.crew is None:
        gateway.front.pool.warm()
    spare_what_stays()
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    loop.add_signal_handler(signal.SIGHUP, lambda: spawn(_reload(gateway, config_path), name="reload"))
    await stopping.wait()
    logger.info("stopping")
    # A second signal does not wait for the first.
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.remove_signal_handler(number)
    await gateway.stop()
    await cancel_all(LAST_TASKS_SECONDS)
    return 0


async def _reload(gateway: Gateway, config_path: str) -> None:
    try:
        later = gateway.reload(load_config(config_path))
    except (ConfigError, TlsError) as error:
        logger.error("the configuration was not reloaded, the old one stays in force")
        for line in str(error).splitlines():
            logger.error("%s", line)
        return
    await gateway.reloaded()
    logger.info("configuration reloaded, policy %s", gateway.config.policy.version[:12])
    if later:
        logger.warning("these changes count only after a restart: %s", ", ".join(later))


def mock_secret(config: Config) -> bytes:
    """What the salts shown for users that do not exist are made from.

    Made of the real verifiers, so that it is secret and yet the same after a restart: a salt that changes
    would tell that its user does not exist.
    """
    verifiers = sorted(user.verifier for user in config.users.values() if user.verifier is not None)
    if not verifiers:
        return secrets.token_bytes(32)
    return hashlib.sha256("\0".join(verifiers).encode()).digest()
