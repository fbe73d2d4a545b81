"""What the approver of a hold sees besides the statement."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision: str | None = "0002"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    """Add the columns; of the holds there are nothing more is known."""
    op.add_column("holds", sa.Column("recent", sa.Text, nullable=False, server_default="[]"))
    op.add_column("holds", sa.Column("impact", sa.Text))


def downgrade() -> None:
    """Remove the columns."""
    op.drop_column("holds", "impact")
    op.drop_column("holds", "recent")
