"""Holds, decisions, tokens and one-time codes."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision: str | None = None
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "holds",
        sa.Column("id", sa.String(28), primary_key=True),
        sa.Column("state", sa.String(12), nullable=False),
        sa.Column("user", sa.Text, nullable=False),
        sa.Column("groups", sa.Text, nullable=False),
        sa.Column("database", sa.Text, nullable=False),
        sa.Column("client_addr", sa.Text),
        sa.Column("application_name", sa.Text, nullable=False),
        sa.Column("session_id", sa.Text, nullable=False),
        sa.Column("statement_id", sa.Text, nullable=False),
        sa.Column("sql", sa.Text, nullable=False),
        sa.Column("parameters", sa.Text, nullable=False),
        sa.Column("actions", sa.Text, nullable=False),
        sa.Column("relations", sa.Text, nullable=False),
        sa.Column("columns", sa.Text, nullable=False),
        sa.Column("row_bound", sa.Text, nullable=False),
        sa.Column("rule", sa.Text, nullable=False),
        sa.Column("criteria", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("approval_groups", sa.Text, nullable=False),
        sa.Column("transaction_open_since", sa.BigInteger),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("instance", sa.Text, nullable=False),
        sa.Column("opened_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("resolved_at", sa.BigInteger),
        sa.Column("released_at", sa.BigInteger),
        sa.Column("end_reason", sa.Text),
        sa.Column("tag", sa.Text),
        sa.Column("rows", sa.BigInteger),
        sa.Column("sqlstate", sa.String(5)),
        sa.Column("duration_ms", sa.Float),
        sa.Column("finished", sa.Integer, nullable=False, server_default="0"),
    )
    op.create_index("holds_by_state", "holds", ["state", "id"])
    op.create_table(
        "decisions",
        sa.Column("hold_id", sa.String(28), sa.ForeignKey("holds.id"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("who", sa.Text, nullable=False),
        sa.Column("verdict", sa.String(12), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("how", sa.Text, nullable=False),
    )
    op.create_table(
        "tokens",
        sa.Column("id", sa.String(26), primary_key=True),
        sa.Column("digest", sa.String(64), nullable=False, unique=True),
        sa.Column("user", sa.Text, nullable=False),
        sa.Column("roles", sa.Text, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger),
        sa.Column("revoked_at", sa.BigInteger),
        sa.Column("person", sa.Boolean, nullable=False),
    )
    op.create_table(
        "codes",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("user", sa.Text, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("used_at", sa.BigInteger),
    )


def downgrade() -> None:
    """Remove the tables, the youngest first."""
    for table in ("codes", "tokens", "decisions", "holds"):
        op.drop_table(table)
