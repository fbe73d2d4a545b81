"""What a hold's statement owes when it runs."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision: str | None = "0001"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    """Add the column; the holds there are owe nothing."""
    op.add_column("holds", sa.Column("obligations", sa.Text, nullable=False, server_default="[]"))


def downgrade() -> None:
    """Remove the column."""
    op.drop_column("holds", "obligations")
