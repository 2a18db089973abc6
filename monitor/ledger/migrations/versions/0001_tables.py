"""All tables"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    _sites_and_grounds()
    _verdicts()
    _alerts_and_runs()


def _sites_and_grounds() -> None:
    op.create_table(
        "sites",
        sa.Column("id", sa.Integer(), primary_key=True),
        _text("site", 400, index=True),
        _text("version", 64),
        sa.Column("current", sa.Boolean(), nullable=False),
        _text("added", 32),
        _payload(),
        sa.UniqueConstraint("site", "version"),
    )
    op.create_table(
        "episodes",
        sa.Column("id", sa.Integer(), primary_key=True),
        _text("site", 400, index=True),
        sa.Column("number", sa.Integer(), nullable=False),
        _text("start", 10),
        _text("opened", 32),
        _text("closed", 32, nullable=True),
        sa.Column("why", sa.Text()),
        sa.Column("budget", sa.Float(), nullable=False),
        sa.UniqueConstraint("site", "number"),
    )
    op.create_table(
        "controls",
        _text("ground", 64, primary_key=True),
        _text("site", 400, index=True),
        _text("hash", 64),
        _text("frozen", 32),
        _payload(),
    )
    op.create_table(
        "stored", _text("ground", 64, primary_key=True), _text("site", 400, index=True), _text("snapshot", 64)
    )
    op.create_table(
        "background", _text("ground", 64, primary_key=True), _text("kind", 20, primary_key=True), _payload()
    )


def _verdicts() -> None:
    op.create_table(
        "calibrations",
        sa.Column("id", sa.Integer(), primary_key=True),
        _text("tile", 20),
        _text("biome", 40),
        sa.Column("season", sa.Integer(), nullable=False),
        _text("as_of", 10),
        _text("grounds", 64),
        _text("hash", 64),
        sa.Column("placebos", sa.Integer(), nullable=False),
        _payload(),
        sa.UniqueConstraint("tile", "biome", "season", "grounds"),
    )
    op.create_table(
        "assessments",
        sa.Column("id", sa.Integer(), primary_key=True),
        _text("site", 400),
        _text("as_of", 10),
        _text("digest", 64),
        _text("version", 64),
        _text("snapshot", 64),
        _text("run", 64),
        _payload(),
        sa.UniqueConstraint("site", "as_of", "digest"),
    )
    op.create_index("ix_assessments_latest", "assessments", ["site", "as_of", "id"])


def _alerts_and_runs() -> None:
    op.create_table(
        "alerts",
        _text("id", 500, primary_key=True),
        _text("site", 400, index=True),
        _text("state", 20, index=True),
        _text("opened", 10),
        _payload(),
    )
    op.create_table(
        "outbox",
        _text("id", 500, primary_key=True),
        _text("alert", 500, index=True),
        _text("site", 400),
        _text("day", 10),
        _payload(),
        _text("sent", 40, nullable=True, index=True),
        _text("told", 10, nullable=True),
        sa.Column("error", sa.Text()),
    )
    op.create_table(
        "runs",
        _text("id", 64, primary_key=True),
        _text("kind", 20),
        _text("as_of", 10),
        _text("started", 40),
        _text("finished", 40, nullable=True),
        sa.Column("manifest", sa.JSON()),
    )


def _text(name: str, length: int, *, nullable: bool = False, **options: Any) -> sa.Column[str]:
    return sa.Column(name, sa.String(length), nullable=nullable, **options)


def _payload() -> sa.Column[Any]:
    return sa.Column("payload", sa.JSON(), nullable=False)
