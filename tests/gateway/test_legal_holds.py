"""Whether a deletion may concern somebody under legal hold."""

from pathlib import Path
from typing import Any

import pytest

from gateway.config import LegalHold, load_config
from gateway.legal_holds import LegalHolds
from gateway.upstream import Connector
from rules import Act, Affected, Kind
from tests.support.gateway import SHOP_POLICY, make_config, write_config
from tests.support.postgres import Postgres

PERSON = Kind("public.customer.customer_id", rooted=True)
LISTED = {"relation": "public.customer", "subjects": ["7"], "reason": "Smith v. Acme"}
ASKED = {
    "relation": "public.customer",
    "sql": {
        "query": "SELECT $1::int > 9 FROM pg_sleep($1::int - 11)",
        "parameters": ["subject"],
        "timeout": "0.3s",
    },
    "reason": "the register",
}


def deletes(*people: str, relation: str = "public.customer", kind: Kind | None = PERSON) -> Affected:
    return Affected(Act.DELETE, relation, kind, frozenset(people) if people else None)


def people(hold: LegalHold) -> Affected:
    return Affected(Act.DELETE, hold.relation, PERSON, frozenset(hold.subjects))


@pytest.mark.parametrize(
    ("holds", "affected", "said"),
    [
        ([], [deletes("7")], None),
        ([LISTED], [], None),
        ([LISTED], [Affected(Act.EXPORT, "public.customer", PERSON, frozenset("7"))], None),
        ([LISTED], [deletes("8")], None),
        ([LISTED], [deletes("7", "8")], "customer_id 7 is under legal hold (Smith v. Acme)"),
        ([LISTED], [deletes("7", relation="public.invoice")], "customer_id 7 is under legal hold (Smith v. Acme)"),
        ([LISTED], [deletes()], "it may delete data of people under legal hold from public.customer, since it does"),
        ([LISTED], [deletes("1", kind=Kind("line", rooted=True))], "it may delete data of people under legal hold"),
        ([LISTED], [deletes("7", relation="x", kind=None)], None),
        ([ASKED], [deletes("8", "9")], None),
        ([ASKED], [deletes("9", "10")], "customer_id 10 is under legal hold (the register)"),
        ([ASKED], [deletes()], "it may delete data of people under legal hold from public.customer"),
        ([ASKED], [deletes("x")], "it cannot be told whether public.customer has people under legal hold: it cannot"),
        ([ASKED], [deletes("60")], "it cannot be told whether public.customer has people under legal hold: it cannot"),
        # Whoever is listed need not be asked about.
        ([{**LISTED, **ASKED}], [deletes("7")], "customer_id 7 is under legal hold (the register)"),
    ],
)  # fmt: skip
async def test_objections(
    postgres: Postgres,
    database: str,
    tmp_path: Path,
    holds: list[dict[str, Any]],
    affected: list[Affected],
    said: str | None,
) -> None:
    changes = {
        "conflicts": {"legal_holds": holds},
        "databases": {"*": {"inspect": {"user": postgres.superuser}}},
    }
    config = load_config(write_config(tmp_path, make_config(postgres, SHOP_POLICY, changes)))
    found = await LegalHolds(lambda: config, Connector()).objection(database, "alice", affected, people)
    if said is None:
        assert found is None
    else:
        assert found is not None
        assert found.startswith(said)
