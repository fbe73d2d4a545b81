"""What ran without an approval, and its review."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision: str | None = "0008"
branch_labels: str | None = None
depends_on: str | None = None

_COLUMNS = ("break_glass", "reviewed_by", "review_note", "reviewed_at")


def upgrade() -> None:
    """Add the columns; nothing ran without an approval so far."""
    op.add_column("holds", sa.Column("break_glass", sa.Boolean, nullable=False, server_default=sa.false()))
    op.add_column("holds", sa.Column("reviewed_by", sa.Text))
    op.add_column("holds", sa.Column("review_note", sa.Text))
    op.add_column("holds", sa.Column("reviewed_at", sa.BigInteger))


def downgrade() -> None:
    """Remove the columns."""
    for column in reversed(_COLUMNS):
        op.drop_column("holds", column)
