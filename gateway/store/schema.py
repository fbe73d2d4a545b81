"""The tables, in the dialect-neutral form that both stores share.

A moment is a whole number of microseconds since 1970 in UTC, so that both databases compare it alike.
"""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    false,
)

__all__ = [
    "Json",
    "Moment",
    "challenges",
    "codes",
    "conflicts",
    "decisions",
    "gateways",
    "grants",
    "holds",
    "metadata",
    "outbox",
    "passkeys",
    "people",
    "places",
    "tokens",
    "totp",
    "touches",
]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Moment(TypeDecorator[datetime]):
    """An aware datetime as microseconds since 1970."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        """To the database."""
        return None if value is None else (value - _EPOCH) // _MICROSECOND

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """From the database."""
        return None if value is None else _EPOCH + timedelta(microseconds=int(value))


class Json(TypeDecorator[Any]):
    """A JSON value as ASCII text: whatever is in it, either database can keep it."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str:
        """To the database."""
        return json.dumps(value, separators=(",", ":"))

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        """From the database."""
        return None if value is None else json.loads(value)


metadata = MetaData()

holds = Table(
    "holds",
    metadata,
    Column("id", String(28), primary_key=True),
    Column("state", String(12), nullable=False),
    Column("user", Text, nullable=False),
    Column("groups", Json, nullable=False),
    Column("database", Text, nullable=False),
    Column("client_addr", Text),
    Column("application_name", Text, nullable=False),
    Column("session_id", Text, nullable=False),
    Column("statement_id", Text, nullable=False),
    Column("sql", Json, nullable=False),
    Column("parameters", Json, nullable=False),
    Column("actions", Json, nullable=False),
    Column("relations", Json, nullable=False),
    Column("columns", Json, nullable=False),
    Column("row_bound", Text, nullable=False),
    Column("rule", Text, nullable=False),
    Column("criteria", Json, nullable=False),
    Column("reason", Json, nullable=False),
    Column("stages", Json, nullable=False, server_default="[]"),
    Column("votes", Integer, nullable=False, server_default="0"),
    Column("obligations", Json, nullable=False, server_default="[]"),
    Column("recent", Json, nullable=False, server_default="[]"),
    Column("impact", Json),
    Column("break_glass", Boolean, nullable=False, server_default=false()),
    Column("reviewed_by", Text),
    Column("review_note", Json),
    Column("reviewed_at", Moment),
    Column("intent", Json, nullable=False, server_default="{}"),
    Column("margin", Json, nullable=False, server_default="{}"),
    Column("uncounted", Json),
    Column("ticket", Boolean, nullable=False, server_default=false()),
    Column("checking_until", Moment),
    Column("grantable", Json),
    Column("grant_id", String(28)),
    Column("grant_rows", BigInteger),
    Column("granted_id", String(28)),
    Column("confirm", Text),
    Column("confirmed_by", Text),
    Column("confirmed_how", Text),
    Column("confirmed_at", Moment),
    Column("confirmed_proof", Json),
    Column("transaction_open_since", Moment),
    Column("digest", Text, nullable=False),
    Column("instance", Text, nullable=False),
    Column("opened_at", Moment, nullable=False),
    Column("expires_at", Moment, nullable=False),
    Column("resolved_at", Moment),
    Column("released_at", Moment),
    Column("end_reason", Json),
    Column("tag", Text),
    Column("rows", BigInteger),
    Column("sqlstate", String(5)),
    Column("duration_ms", Float),
    Column("finished", Integer, nullable=False, server_default="0"),
    Column("finished_at", Moment),
)
Index("holds_by_state", holds.c.state, holds.c.id)
Index("holds_by_digest", holds.c.digest)
Index("holds_by_finish", holds.c.finished_at)

Index("holds_unfinished", holds.c.state, holds.c.finished)

