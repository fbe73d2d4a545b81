"""Who has to approve a hold, stage by stage."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision: str | None = "0003"
branch_labels: str | None = None
depends_on: str | None = None

_holds = sa.table(
    "holds",
    sa.column("id", sa.String),
    sa.column("approval_groups", sa.Text),
    sa.column("stages", sa.Text),
    sa.column("votes", sa.Integer),
)
_decisions = sa.table("decisions", sa.column("hold_id", sa.String))


def upgrade() -> None:
    """Add the columns; every hold there is asked one person of its groups."""
    op.add_column("holds", sa.Column("stages", sa.Text, nullable=False, server_default="[]"))
    op.add_column("holds", sa.Column("votes", sa.Integer, nullable=False, server_default="0"))
    op.add_column("decisions", sa.Column("stage", sa.Integer, nullable=False, server_default="0"))
    op.add_column("decisions", sa.Column("deputy_for", sa.Text))
    connection = op.get_bind()
    asked = sa.select(_holds.c.approval_groups).distinct()
    for (groups,) in connection.execute(asked).all():
        stages = json.dumps([{"from": json.loads(groups), "quorum": 1}])
        connection.execute(sa.update(_holds).where(_holds.c.approval_groups == groups).values(stages=stages))
    made = (
        sa.select(sa.func.count())
        .select_from(_decisions)
        .where(_decisions.c.hold_id == _holds.c.id)
        .scalar_subquery()
    )
    connection.execute(sa.update(_holds).values(votes=made))
    op.drop_column("holds", "approval_groups")


def downgrade() -> None:
    """Go back to the groups of the first stage."""
    op.add_column("holds", sa.Column("approval_groups", sa.Text, nullable=False, server_default="[]"))
    connection = op.get_bind()
    for (stages,) in connection.execute(sa.select(_holds.c.stages).distinct()).all():
        groups = json.dumps(json.loads(stages)[0]["from"])
        connection.execute(sa.update(_holds).where(_holds.c.stages == stages).values(approval_groups=groups))
    for column in ("stages", "votes"):
        op.drop_column("holds", column)
    for column in ("stage", "deputy_for"):
        op.drop_column("decisions", column)
