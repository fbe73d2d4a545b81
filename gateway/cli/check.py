"""``holdgate check``: what would be decided about a statement, and why."""

import sys
from argparse import Namespace
from typing import TYPE_CHECKING

from gateway.cli.catalog import configuration, document, live
from gateway.cli.errors import DENY, HOLD, USAGE, CliError
from gateway.cli.output import print_fields, print_json
from gateway.text import one_line

if TYPE_CHECKING:
    from gateway.catalog.described import Described
    from gateway.config import Config
    from rules import Judgement

__all__ = ["check"]

_SQL_BYTES = 16 * 1024 * 1024


def check(options: Namespace) -> int:
    """Judge one statement; the exit code is the verdict."""
    from gateway.api.verdicts import judgement_to_dict
    from gateway.checking import check_context, database_meant
    from gateway.identity import split_search_path
    from rules import Decision, Judge

    config = configuration(options)
    sql = _statement(options)
    database = database_meant(config, options.database)
    if database and config.database(database) is None:
        raise CliError(f"the configuration names no database {database}")
    described = _described(options, config, database)
    path = None if options.search_path is None else split_search_path(options.search_path)
    context = check_context(config, described, user=options.user or "", database=database, search_path=path)
    judgement = Judge(config.policy).judge(sql, context)
    if options.json:
        print_json(judgement_to_dict(judgement))
    else:
        _print(judgement)
    return {Decision.HOLD: HOLD, Decision.DENY: DENY}.get(judgement.verdict.decision, 0)


def _statement(options: Namespace) -> bytes:
    if options.sql == "-":
        sql = sys.stdin.buffer.read(_SQL_BYTES + 1)
    else:
        sql = options.sql.encode("utf-8", "surrogateescape")
    if len(sql) > _SQL_BYTES:
        raise CliError(f"the statement is longer than {_SQL_BYTES} bytes", USAGE)
    return bytes(sql)


def _described(options: Namespace, config: "Config", database: str) -> "Described":
    """The catalog to judge by: that of ``--catalog``, else the database's own, else, with a word about it, none."""
    from gateway.catalog.described import Described
    from gateway.catalog.live import has_inspector

    if options.catalog is not None:
        return document(options.catalog)
    if has_inspector(config, database):
        return live(config, database)
    why = f"databases.{database}.inspect is missing" if database else "say --database"
    print(
        f"holdgate: {one_line(why)}, so this is judged without a catalog: names stand for themselves; see --catalog",
        file=sys.stderr,
    )
    return Described()


def _print(judgement: "Judgement") -> None:
    verdict = judgement.verdict
    approvers = None if verdict.approval is None else ", ".join(verdict.approval.groups) or "any approver"
    print_fields(
        {
            "verdict": verdict.decision.word,
            "rule": verdict.rule,
            "why": verdict.reason,
            "unreadable": judgement.facts.unreadable,
            "can decide": approvers,
            "runs under": ", ".join(verdict.obligations) or None,
        }
    )
    for effect in verdict.effects:
        columns = f" ({', '.join(effect.columns)})" if effect.columns else ""
        personal = f", personal: {', '.join(effect.personal)}" if effect.personal else ""
        what = f"{effect.action.value} {effect.relation or ''}{columns} {effect.row_bound}{personal}"
        under = f" under {', '.join(effect.obligations)}" if effect.obligations else ""
        print(one_line(f"- {what}: {effect.decision.word}{under} by {effect.rule}, {effect.reason}"))
