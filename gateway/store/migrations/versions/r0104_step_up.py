"""Authenticators, and how an approver proved anew who they are."""

import sqlalchemy as sa
from alembic import op

revision = "0104"
down_revision: str | None = "0007"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    """Make the table and the column."""
    op.create_table(
        "totp",
        sa.Column("user", sa.Text, primary_key=True),
        sa.Column("secret", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("confirmed_at", sa.BigInteger),
        sa.Column("last_step", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("failures", sa.Integer, nullable=False, server_default="0"),
        sa.Column("blocked_until", sa.BigInteger),
    )
    op.add_column("decisions", sa.Column("step_up", sa.Text))


def downgrade() -> None:
    """Remove them."""
    op.drop_column("decisions", "step_up")
    op.drop_table("totp")
