"""Until when criteria are being checked that somebody else has to be asked about."""

import sqlalchemy as sa
from alembic import op

revision = "0201"
down_revision: str | None = "0009"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    """Add the column."""
    op.add_column("holds", sa.Column("checking_until", sa.BigInteger))


def downgrade() -> None:
    """Remove it."""
    op.drop_column("holds", "checking_until")
