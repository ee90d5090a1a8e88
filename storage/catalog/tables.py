"""The tables of the catalog, as the code of this version expects them; `migrations` makes them.

Times are UTC in integer nanoseconds. Documents are canonical JSON in text columns. Text compares by code point on
every database, so that an order is the same order everywhere. This module opens no database.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.types import TypeEngine

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)
TEXT: TypeEngine[str] = Text().with_variant(Text(collation="C"), "postgresql")
NUMBER: TypeEngine[int] = BigInteger().with_variant(Integer(), "sqlite")


def _text(name: str, *args: Any, nullable: bool = False, **options: Any) -> Column[Any]:
    return Column(name, TEXT, *args, nullable=nullable, **options)


def _number(name: str, *args: Any, nullable: bool = False, **options: Any) -> Column[Any]:
    return Column(name, NUMBER, *args, nullable=nullable, **options)


def _robot(nullable: bool = False, **options: Any) -> Column[Any]:
    return _text("robot", ForeignKey("robots.serial"), nullable=nullable, **options)


def _campaign(nullable: bool = False, **options: Any) -> Column[Any]:
    return _text("campaign", ForeignKey("campaigns.id"), nullable=nullable, **options)


specs = Table("specs", metadata, _text("digest", primary_key=True), _text("name", index=True), _text("document"))

robots = Table(
    "robots", metadata,
    _text("serial", primary_key=True), _text("kind", index=True),
    _text("spec_digest", ForeignKey("specs.digest"), index=True), _number("spec_number"),
    _number("created_ns"), _number("updated_ns"),
)  # fmt: skip

robot_specs = Table(
    "robot_specs", metadata,
    _robot(primary_key=True), _number("number", primary_key=True),
    _text("spec_digest", ForeignKey("specs.digest"), index=True), _number("added_ns"),
)  # fmt: skip

campaigns = Table(
    "campaigns", metadata,
    _text("id", primary_key=True), _number("number", unique=True),
    _text("family", index=True), _text("arguments"), _number("asked_iterations"), _number("iterations"),
    _number("more", nullable=True), _text("state"), _text("result", nullable=True), _text("code"),
    _number("created_ns"), _number("updated_ns"),
    CheckConstraint("state IN ('running', 'finished')", name="state"),
)  # fmt: skip

iterations = Table(
    "iterations", metadata,
    _campaign(primary_key=True), _number("index", primary_key=True), _text("record"), _number("recorded_ns"),
)  # fmt: skip

steps = Table(
    "steps", metadata,
    _text("key", primary_key=True), _text("name"), _campaign(nullable=True), _number("iteration", nullable=True),
    _text("state"), _text("owner"), _number("lease_s"), _number("lease_until_ns"), _number("version"),
    _number("attempts"),
    _text("result", nullable=True), _text("error", nullable=True), _text("code"),
    _number("claimed_ns"), _number("ended_ns", nullable=True),
    Index("ix_steps_campaign_iteration", "campaign", "iteration"),
    CheckConstraint("state IN ('running', 'done', 'failed')", name="state"),
)  # fmt: skip

artefacts = Table(
    "artefacts", metadata,
    _text("digest", primary_key=True), _text("kind", index=True), Column("manifest", LargeBinary, nullable=False),
    _number("created_ns"),
)  # fmt: skip

artefact_names = Table(
    "artefact_names", metadata,
    _text("kind", primary_key=True), _text("name", primary_key=True), _number("number", primary_key=True),
    _text("digest", ForeignKey("artefacts.digest"), index=True), _number("named_ns"),
    UniqueConstraint("kind", "name", "digest"),
)  # fmt: skip

artefact_campaigns = Table(
    "artefact_campaigns", metadata,
    _text("digest", ForeignKey("artefacts.digest"), primary_key=True), _campaign(primary_key=True, index=True),
    _number("iteration", nullable=True),
)  # fmt: skip

assignments = Table(
    "assignments", metadata,
    Column("id", NUMBER, primary_key=True, autoincrement=True), _text("key", unique=True), _robot(), _text("plan"),
    _text("policy", ForeignKey("artefacts.digest"), nullable=True, index=True),
    _campaign(nullable=True), _number("iteration", nullable=True), _text("state"), _text("logs", nullable=True),
    _number("created_ns"), _number("completed_ns", nullable=True),
    Index("ix_assignments_robot_state", "robot", "state"),
    Index("ix_assignments_campaign_iteration", "campaign", "iteration"),
    CheckConstraint("state IN ('open', 'done')", name="state"), sqlite_autoincrement=True,
)  # fmt: skip

uploads = Table(
    "uploads", metadata,
    Column("id", NUMBER, primary_key=True, autoincrement=True), _robot(), _text("sha256", index=True), _number("size"),
    _text("format"), _text("idempotency_key"), _text("mapping_sha256", nullable=True),
    _number("assignment", ForeignKey("assignments.id"), nullable=True, index=True),
    _text("state", index=True), _text("reason_code", nullable=True), _text("detail"),
    _text("s3_upload_id", nullable=True),
    _number("version"), _number("created_ns"), _number("updated_ns"),
    _text("name", nullable=True), _text("session", nullable=True), _text("priority"), _text("sender", nullable=True),
    _text("card", nullable=True),
    UniqueConstraint("robot", "sha256"), UniqueConstraint("robot", "idempotency_key"),
    Index("ix_uploads_robot_created_ns", "robot", "created_ns"), Index("ix_uploads_robot_state", "robot", "state"),
    Index("ix_uploads_session", "session"),
    Index("ix_uploads_name", "name", postgresql_using="gin", postgresql_ops={"name": "gin_trgm_ops"}),
    CheckConstraint(
        "state IN ('receiving', 'verifying', 'accepted', 'salvaged', 'quarantined', 'abandoned')", name="state"
    ),
    sqlite_autoincrement=True,
)  # fmt: skip

upload_parts = Table(
    "upload_parts", metadata,
    _number("upload", ForeignKey("uploads.id"), primary_key=True), _number("number", primary_key=True), _text("sha256"),
)  # fmt: skip

notes = Table(
    "notes", metadata,
    Column("id", NUMBER, primary_key=True, autoincrement=True), _text("digest", unique=True), _robot(),
    _text("session", nullable=True), _text("text"), _text("author"), _number("created_ns"),
    Index("ix_notes_robot_session", "robot", "session"), sqlite_autoincrement=True,
)  # fmt: skip

note_photos = Table(
    "note_photos", metadata,
    _number("note", ForeignKey("notes.id"), primary_key=True), _text("sha256", primary_key=True), _text("name"),
    _text("media_type"), _number("size"), _number("added_ns"),
)  # fmt: skip

upload_notes = Table(
    "upload_notes", metadata,
    _number("upload", ForeignKey("uploads.id"), primary_key=True),
    _number("note", ForeignKey("notes.id"), primary_key=True, index=True),
)  # fmt: skip

episodes = Table(
    "episodes", metadata,
    _text("sha256", primary_key=True), _robot(), _text("spec_digest", ForeignKey("specs.digest"), index=True),
    _text("spec_name"), _number("upload", ForeignKey("uploads.id"), nullable=True, index=True),
    _number("assignment", ForeignKey("assignments.id"), nullable=True, index=True),
    _text("raw_sha256", index=True), _text("mapping_sha256", nullable=True), _text("converter"), _number("part"),
    _text("policy", nullable=True), _text("policy_artefact", ForeignKey("artefacts.digest"), nullable=True),
    _number("start_ns"), _number("end_ns"), _number("steps"), Column("duration_s",
    Float(53), nullable=False),
    _text("split", nullable=True), _text("tags"), _number("added_ns"),
    _text("outcome"), Column("coverage", Float(53)),
    Index("ix_episodes_recorded", "start_ns", "sha256"),
    Index("ix_episodes_robot_recorded", "robot", "start_ns", "sha256"),
    Index("ix_episodes_policy_recorded", "policy", "start_ns", "sha256"),
    Index("ix_episodes_outcome_recorded", "outcome", "start_ns", "sha256"),
    Index("ix_episodes_spec_name_recorded", "spec_name", "start_ns", "sha256"),
    Index("ix_episodes_coverage", "coverage"),
)  # fmt: skip

episode_tags = Table(
    "episode_tags", metadata,
    _text("episode", ForeignKey("episodes.sha256"), primary_key=True), _text("key", primary_key=True), _text("value"),
    _number("start_ns"),
    Index("ix_episode_tags_recorded", "key", "value", "start_ns", "episode"),
)  # fmt: skip

episode_counts = Table(
    "episode_counts", metadata,
    _text("robot", ForeignKey("robots.serial"), primary_key=True), _text("spec_name", primary_key=True),
    _text("outcome", primary_key=True), _number("episodes"), Column("duration_s", Float(53), nullable=False),
)  # fmt: skip

parents = Table(
    "parents", metadata,
    _text("child", ForeignKey("artefacts.digest"), primary_key=True), _number("position", primary_key=True),
    _text("artefact", ForeignKey("artefacts.digest"), nullable=True, index=True),
    _text("episode", ForeignKey("episodes.sha256"), nullable=True, index=True),
    CheckConstraint("(artefact IS NULL) != (episode IS NULL)", name="one_parent"),
)  # fmt: skip

scenarios = Table(
    "scenarios", metadata,
    _text("digest", ForeignKey("artefacts.digest"), primary_key=True), _text("name", index=True),
    _text("spec_name", index=True),
    _text("episode", ForeignKey("episodes.sha256"), nullable=True, index=True), _text("state"), _number("added_ns"),
    CheckConstraint("state IN ('active', 'retired')", name="state"),
)  # fmt: skip

evaluations = Table(
    "evaluations", metadata,
    _text("scorecard", ForeignKey("artefacts.digest"), primary_key=True), _number("position", primary_key=True),
    _text("subject", ForeignKey("artefacts.digest"), index=True), _text("measured_on"), _text("split"), _text("name"),
    Column("horizon_s", Float(53)), _text("channel", nullable=True), _text("robot", nullable=True), _text("unit"),
    Column("value", Float(53), nullable=False), _number("n"), Column("low", Float(53)), Column("high", Float(53)),
    Index("ix_evaluations_measured_on_name", "measured_on", "name"),
)  # fmt: skip

releases = Table(
    "releases", metadata,
    Column("id", NUMBER, primary_key=True, autoincrement=True), _text("key", unique=True),
    _text("spec_name", index=True),
    _text("policy", ForeignKey("artefacts.digest"), index=True), _text("state"), _campaign(nullable=True, index=True),
    _text("detail"), _number("version"), _number("created_ns"), _number("updated_ns"),
    CheckConstraint("state IN ('staged', 'canary', 'released', 'rolled_back')", name="state"),
    sqlite_autoincrement=True,
)  # fmt: skip

approvals = Table(
    "approvals", metadata,
    Column("id", NUMBER, primary_key=True, autoincrement=True), _campaign(), _number("iteration"), _text("step"),
    _text("state"), _text("question"), _text("decided_by", nullable=True), _text("note"),
    _number("asked_ns"), _number("decided_ns", nullable=True),
    UniqueConstraint("campaign", "iteration", "step"),
    CheckConstraint("state IN ('asked', 'granted', 'refused')", name="state"), sqlite_autoincrement=True,
)  # fmt: skip

events = Table(
    "events", metadata,
    Column("id", NUMBER, primary_key=True, autoincrement=True), _number("at_ns", index=True),
    _text("kind"), _text("subject"),
    _text("data"), Index("ix_events_kind_subject", "kind", "subject"), Index("ix_events_subject", "subject"),
    sqlite_autoincrement=True,
)  # fmt: skip

robot_keys = Table(
    "robot_keys", metadata,
    Column("id", NUMBER, primary_key=True, autoincrement=True), _text("robot", index=True), _text("public_key"),
    _text("state", index=True), _text("note"), _number("asked_ns"), _number("decided_ns", nullable=True),
    _text("decided_by", nullable=True),
    UniqueConstraint("robot", "public_key"),
    CheckConstraint("state IN ('waiting', 'admitted', 'revoked')", name="state"), sqlite_autoincrement=True,
)  # fmt: skip

spent_nonces = Table(
    "spent_nonces", metadata, _text("nonce", primary_key=True), _number("expires_ns", index=True)
)  # fmt: skip

quotas = Table(
    "quotas", metadata,
    _text("robot", primary_key=True), _number("bytes_per_day"), _number("files_per_day"), _number("open_uploads"),
)  # fmt: skip

operators = Table(
    "operators", metadata,
    _text("name", primary_key=True), _text("role"), _text("state"), _text("secret"), _number("valid_from_ns"),
    _number("created_ns"), _number("updated_ns"),
    CheckConstraint("role IN ('viewer', 'operator', 'admin')", name="role"),
    CheckConstraint("state IN ('active', 'disabled')", name="state"),
)  # fmt: skip

audit = Table(
    "audit", metadata,
    Column("id", NUMBER, primary_key=True, autoincrement=True), _number("at_ns", index=True), _text("actor"),
    _text("role"), _text("action"), _text("subject"), _text("outcome"), _text("detail"),
    Index("ix_audit_actor", "actor", "id"), Index("ix_audit_subject", "subject", "id"),
    Index("ix_audit_action", "action", "id"), sqlite_autoincrement=True,
)  # fmt: skip