decisions = Table(
    "decisions",
    metadata,
    Column("hold_id", String(28), ForeignKey("holds.id"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("who", Text, nullable=False),
    Column("verdict", String(12), nullable=False),
    Column("reason", Json, nullable=False),
    Column("at", Moment, nullable=False),
    Column("how", Text, nullable=False),
    Column("stage", Integer, nullable=False, server_default="0"),
    Column("deputy_for", Text),
    Column("max_rows", BigInteger),
    Column("step_up", Text),
    Column("proof", Json),
    Column("granted", Json),
)

touches = Table(
    "touches",
    metadata,
    Column("hold_id", String(28), ForeignKey("holds.id"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("place", Text, nullable=False),
    Column("act", String(8), nullable=False),
    Column("relation", Text, nullable=False),
    Column("kind", Text),
    Column("rooted", Boolean, nullable=False),
    Column("column", Text),
    Column("value", Text),
)
"""Whose data a hold exports or deletes, a row for each person; no value: it may be anybody."""

conflicts = Table(
    "conflicts",
    metadata,
    Column("later_id", String(28), ForeignKey("holds.id"), primary_key=True),
    Column("earlier_id", String(28), ForeignKey("holds.id"), primary_key=True),
    Column("kind", String(20), primary_key=True),
    Column("action", String(8), nullable=False),
    Column("about", Json, nullable=False),
)
Index("conflicts_by_earlier", conflicts.c.earlier_id)

grants = Table(
    "grants",
    metadata,
    Column("id", String(28), primary_key=True),
    Column("hold_id", String(28), nullable=False),
    Column("user", Text, nullable=False),
    Column("database", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("groups", Json, nullable=False),
    Column("known", Boolean, nullable=False),
    Column("shape", String(64), nullable=False),
    Column("text", Json, nullable=False),
    Column("rules", Json, nullable=False),
    Column("binding", Text, nullable=False),
    Column("approved_by", Json, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("expires_at", Moment, nullable=False),
    Column("uses", Integer),
    Column("used", Integer, nullable=False, server_default="0"),
    Column("rows", BigInteger),
    Column("rows_used", BigInteger, nullable=False, server_default="0"),
    Column("max_rows", BigInteger),
    Column("revoked_at", Moment),
    Column("revoked_by", Text),
    Column("revoke_reason", Json),
)
Index("grants_by_shape", grants.c.shape)

gateways = Table(
    "gateways",
    metadata,
    Column("instance", String(26), primary_key=True),
    Column("seen_at", BigInteger, nullable=False),
)
"""Who shares the store. ``seen_at`` is in microseconds by the clock of the store's server, the one clock they share."""

places = Table(
    "places",
    metadata,
    Column("entry", Text, primary_key=True),
    Column("cap", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("hold_id", String(28), nullable=False),
    Column("instance", String(26), nullable=False),
    Column("most", Integer, nullable=False),
    Column("per", Float),
    Column("since", Moment, nullable=False),
    Column("taken_at", Moment),
)
"""Places under caps, of one ``entry`` (a statement that runs, or waits to) each; ``taken_at`` is None in the queue."""
Index("places_by_hold", places.c.hold_id)

tokens = Table(
    "tokens",
    metadata,
    Column("id", String(26), primary_key=True),
    Column("digest", String(64), nullable=False, unique=True),
    Column("user", Text, nullable=False),
    Column("roles", Json, nullable=False),
    Column("note", Json, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("expires_at", Moment),
    Column("revoked_at", Moment),
    Column("person", Boolean, nullable=False),
)

codes = Table(
    "codes",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("user", Text, nullable=False),
    Column("expires_at", Moment, nullable=False),
    Column("used_at", Moment),
)

people = Table(
    "people",
    metadata,
    Column("name", Text, primary_key=True),
    Column("issuer", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("claim", Text, nullable=False),
    Column("groups", Json, nullable=False),
    Column("first_at", Moment, nullable=False),
    Column("seen_at", Moment, nullable=False),
    UniqueConstraint("issuer", "subject"),
)

totp = Table(
    "totp",
    metadata,
    Column("user", Text, primary_key=True),
    Column("secret", Text, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("confirmed_at", Moment),
    Column("last_step", BigInteger, nullable=False, server_default="0"),
    Column("failures", Integer, nullable=False, server_default="0"),
    Column("blocked_until", Moment),
)

passkeys = Table(
    "passkeys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("user", Text, nullable=False),
    Column("public_key", Text, nullable=False),
    Column("sign_count", BigInteger, nullable=False),
    Column("label", Json, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("used_at", Moment),
)
Index("passkeys_by_user", passkeys.c.user)

challenges = Table(
    "challenges",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("user", Text, nullable=False),
    Column("expires_at", Moment, nullable=False),
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", String(26), primary_key=True),
    Column("hold_id", String(28), ForeignKey("holds.id"), nullable=False),
    Column("channel", Text, nullable=False),
    Column("event", Text, nullable=False),
    Column("stage", Integer, nullable=False),
    Column("state", String(12), nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("created_at", BigInteger, nullable=False),
    Column("due_at", BigInteger, nullable=False),
    Column("claimed_until", BigInteger, nullable=False, server_default="0"),
    Column("finished_at", BigInteger),
    Column("error", Text),
    Column("receipt", Json),
)
"""Messages to be sent. Moments are microseconds by the clock of the store's server, as in ``gateways``."""
Index("outbox_by_channel", outbox.c.channel, outbox.c.state, outbox.c.due_at)
Index("outbox_by_hold", outbox.c.hold_id)
