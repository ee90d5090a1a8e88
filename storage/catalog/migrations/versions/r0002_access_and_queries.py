"""Access (keys, operators, audit, quotas), what is known of uploads (parts, notes, cards), episodes by facts."""

from typing import Literal

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
STATES = "state IN ('receiving', 'verifying', 'accepted', 'salvaged', 'quarantined', 'abandoned')"


def upgrade() -> None:
    _uploads()
    _notes()
    _episodes()
    _access()


def _text(name: str, nullable: bool = False, **options: object) -> sa.Column:  # type: ignore[type-arg]
    return sa.Column(name, TEXT, nullable=nullable, **options)  # type: ignore[arg-type]


def _number(name: str, nullable: bool = False, **options: object) -> sa.Column:  # type: ignore[type-arg]
    return sa.Column(name, NUMBER, nullable=nullable, **options)  # type: ignore[arg-type]


def _uploads() -> None:
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    recreate: Literal["always", "never"] = "always" if is_sqlite else "never"
    with op.batch_alter_table("uploads", recreate=recreate, table_kwargs={"sqlite_autoincrement": True}) as batch:
        for name in ("name", "session", "sender", "card"):
            batch.add_column(_text(name, nullable=True))
        batch.add_column(_text("priority", server_default="routine"))
        batch.drop_constraint(op.f("ck_uploads_state"), type_="check")
        batch.create_check_constraint(op.f("ck_uploads_state"), STATES)
    op.create_index("ix_uploads_robot_created_ns", "uploads", ["robot", "created_ns"])
    op.create_index("ix_uploads_robot_state", "uploads", ["robot", "state"])
    op.create_index("ix_uploads_session", "uploads", ["session"])
    op.create_table(
        "upload_parts",
        _number("upload"),
        _number("number"),
        _text("sha256"),
        sa.ForeignKeyConstraint(["upload"], ["uploads.id"], name=op.f("fk_upload_parts_upload")),
        sa.PrimaryKeyConstraint("upload", "number", name=op.f("pk_upload_parts")),
    )


