"""Holds for which no session waits."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision: str | None = "0106"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    """Add the column; for every hold there is a session waits."""
    op.add_column("holds", sa.Column("ticket", sa.Boolean, nullable=False, server_default=sa.false()))
    op.create_index("holds_by_digest", "holds", ["digest"])


def downgrade() -> None:
    """Remove the column."""
    op.drop_index("holds_by_digest", "holds")
    op.drop_column("holds", "ticket")
