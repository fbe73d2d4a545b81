"""The policy the corpus assumes: a small shop's personal data, deletions and bulk reads held."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from rules import NO_CURSORS, Context, CursorAct, CursorStep, Judge, OpenCursors, compile_policy

NOON = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)

_CUSTOMER = ["name", "email", "phone", "ssn", "address", "meta"]

STRICT: Mapping[str, Any] = {
    "personal_data": [
        *(
            {"relation": f"crm.{table}", "columns": _CUSTOMER, "subject": "id"}
            for table in ("customers", "customers_archive", "customer_mv")
        ),
        {"relation": "crm.orders", "columns": ["ship_address"], "subject": "customer_id"},
        {"relation": "crm.events", "columns": ["user_ip"], "subject": "customer_id"},
        {"relation": "crm.Kunden-Daten", "columns": ["E-Mail"], "subject": "id"},
    ],
    "groups": {"dpo": ["carol"]},
    "rules": [
        {
            "name": "erasure",
            "when": {"action": "delete", "data": "personal"},
            "then": "hold",
            "approval": {"from": ["dpo"], "expires": "5m"},
        },
        {
            "name": "bulk",
            "when": {"action": "read", "data": "personal", "rows": "> 20"},
            "then": "hold",
            "approval": {"from": ["dpo"]},
        },
    ],
    "defaults": {
        "unreadable": "hold",
        "unknown_relation": "hold",
        "opaque_function": "hold",
        "otherwise": "allow",
    },
}


def strict_judge() -> Judge:
    """A judge under the corpus's policy."""
    return Judge(compile_policy(STRICT))


def context(**changes: Any) -> Context:
    """Who runs the corpus."""
    values: dict[str, Any] = {
        "user": "app",
        "now": NOON,
        "database": "shop",
        "search_path": ("crm", "public"),
        **changes,
    }
    return Context(**values)


def cursors(*names: str) -> OpenCursors:
    """Cursors of those names, declared and read."""
    return NO_CURSORS.after(CursorStep(CursorAct.DECLARE, name) for name in names)
