"""How many rows an approval is for."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision: str | None = "0006"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    """Add the columns; what was approved was approved for any number."""
    op.add_column("holds", sa.Column("margin", sa.Text, nullable=False, server_default="{}"))
    op.add_column("holds", sa.Column("uncounted", sa.Text))
    op.add_column("decisions", sa.Column("max_rows", sa.BigInteger))


def downgrade() -> None:
    """Remove the columns."""
    op.drop_column("decisions", "max_rows")
    op.drop_column("holds", "uncounted")
    op.drop_column("holds", "margin")
