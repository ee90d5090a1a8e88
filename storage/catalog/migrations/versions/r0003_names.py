"""Uploads are found by a part of their name without reading all of them (PostgreSQL, where it has pg_trgm)."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.exc import DBAPIError

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql" and _has_trigrams(op.get_bind()):
        op.create_index(
            "ix_uploads_name", "uploads", ["name"], postgresql_using="gin", postgresql_ops={"name": "gin_trgm_ops"}
        )
    else:
        op.create_index("ix_uploads_name", "uploads", ["name"])


def _has_trigrams(connection: sa.Connection) -> bool:
    """pg_trgm is part of PostgreSQL's own extensions; a server may lack them, or keep this user from adding one."""
    available = sa.text("SELECT count(*) FROM pg_available_extensions WHERE name = 'pg_trgm'")
    if not connection.execute(available).scalar_one():
        return False
    try:
        with connection.begin_nested():
            connection.execute(sa.text("CREATE EXTENSION IF NOT EXISTS pg_trgm"))
    except DBAPIError:
        return False
    return True
