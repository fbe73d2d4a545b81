"""What the requester says of a held statement."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision: str | None = "0102"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    """Add the column; of the holds there are nothing was said."""
    op.add_column("holds", sa.Column("intent", sa.Text, nullable=False, server_default="{}"))


def downgrade() -> None:
    """Remove the column."""
    op.drop_column("holds", "intent")
