"""How whoever asked confirms it, and that they did."""

import sqlalchemy as sa
from alembic import op

revision = "0212"
down_revision: str | None = "0222"
branch_labels: str | None = None
depends_on: str | None = None

_COLUMNS = ("confirm", "confirmed_by", "confirmed_how", "confirmed_at", "confirmed_proof")


def upgrade() -> None:
    """Add the columns; nobody was asked to confirm anything so far."""
    op.add_column("holds", sa.Column("confirm", sa.Text))
    op.add_column("holds", sa.Column("confirmed_by", sa.Text))
    op.add_column("holds", sa.Column("confirmed_how", sa.Text))
    op.add_column("holds", sa.Column("confirmed_at", sa.BigInteger))
    op.add_column("holds", sa.Column("confirmed_proof", sa.Text))


def downgrade() -> None:
    """Remove them."""
    for column in reversed(_COLUMNS):
        op.drop_column("holds", column)
