"""Places under caps."""

import sqlalchemy as sa
from alembic import op

revision = "0221"
down_revision: str | None = "0211"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "places",
        sa.Column("entry", sa.Text, primary_key=True),
        sa.Column("cap", sa.Text, primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("hold_id", sa.String(28), nullable=False),
        sa.Column("instance", sa.String(26), nullable=False),
        sa.Column("most", sa.Integer, nullable=False),
        sa.Column("per", sa.Float),
        sa.Column("since", sa.BigInteger, nullable=False),
        sa.Column("taken_at", sa.BigInteger),
    )
    op.create_index("places_by_hold", "places", ["hold_id"])


def downgrade() -> None:
    """Remove it."""
    op.drop_table("places")
