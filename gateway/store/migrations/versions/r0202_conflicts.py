"""Whose data holds are about, which of them are about the same people, and when their statements ended."""

import sqlalchemy as sa
from alembic import op

revision = "0202"
down_revision: str | None = "0221"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    """Make the tables and the column."""
    op.create_table(
        "touches",
        sa.Column("hold_id", sa.String(28), sa.ForeignKey("holds.id"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("place", sa.Text, nullable=False),
        sa.Column("act", sa.String(8), nullable=False),
        sa.Column("relation", sa.Text, nullable=False),
        sa.Column("kind", sa.Text),
        sa.Column("rooted", sa.Boolean, nullable=False),
        sa.Column("column", sa.Text),
        sa.Column("value", sa.Text),
    )
    op.create_table(
        "conflicts",
        sa.Column("later_id", sa.String(28), sa.ForeignKey("holds.id"), primary_key=True),
        sa.Column("earlier_id", sa.String(28), sa.ForeignKey("holds.id"), primary_key=True),
        sa.Column("kind", sa.String(20), primary_key=True),
        sa.Column("action", sa.String(8), nullable=False),
        sa.Column("about", sa.Text, nullable=False),
    )
    op.create_index("conflicts_by_earlier", "conflicts", ["earlier_id"])
    op.add_column("holds", sa.Column("finished_at", sa.BigInteger))
    op.create_index("holds_by_finish", "holds", ["finished_at"])
    op.create_index("holds_unfinished", "holds", ["state", "finished"])


def downgrade() -> None:
    """Remove them."""
    op.drop_index("holds_unfinished", "holds")
    op.drop_index("holds_by_finish", "holds")
    op.drop_column("holds", "finished_at")
    op.drop_table("conflicts")
    op.drop_table("touches")
