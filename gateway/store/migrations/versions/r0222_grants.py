"""Grants, what of a hold may be granted, and what was used of which."""

import sqlalchemy as sa
from alembic import op

revision = "0222"
down_revision: str | None = "0202"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    """Make the table and the columns."""
    op.create_table(
        "grants",
        sa.Column("id", sa.String(28), primary_key=True),
        sa.Column("hold_id", sa.String(28), nullable=False),
        sa.Column("user", sa.Text, nullable=False),
        sa.Column("database", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("groups", sa.Text, nullable=False),
        sa.Column("known", sa.Boolean, nullable=False),
        sa.Column("shape", sa.String(64), nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("rules", sa.Text, nullable=False),
        sa.Column("binding", sa.Text, nullable=False),
        sa.Column("approved_by", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("uses", sa.Integer),
        sa.Column("used", sa.Integer, nullable=False, server_default="0"),
        sa.Column("rows", sa.BigInteger),
        sa.Column("rows_used", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("max_rows", sa.BigInteger),
        sa.Column("revoked_at", sa.BigInteger),
        sa.Column("revoked_by", sa.Text),
        sa.Column("revoke_reason", sa.Text),
    )
    op.create_index("grants_by_shape", "grants", ["shape"])
    op.add_column("holds", sa.Column("grantable", sa.Text))
    op.add_column("holds", sa.Column("grant_id", sa.String(28)))
    op.add_column("holds", sa.Column("grant_rows", sa.BigInteger))
    op.add_column("holds", sa.Column("granted_id", sa.String(28)))
    op.add_column("decisions", sa.Column("granted", sa.Text))


def downgrade() -> None:
    """Remove them."""
    op.drop_column("decisions", "granted")
    op.drop_column("holds", "granted_id")
    op.drop_column("holds", "grant_rows")
    op.drop_column("holds", "grant_id")
    op.drop_column("holds", "grantable")
    op.drop_table("grants")
