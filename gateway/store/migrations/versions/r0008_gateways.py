"""The gateways that share the store."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision: str | None = "0104"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "gateways",
        sa.Column("instance", sa.String(26), primary_key=True),
        sa.Column("seen_at", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    """Remove the table."""
    op.drop_table("gateways")
