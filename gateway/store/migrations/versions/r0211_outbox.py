"""Messages that wait to be sent."""

import sqlalchemy as sa
from alembic import op

revision = "0211"
down_revision: str | None = "0201"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    """Make the table; of what has happened so far nobody is told."""
    op.create_table(
        "outbox",
        sa.Column("id", sa.String(26), primary_key=True),
        sa.Column("hold_id", sa.String(28), sa.ForeignKey("holds.id"), nullable=False),
        sa.Column("channel", sa.Text, nullable=False),
        sa.Column("event", sa.Text, nullable=False),
        sa.Column("stage", sa.Integer, nullable=False),
        sa.Column("state", sa.String(12), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("due_at", sa.BigInteger, nullable=False),
        sa.Column("claimed_until", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("finished_at", sa.BigInteger),
        sa.Column("error", sa.Text),
        sa.Column("receipt", sa.Text),
    )
    op.create_index("outbox_by_channel", "outbox", ["channel", "state", "due_at"])
    op.create_index("outbox_by_hold", "outbox", ["hold_id"])


def downgrade() -> None:
    """Remove the table."""
    op.drop_table("outbox")
