"""What came of the statements of one session: their records, their holds, and the names they left behind."""

import logging
from dataclasses import replace
from typing import Final

from gateway.arbiter import Release
from gateway.catalog import SessionCatalog
from gateway.hold_port import HoldPort
from gateway.recorder import Recorder, Run
from gateway.store import StoreUnavailable
from gateway.tasks import spawn
from protocol.events import StatementFinished
from protocol.request import Execution, Step
from protocol.statements import SessionNames
from rules import CursorAct

__all__ = ["Outcomes"]

logger = logging.getLogger(__name__)


_RECOVERS: Final = frozenset({CursorAct.COMMIT, CursorAct.ROLLBACK, CursorAct.ROLLBACK_TO})


class Outcomes:
    """Follows the statements of one session to their end."""

    def __init__(
        self, holds: HoldPort, recorder: Recorder, names: SessionNames, catalog: SessionCatalog
    ) -> None:
        self._holds = holds
        self._recorder = recorder
        self._names = names
        self._catalog = catalog
        self._failed = False
        """Something failed in the transaction that is open: unless it is taken back in part, all of it will be."""

    def finished(self, event: StatementFinished) -> None:
        """A statement ended."""
        run = self._recorder.finished(event)
        if run is None:
            return
        if not event.report and not event.skipped:
            self._follow(run, event.tag)
            self._follow_cursors(run, event)
        elif event.report:
            self._failed = True
        if event.execution.step is Step.EXECUTE:
            self.ended(event.execution)

    def ended(self, execution: Execution) -> None:
        """An execution will report nothing more."""
        release = self._recorder.ended(execution)
        if release is not None:
            spawn(self._save(release), name=f"outcome {release.hold_id}")

    async def lost(self, why: str) -> None:
        """The session ended before the server answered what still runs."""
        for release in self._recorder.lost(why):
            await self._save(release)

    async def _save(self, release: Release) -> None:
        try:
            await self._holds.record_outcome(
                release.hold_id,
                tag="; ".join(release.tags) or None,
                rows=release.rows,
                sqlstate=release.sqlstate,
                duration_ms=round(release.seconds * 1000, 3),
            )
        except StoreUnavailable as error:
            logger.error(
                "hold %s: its outcome is in the audit but not in the store: %s", release.hold_id, error
            )

    def _follow(self, run: Run, tag: str) -> None:
        """What a finished statement changed of the names this session knows."""
        facts, names = run.ruled.judgement.facts, self._names
        self._catalog.finished(facts, tag)
        if tag == "PREPARE" and run.prepares_done < len(facts.prepares):
            name, sql = facts.prepares[run.prepares_done]
            types = facts.prepared_types[run.prepares_done]
            run.prepares_done += 1
            names.prepared_by_sql(name.encode(), sql.encode(), types)
        elif tag == "DEALLOCATE" and run.deallocates_done < len(facts.deallocates):
            dropped = facts.deallocates[run.deallocates_done]
            run.deallocates_done += 1
            if dropped is not None:
                names.statements.discard(dropped.encode())
        elif tag in ("DEALLOCATE ALL", "DISCARD ALL"):
            names.statements.clear_named()

    # Cursors -------------------------------------------------------------------------------------------

    def _follow_cursors(self, run: Run, event: StatementFinished) -> None:
        state = self._recorder.state
        for step in run.cursor_steps(event.index):
            if step.act is CursorAct.COMMIT and event.tag == "ROLLBACK":
                step = replace(step, act=CursorAct.ROLLBACK)
            state.cursors = state.cursors.after((step,))
            if step.act in _RECOVERS:
                self._failed = False

    def commit_failed(self) -> None:
        """The commit behind a series failed."""
        self._failed = True

    def idle(self) -> None:
        """No transaction is open: one that nobody ended by a statement is committed, or else taken back."""
        state = self._recorder.state
        state.cursors = state.cursors.ended(committed=not self._failed)
        self._failed = False
