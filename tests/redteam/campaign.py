"""A whole corpus: each entry without the gateway, then with it."""

import contextlib
import json
import os
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psycopg

from tests.redteam.arena import INSPECTOR, Arena, run_arena, system_bindirs
from tests.redteam.attempt import Attempt, attempt
from tests.redteam.corpus import Entry
from tests.redteam.scoring import Outcome, Result, Trial, score, unsuited
from tests.rules.policies import STRICT
from tests.support.gateway import ApproverClient, GatewayProcess, make_config

__all__ = ["Campaign", "Score", "campaign"]

_SYSTEM_VERSIONS = range(15, 18)
_APPROVER = "carol"
_START_SECONDS: Final = 90


@dataclass(slots=True)
class Score:
    """The sum of some results."""

    results: list[Result] = field(default_factory=list)

    def add(self, result: Result) -> None:
        """Count one more."""
        self.results.append(result)

    def _count(self, *outcomes: Outcome) -> int:
        return sum(result.outcome in outcomes for result in self.results)

    @property
    def perfect(self) -> bool:
        """Whether everything that was to be stopped was, and nothing innocent was."""
        return self._count(Outcome.MISSED, Outcome.HELD) == 0

    def __str__(self) -> str:
        stopped, missed = self._count(Outcome.STOPPED), self._count(Outcome.MISSED)
        held, passed = self._count(Outcome.HELD), self._count(Outcome.PASSED)
        return f"stopped {stopped} of {stopped + missed}, innocent held {held} of {held + passed}"


@dataclass(slots=True)
class _Front:
    """A gateway, who decides on its holds, and how much of its audit was read."""

    gateway: GatewayProcess
    approver: ApproverClient
    audited: int = 0

    async def reject(self, hold_id: str) -> None:
        """End a hold, so that the session goes on."""
        response = await self.approver.reject(hold_id, "the entry is over")
        # Whoever made it may have left meanwhile; anything else is a fault of the management port.
        assert response.status_code in (200, 409), response.text

    def new_verdicts(self) -> tuple[str, ...]:
        """The verdicts of the statements recorded since the last look."""
        lines = (self.gateway.directory / "audit.jsonl").read_text(encoding="utf-8").splitlines()
        fresh, self.audited = lines[self.audited :], len(lines)
        records = [json.loads(line) for line in fresh]
        return tuple(record["verdict"] for record in records if record["kind"] == "statement")


class Campaign:
    """Runs entries one after another; servers and gateways start when an entry first needs them."""

    def __init__(self, schema: str, stack: AsyncExitStack, directory: Path) -> None:
        self._schema = schema
        self._stack = stack
        self._directory = directory
        self._arenas: dict[Path | None, Arena] = {}
        self._fronts: dict[int, _Front] = {}
        self._system = _system_servers()

    async def run(self, entry: Entry) -> Result:
        """Run one entry without and with the gateway."""
        self._arena(entry).rename()
        try:
            direct = await self.directly(entry)
        except psycopg.Error as error:
            return Result(entry, Outcome.NOT_RUN, f"its setup fails: {error}".strip())
        if why := unsuited(entry, direct, self._arena(entry).major):
            return Result(entry, Outcome.NOT_RUN, why)
        front = await self._front(entry)
        through = await self._through(entry, front)
        if not front.gateway.running:
            await front.gateway.start()
            return Result(entry, Outcome.HELD if entry.innocent else Outcome.MISSED, "the gateway died of it")
        repeated = None
        if entry.innocent and through.attempt.answers != direct.attempt.answers:
            repeated = await self.directly(entry)
        return score(entry, direct, through, repeated)

    async def directly(self, entry: Entry) -> Trial:
        """Run one entry without the gateway. Raises psycopg.Error when its setup does not work."""
        arena = self._arena(entry)
        arena.fresh(entry.setup)
        made = await attempt(entry, str(arena.postgres.socket_dir), arena.postgres.port, arena.database)
        return Trial(made, arena.before, arena.personal_rows())

    async def _through(self, entry: Entry, front: _Front) -> Trial:
        arena = self._arena(entry)
        arena.fresh(entry.setup)
        front.new_verdicts()
        made = Attempt(broken="the gateway could not be reached")
        with contextlib.suppress(ConnectionError):
            made = await attempt(entry, front.gateway.host, front.gateway.port, arena.database, front.reject)
        return Trial(made, arena.before, arena.personal_rows(), front.new_verdicts())

    def _arena(self, entry: Entry) -> Arena:
        bindir = self._bindir(entry)
        if bindir not in self._arenas:
            self._arenas[bindir] = self._stack.enter_context(run_arena(self._schema, bindir))
        return self._arenas[bindir]

    async def _front(self, entry: Entry) -> _Front:
        arena = self._arena(entry)
        if arena.major not in self._fronts:
            directory = self._directory / f"gateway-{arena.major}"
            directory.mkdir()
            gateway = await self._stack.enter_async_context(
                GatewayProcess(directory, _config(arena), patience=_START_SECONDS)
            )
            approver = await self._stack.enter_async_context(await gateway.client(_APPROVER))
            self._fronts[arena.major] = _Front(gateway, approver)
        return self._fronts[arena.major]

    def _bindir(self, entry: Entry) -> Path | None:
        """The server for an entry: of its version, else any older one, else the embedded (None)."""
        if entry.versions and min(entry.versions) not in _SYSTEM_VERSIONS:
            return None
        for version in entry.versions:
            if version in self._system:
                return self._system[version]
        return next(iter(self._system.values()), None)


def _config(arena: Arena) -> dict[str, Any]:
    inspect = {"user": INSPECTOR, "password": "trusted"}
    return make_config(arena.postgres, STRICT, {"databases": {"*": {"inspect": inspect}}})


def _system_servers() -> Mapping[int, Path]:
    named = os.environ.get("HOLDGATE_TEST_PG")
    found: dict[int, Path] = {}
    for bindir in [Path(named)] if named else system_bindirs():
        answer = subprocess.run(
            [bindir / "postgres", "--version"], capture_output=True, text=True, check=True
        )
        major = int(answer.stdout.split()[2].split(".")[0])
        if major in _SYSTEM_VERSIONS:
            found[major] = bindir
    return found


@asynccontextmanager
async def campaign(schema: Path) -> AsyncIterator[Campaign]:
    """A campaign on the schema in a file; its servers and gateways end with the block."""
    with tempfile.TemporaryDirectory(prefix="holdgate-redteam-") as directory:
        async with AsyncExitStack() as stack:
            yield Campaign(schema.read_text(encoding="utf-8"), stack, Path(directory))


async def run_all(
    entries: Iterable[Entry], schema: Path, say: Callable[[str], None], total: Score | None = None
) -> Score:
    """Run every entry and add to ``total``; ``say`` is told each one that did not come out as it must."""
    total = Score() if total is None else total
    async with campaign(schema) as running:
        for entry in entries:
            result = await running.run(entry)
            total.add(result)
            if result.outcome in (Outcome.MISSED, Outcome.HELD, Outcome.NOT_RUN):
                say(str(result))
    return total
