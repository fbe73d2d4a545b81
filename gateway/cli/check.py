"""``holdgate check``: what would be decided about a statement, and why."""

import sys
from argparse import Namespace
from collections.abc import Iterator
from typing import TYPE_CHECKING

from gateway.cli.catalog import configuration, document, live
from gateway.cli.errors import DENY, HOLD, USAGE, CliError
from gateway.cli.output import print_fields, print_json
from gateway.text import one_line

if TYPE_CHECKING:
    from gateway.catalog.described import Described
    from gateway.config import Config
    from rules import Explanation
    from rules.explanation import ExplainedEffect, ExplainedStatement, SeenBy

__all__ = ["check"]

_SQL_BYTES = 16 * 1024 * 1024


def check(options: Namespace) -> int:
    """Judge one statement; the exit code is the verdict."""
    from gateway.api.verdicts import explanation_to_dict
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
    explanation = Judge(config.policy).explain(sql, context)
    if options.json:
        print_json(explanation_to_dict(explanation))
    else:
        _print(explanation)
    return {Decision.HOLD: HOLD, Decision.DENY: DENY}.get(explanation.judgement.verdict.decision, 0)


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


def _print(explanation: "Explanation") -> None:
    judgement, context = explanation.judgement, explanation.context
    verdict, catalog = judgement.verdict, context.catalog
    approvers = None if verdict.approval is None else ", ".join(verdict.approval.groups) or "any approver"
    server = f"PostgreSQL {catalog.server_version // 10000}.{catalog.server_version % 10000}"
    print_fields(
        {
            "verdict": verdict.decision.word,
            "rule": verdict.rule,
            "why": verdict.reason,
            "unreadable": judgement.facts.unreadable,
            "can decide": approvers,
            "runs under": ", ".join(verdict.obligations) or None,
            "catalog": None if catalog.is_empty else f"{catalog.database}, {server}",
            "search path": ", ".join(context.search_path),
        }
    )
    for statement in explanation.statements:
        print()
        print(one_line(statement.sql, 200))
        print_fields(
            {
                "  read as": _readings(statement),
                "  names": "\n".join(_relations(statement)),
                "  functions": "\n".join(
                    f"{one.name}, {'trusted' if one.trusted else 'not trusted'}: {one.why}"
                    for one in statement.functions
                ),
                "  effects": "\n".join(line for effect in statement.effects for line in _effect(effect)),
            }
        )
    if explanation.message_effects:
        print()
        print_fields(
            {"effects": "\n".join(line for one in explanation.message_effects for line in _effect(one))}
        )


def _readings(statement: "ExplainedStatement") -> str:
    grammar, second = _seen(statement.grammar), statement.second
    if statement.agreement == "both":
        return f"{grammar}, by both readers"
    why = f": {statement.disagreement}" if statement.disagreement else ""
    if second is None:
        return f"{grammar}, by PostgreSQL's grammar alone{why}"
    return f"{grammar}, by PostgreSQL's grammar\n{_seen(second)}, by sqlglot{why}"


def _seen(seen: "SeenBy") -> str:
    changes = f", {', '.join(seen.changes)}" if seen.changes and seen.changes != (seen.kind.lower(),) else ""
    return (
        f"{seen.kind}{changes} of {', '.join(seen.relations)}" if seen.relations else f"{seen.kind}{changes}"
    )


def _relations(statement: "ExplainedStatement") -> Iterator[str]:
    for relation in statement.relations:
        subject = f" by {', '.join(relation.subject)}" if relation.subject else ""
        personal = f"; personal{subject}: {', '.join(relation.personal)}" if relation.personal else ""
        led = f", through {' → '.join(relation.via)}" if relation.via else ""
        yield f"{relation.name}, {relation.kind or 'which nobody knows'}{led}{personal}"


def _effect(explained: "ExplainedEffect") -> Iterator[str]:
    effect = explained.effect
    columns = f" ({', '.join(effect.columns)})" if effect.columns else ""
    under = f" under {', '.join(effect.obligations)}" if effect.obligations else ""
    name = f" {effect.relation}" if effect.relation else ""
    about = "" if explained.bound_why else f", {effect.reason}"
    yield f"{effect.decision.word} by {effect.rule}{under}: {effect.action.value}{name}{columns}{about}"
    if effect.personal and effect.personal != effect.columns:
        yield f"  personal: {', '.join(effect.personal)}"
    if explained.via and explained.via != effect.reason:
        yield f"  through {explained.via}"
    if explained.bound_why:
        bound = effect.row_bound
        most = {"point": "one", "unbounded": "any number"}.get(bound.kind, f"at most {bound.n}")
        yield f"  rows: {most}; {explained.bound_why}"