def _notes() -> None:
    op.create_table(
        "notes",
        _number("id", autoincrement=True),
        _text("digest"),
        _text("robot"),
        _text("session", nullable=True),
        _text("text"),
        _text("author"),
        _number("created_ns"),
        sa.ForeignKeyConstraint(["robot"], ["robots.serial"], name=op.f("fk_notes_robot")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notes")),
        sa.UniqueConstraint("digest", name=op.f("uq_notes_digest")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_notes_robot_session", "notes", ["robot", "session"])
    op.create_table(
        "note_photos",
        _number("note"),
        _text("sha256"),
        _text("name"),
        _text("media_type"),
        _number("size"),
        _number("added_ns"),
        sa.ForeignKeyConstraint(["note"], ["notes.id"], name=op.f("fk_note_photos_note")),
        sa.PrimaryKeyConstraint("note", "sha256", name=op.f("pk_note_photos")),
    )
    op.create_table(
        "upload_notes",
        _number("upload"),
        _number("note"),
        sa.ForeignKeyConstraint(["upload"], ["uploads.id"], name=op.f("fk_upload_notes_upload")),
        sa.ForeignKeyConstraint(["note"], ["notes.id"], name=op.f("fk_upload_notes_note")),
        sa.PrimaryKeyConstraint("upload", "note", name=op.f("pk_upload_notes")),
    )
    op.create_index(op.f("ix_upload_notes_note"), "upload_notes", ["note"])


def _episodes() -> None:
    op.add_column("episodes", _text("outcome", server_default="unknown"))
    op.add_column("episodes", sa.Column("coverage", sa.Float(precision=53), nullable=True))
    op.add_column("episode_tags", _number("start_ns", server_default="0"))
    op.execute(
        "UPDATE episode_tags SET start_ns = (SELECT e.start_ns FROM episodes e WHERE e.sha256 = episode_tags.episode)"
    )
    op.execute(
        "UPDATE episodes SET outcome = (SELECT t.value FROM episode_tags t WHERE t.episode = episodes.sha256"
        " AND t.key = 'outcome') WHERE sha256 IN (SELECT episode FROM episode_tags WHERE key = 'outcome')"
    )
    for name in ("policy", "robot_start_ns", "spec_name", "start_ns"):  # the new ones begin with the same columns
        op.drop_index(f"ix_episodes_{name}", "episodes")
    op.create_index("ix_episodes_recorded", "episodes", ["start_ns", "sha256"])
    for name in ("robot", "policy", "outcome", "spec_name"):
        op.create_index(f"ix_episodes_{name}_recorded", "episodes", [name, "start_ns", "sha256"])
    op.drop_index("ix_episode_tags_key_value", "episode_tags")
    op.create_index("ix_episodes_coverage", "episodes", ["coverage"])
    op.create_index("ix_episode_tags_recorded", "episode_tags", ["key", "value", "start_ns", "episode"])
    op.create_table(
        "episode_counts",
        _text("robot"),
        _text("spec_name"),
        _text("outcome"),
        _number("episodes"),
        sa.Column("duration_s", sa.Float(precision=53), nullable=False),
        sa.ForeignKeyConstraint(["robot"], ["robots.serial"], name=op.f("fk_episode_counts_robot")),
        sa.PrimaryKeyConstraint("robot", "spec_name", "outcome", name=op.f("pk_episode_counts")),
    )
    op.execute(
        "INSERT INTO episode_counts (robot, spec_name, outcome, episodes, duration_s)"
        " SELECT robot, spec_name, outcome, count(*), sum(duration_s) FROM episodes GROUP BY robot, spec_name, outcome"
    )


def _access() -> None:
    op.create_table(
        "robot_keys",
        _number("id", autoincrement=True),
        _text("robot"),
        _text("public_key"),
        _text("state"),
        _text("note"),
        _number("asked_ns"),
        _number("decided_ns", nullable=True),
        _text("decided_by", nullable=True),
        sa.CheckConstraint("state IN ('waiting', 'admitted', 'revoked')", name=op.f("ck_robot_keys_state")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_robot_keys")),
        sa.UniqueConstraint("robot", "public_key", name=op.f("uq_robot_keys_robot_public_key")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_robot_keys_robot"), "robot_keys", ["robot"])
    op.create_index(op.f("ix_robot_keys_state"), "robot_keys", ["state"])
    op.create_table(
        "spent_nonces",
        _text("nonce"),
        _number("expires_ns"),
        sa.PrimaryKeyConstraint("nonce", name=op.f("pk_spent_nonces")),
    )
    op.create_index(op.f("ix_spent_nonces_expires_ns"), "spent_nonces", ["expires_ns"])
    op.create_table(
        "quotas",
        _text("robot"),
        _number("bytes_per_day"),
        _number("files_per_day"),
        _number("open_uploads"),
        sa.PrimaryKeyConstraint("robot", name=op.f("pk_quotas")),
    )
    op.create_table(
        "operators",
        _text("name"),
        _text("role"),
        _text("state"),
        _text("secret"),
        _number("valid_from_ns"),
        _number("created_ns"),
        _number("updated_ns"),
        sa.CheckConstraint("role IN ('viewer', 'operator', 'admin')", name=op.f("ck_operators_role")),
        sa.CheckConstraint("state IN ('active', 'disabled')", name=op.f("ck_operators_state")),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_operators")),
    )
    _audit()


def _audit() -> None:
    op.create_table(
        "audit",
        _number("id", autoincrement=True),
        _number("at_ns"),
        _text("actor"),
        _text("role"),
        _text("action"),
        _text("subject"),
        _text("outcome"),
        _text("detail"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_audit_at_ns"), "audit", ["at_ns"])
    for name in ("actor", "subject", "action"):
        op.create_index(f"ix_audit_{name}", "audit", [name, "id"])
