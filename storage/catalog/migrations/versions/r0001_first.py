"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "artefacts",
        sa.Column("digest", TEXT, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("manifest", sa.LargeBinary(), nullable=False),
        sa.Column("created_ns", NUMBER, nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_artefacts")),
    )
    op.create_index(op.f("ix_artefacts_kind"), "artefacts", ["kind"], unique=False)
    op.create_table(
        "campaigns",
        sa.Column("id", TEXT, nullable=False),
        sa.Column("number", NUMBER, nullable=False),
        sa.Column("family", TEXT, nullable=False),
        sa.Column("arguments", TEXT, nullable=False),
        sa.Column("asked_iterations", NUMBER, nullable=False),
        sa.Column("iterations", NUMBER, nullable=False),
        sa.Column("more", NUMBER, nullable=True),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("result", TEXT, nullable=True),
        sa.Column("code", TEXT, nullable=False),
        sa.Column("created_ns", NUMBER, nullable=False),
        sa.Column("updated_ns", NUMBER, nullable=False),
        sa.CheckConstraint("state IN ('running', 'finished')", name=op.f("ck_campaigns_state")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_campaigns")),
        sa.UniqueConstraint("number", name=op.f("uq_campaigns_number")),
    )
    op.create_index(op.f("ix_campaigns_family"), "campaigns", ["family"], unique=False)
    op.create_table(
        "events",
        sa.Column("id", NUMBER, autoincrement=True, nullable=False),
        sa.Column("at_ns", NUMBER, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("subject", TEXT, nullable=False),
        sa.Column("data", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_events_at_ns"), "events", ["at_ns"], unique=False)
    op.create_index("ix_events_kind_subject", "events", ["kind", "subject"], unique=False)
    op.create_index("ix_events_subject", "events", ["subject"], unique=False)
    op.create_table(
        "specs",
        sa.Column("digest", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("document", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_specs")),
    )
    op.create_index(op.f("ix_specs_name"), "specs", ["name"], unique=False)
    op.create_table(
        "approvals",
        sa.Column("id", NUMBER, autoincrement=True, nullable=False),
        sa.Column("campaign", TEXT, nullable=False),
        sa.Column("iteration", NUMBER, nullable=False),
        sa.Column("step", TEXT, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("question", TEXT, nullable=False),
        sa.Column("decided_by", TEXT, nullable=True),
        sa.Column("note", TEXT, nullable=False),
        sa.Column("asked_ns", NUMBER, nullable=False),
        sa.Column("decided_ns", NUMBER, nullable=True),
        sa.CheckConstraint("state IN ('asked', 'granted', 'refused')", name=op.f("ck_approvals_state")),
        sa.ForeignKeyConstraint(["campaign"], ["campaigns.id"], name=op.f("fk_approvals_campaign")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_approvals")),
        sa.UniqueConstraint("campaign", "iteration", "step", name=op.f("uq_approvals_campaign_iteration_step")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "artefact_campaigns",
        sa.Column("digest", TEXT, nullable=False),
        sa.Column("campaign", TEXT, nullable=False),
        sa.Column("iteration", NUMBER, nullable=True),
        sa.ForeignKeyConstraint(["campaign"], ["campaigns.id"], name=op.f("fk_artefact_campaigns_campaign")),
        sa.ForeignKeyConstraint(["digest"], ["artefacts.digest"], name=op.f("fk_artefact_campaigns_digest")),
        sa.PrimaryKeyConstraint("digest", "campaign", name=op.f("pk_artefact_campaigns")),
    )
    op.create_index(op.f("ix_artefact_campaigns_campaign"), "artefact_campaigns", ["campaign"], unique=False)
    op.create_table(
        "artefact_names",
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("number", NUMBER, nullable=False),
        sa.Column("digest", TEXT, nullable=False),
        sa.Column("named_ns", NUMBER, nullable=False),
        sa.ForeignKeyConstraint(["digest"], ["artefacts.digest"], name=op.f("fk_artefact_names_digest")),
        sa.PrimaryKeyConstraint("kind", "name", "number", name=op.f("pk_artefact_names")),
        sa.UniqueConstraint("kind", "name", "digest", name=op.f("uq_artefact_names_kind_name_digest")),
    )
    op.create_index(op.f("ix_artefact_names_digest"), "artefact_names", ["digest"], unique=False)
    op.create_table(
        "evaluations",
        sa.Column("scorecard", TEXT, nullable=False),
        sa.Column("position", NUMBER, nullable=False),
        sa.Column("subject", TEXT, nullable=False),
        sa.Column("measured_on", TEXT, nullable=False),
        sa.Column("split", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("horizon_s", sa.Float(precision=53), nullable=True),
        sa.Column("channel", TEXT, nullable=True),
        sa.Column("robot", TEXT, nullable=True),
        sa.Column("unit", TEXT, nullable=False),
        sa.Column("value", sa.Float(precision=53), nullable=False),
        sa.Column("n", NUMBER, nullable=False),
        sa.Column("low", sa.Float(precision=53), nullable=True),
        sa.Column("high", sa.Float(precision=53), nullable=True),
        sa.ForeignKeyConstraint(["scorecard"], ["artefacts.digest"], name=op.f("fk_evaluations_scorecard")),
        sa.ForeignKeyConstraint(["subject"], ["artefacts.digest"], name=op.f("fk_evaluations_subject")),
        sa.PrimaryKeyConstraint("scorecard", "position", name=op.f("pk_evaluations")),
    )
    op.create_index("ix_evaluations_measured_on_name", "evaluations", ["measured_on", "name"], unique=False)
    op.create_index(op.f("ix_evaluations_subject"), "evaluations", ["subject"], unique=False)
    op.create_table(
        "iterations",
        sa.Column("campaign", TEXT, nullable=False),
        sa.Column("index", NUMBER, nullable=False),
        sa.Column("record", TEXT, nullable=False),
        sa.Column("recorded_ns", NUMBER, nullable=False),
        sa.ForeignKeyConstraint(["campaign"], ["campaigns.id"], name=op.f("fk_iterations_campaign")),
        sa.PrimaryKeyConstraint("campaign", "index", name=op.f("pk_iterations")),
    )
    op.create_table(
        "releases",
        sa.Column("id", NUMBER, autoincrement=True, nullable=False),
        sa.Column("key", TEXT, nullable=False),
        sa.Column("spec_name", TEXT, nullable=False),
        sa.Column("policy", TEXT, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("campaign", TEXT, nullable=True),
        sa.Column("detail", TEXT, nullable=False),
        sa.Column("version", NUMBER, nullable=False),
        sa.Column("created_ns", NUMBER, nullable=False),
        sa.Column("updated_ns", NUMBER, nullable=False),
        sa.CheckConstraint("state IN ('staged', 'canary', 'released', 'rolled_back')", name=op.f("ck_releases_state")),
        sa.ForeignKeyConstraint(["campaign"], ["campaigns.id"], name=op.f("fk_releases_campaign")),
        sa.ForeignKeyConstraint(["policy"], ["artefacts.digest"], name=op.f("fk_releases_policy")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_releases")),
        sa.UniqueConstraint("key", name=op.f("uq_releases_key")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_releases_campaign"), "releases", ["campaign"], unique=False)
    op.create_index(op.f("ix_releases_policy"), "releases", ["policy"], unique=False)
    op.create_index(op.f("ix_releases_spec_name"), "releases", ["spec_name"], unique=False)
    op.create_table(
        "robots",
        sa.Column("serial", TEXT, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("spec_digest", TEXT, nullable=False),
        sa.Column("spec_number", NUMBER, nullable=False),
        sa.Column("created_ns", NUMBER, nullable=False),
        sa.Column("updated_ns", NUMBER, nullable=False),
        sa.ForeignKeyConstraint(["spec_digest"], ["specs.digest"], name=op.f("fk_robots_spec_digest")),
        sa.PrimaryKeyConstraint("serial", name=op.f("pk_robots")),
    )
    op.create_index(op.f("ix_robots_kind"), "robots", ["kind"], unique=False)
    op.create_index(op.f("ix_robots_spec_digest"), "robots", ["spec_digest"], unique=False)
    op.create_table(
        "steps",
        sa.Column("key", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("campaign", TEXT, nullable=True),
        sa.Column("iteration", NUMBER, nullable=True),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("owner", TEXT, nullable=False),
        sa.Column("lease_s", NUMBER, nullable=False),
        sa.Column("lease_until_ns", NUMBER, nullable=False),
        sa.Column("version", NUMBER, nullable=False),
        sa.Column("attempts", NUMBER, nullable=False),
        sa.Column("result", TEXT, nullable=True),
        sa.Column("error", TEXT, nullable=True),
        sa.Column("code", TEXT, nullable=False),
        sa.Column("claimed_ns", NUMBER, nullable=False),
        sa.Column("ended_ns", NUMBER, nullable=True),
        sa.CheckConstraint("state IN ('running', 'done', 'failed')", name=op.f("ck_steps_state")),
        sa.ForeignKeyConstraint(["campaign"], ["campaigns.id"], name=op.f("fk_steps_campaign")),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_steps")),
    )
    op.create_index("ix_steps_campaign_iteration", "steps", ["campaign", "iteration"], unique=False)
    op.create_table(
        "assignments",
        sa.Column("id", NUMBER, autoincrement=True, nullable=False),
        sa.Column("key", TEXT, nullable=False),
        sa.Column("robot", TEXT, nullable=False),
        sa.Column("plan", TEXT, nullable=False),
        sa.Column("policy", TEXT, nullable=True),
        sa.Column("campaign", TEXT, nullable=True),
        sa.Column("iteration", NUMBER, nullable=True),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("logs", TEXT, nullable=True),
        sa.Column("created_ns", NUMBER, nullable=False),
        sa.Column("completed_ns", NUMBER, nullable=True),
        sa.CheckConstraint("state IN ('open', 'done')", name=op.f("ck_assignments_state")),
        sa.ForeignKeyConstraint(["campaign"], ["campaigns.id"], name=op.f("fk_assignments_campaign")),
        sa.ForeignKeyConstraint(["policy"], ["artefacts.digest"], name=op.f("fk_assignments_policy")),
        sa.ForeignKeyConstraint(["robot"], ["robots.serial"], name=op.f("fk_assignments_robot")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_assignments")),
        sa.UniqueConstraint("key", name=op.f("uq_assignments_key")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_assignments_campaign_iteration", "assignments", ["campaign", "iteration"], unique=False)
    op.create_index(op.f("ix_assignments_policy"), "assignments", ["policy"], unique=False)
    op.create_index("ix_assignments_robot_state", "assignments", ["robot", "state"], unique=False)
    op.create_table(
        "robot_specs",
        sa.Column("robot", TEXT, nullable=False),
        sa.Column("number", NUMBER, nullable=False),
        sa.Column("spec_digest", TEXT, nullable=False),
        sa.Column("added_ns", NUMBER, nullable=False),
        sa.ForeignKeyConstraint(["robot"], ["robots.serial"], name=op.f("fk_robot_specs_robot")),
        sa.ForeignKeyConstraint(["spec_digest"], ["specs.digest"], name=op.f("fk_robot_specs_spec_digest")),
        sa.PrimaryKeyConstraint("robot", "number", name=op.f("pk_robot_specs")),
    )
    op.create_index(op.f("ix_robot_specs_spec_digest"), "robot_specs", ["spec_digest"], unique=False)
    op.create_table(
        "uploads",
        sa.Column("id", NUMBER, autoincrement=True, nullable=False),
        sa.Column("robot", TEXT, nullable=False),
        sa.Column("sha256", TEXT, nullable=False),
        sa.Column("size", NUMBER, nullable=False),
        sa.Column("format", TEXT, nullable=False),
        sa.Column("idempotency_key", TEXT, nullable=False),
        sa.Column("mapping_sha256", TEXT, nullable=True),
        sa.Column("assignment", NUMBER, nullable=True),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("reason_code", TEXT, nullable=True),
        sa.Column("detail", TEXT, nullable=False),
        sa.Column("s3_upload_id", TEXT, nullable=True),
        sa.Column("version", NUMBER, nullable=False),
        sa.Column("created_ns", NUMBER, nullable=False),
        sa.Column("updated_ns", NUMBER, nullable=False),
        sa.CheckConstraint(
            "state IN ('receiving', 'verifying', 'accepted', 'salvaged', 'quarantined')", name=op.f("ck_uploads_state")
        ),
        sa.ForeignKeyConstraint(["assignment"], ["assignments.id"], name=op.f("fk_uploads_assignment")),
        sa.ForeignKeyConstraint(["robot"], ["robots.serial"], name=op.f("fk_uploads_robot")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_uploads")),
        sa.UniqueConstraint("robot", "idempotency_key", name=op.f("uq_uploads_robot_idempotency_key")),
        sa.UniqueConstraint("robot", "sha256", name=op.f("uq_uploads_robot_sha256")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_uploads_assignment"), "uploads", ["assignment"], unique=False)
    op.create_index(op.f("ix_uploads_sha256"), "uploads", ["sha256"], unique=False)
    op.create_index(op.f("ix_uploads_state"), "uploads", ["state"], unique=False)
    op.create_table(
        "episodes",
        sa.Column("sha256", TEXT, nullable=False),
        sa.Column("robot", TEXT, nullable=False),
        sa.Column("spec_digest", TEXT, nullable=False),
        sa.Column("spec_name", TEXT, nullable=False),
        sa.Column("upload", NUMBER, nullable=True),
        sa.Column("assignment", NUMBER, nullable=True),
        sa.Column("raw_sha256", TEXT, nullable=False),
        sa.Column("mapping_sha256", TEXT, nullable=True),
        sa.Column("converter", TEXT, nullable=False),
        sa.Column("part", NUMBER, nullable=False),
        sa.Column("policy", TEXT, nullable=True),
        sa.Column("policy_artefact", TEXT, nullable=True),
        sa.Column("start_ns", NUMBER, nullable=False),
        sa.Column("end_ns", NUMBER, nullable=False),
        sa.Column("steps", NUMBER, nullable=False),
        sa.Column("duration_s", sa.Float(precision=53), nullable=False),
        sa.Column("split", TEXT, nullable=True),
        sa.Column("tags", TEXT, nullable=False),
        sa.Column("added_ns", NUMBER, nullable=False),
        sa.ForeignKeyConstraint(["assignment"], ["assignments.id"], name=op.f("fk_episodes_assignment")),
        sa.ForeignKeyConstraint(["policy_artefact"], ["artefacts.digest"], name=op.f("fk_episodes_policy_artefact")),
        sa.ForeignKeyConstraint(["robot"], ["robots.serial"], name=op.f("fk_episodes_robot")),
        sa.ForeignKeyConstraint(["spec_digest"], ["specs.digest"], name=op.f("fk_episodes_spec_digest")),
        sa.ForeignKeyConstraint(["upload"], ["uploads.id"], name=op.f("fk_episodes_upload")),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_episodes")),
    )
    op.create_index(op.f("ix_episodes_assignment"), "episodes", ["assignment"], unique=False)
    op.create_index(op.f("ix_episodes_policy"), "episodes", ["policy"], unique=False)
    op.create_index(op.f("ix_episodes_raw_sha256"), "episodes", ["raw_sha256"], unique=False)
    op.create_index("ix_episodes_robot_start_ns", "episodes", ["robot", "start_ns"], unique=False)
    op.create_index(op.f("ix_episodes_spec_digest"), "episodes", ["spec_digest"], unique=False)
    op.create_index(op.f("ix_episodes_spec_name"), "episodes", ["spec_name"], unique=False)
    op.create_index(op.f("ix_episodes_start_ns"), "episodes", ["start_ns"], unique=False)
    op.create_index(op.f("ix_episodes_upload"), "episodes", ["upload"], unique=False)
    op.create_table(
        "episode_tags",
        sa.Column("episode", TEXT, nullable=False),
        sa.Column("key", TEXT, nullable=False),
        sa.Column("value", TEXT, nullable=False),
        sa.ForeignKeyConstraint(["episode"], ["episodes.sha256"], name=op.f("fk_episode_tags_episode")),
        sa.PrimaryKeyConstraint("episode", "key", name=op.f("pk_episode_tags")),
    )
    op.create_index("ix_episode_tags_key_value", "episode_tags", ["key", "value", "episode"], unique=False)
    op.create_table(
        "parents",
        sa.Column("child", TEXT, nullable=False),
        sa.Column("position", NUMBER, nullable=False),
        sa.Column("artefact", TEXT, nullable=True),
        sa.Column("episode", TEXT, nullable=True),
        sa.CheckConstraint("(artefact IS NULL) != (episode IS NULL)", name=op.f("ck_parents_one_parent")),
        sa.ForeignKeyConstraint(["artefact"], ["artefacts.digest"], name=op.f("fk_parents_artefact")),
        sa.ForeignKeyConstraint(["child"], ["artefacts.digest"], name=op.f("fk_parents_child")),
        sa.ForeignKeyConstraint(["episode"], ["episodes.sha256"], name=op.f("fk_parents_episode")),
        sa.PrimaryKeyConstraint("child", "position", name=op.f("pk_parents")),
    )
    op.create_index(op.f("ix_parents_artefact"), "parents", ["artefact"], unique=False)
    op.create_index(op.f("ix_parents_episode"), "parents", ["episode"], unique=False)
    op.create_table(
        "scenarios",
        sa.Column("digest", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("spec_name", TEXT, nullable=False),
        sa.Column("episode", TEXT, nullable=True),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("added_ns", NUMBER, nullable=False),
        sa.CheckConstraint("state IN ('active', 'retired')", name=op.f("ck_scenarios_state")),
        sa.ForeignKeyConstraint(["digest"], ["artefacts.digest"], name=op.f("fk_scenarios_digest")),
        sa.ForeignKeyConstraint(["episode"], ["episodes.sha256"], name=op.f("fk_scenarios_episode")),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_scenarios")),
    )
    op.create_index(op.f("ix_scenarios_episode"), "scenarios", ["episode"], unique=False)
    op.create_index(op.f("ix_scenarios_name"), "scenarios", ["name"], unique=False)
    op.create_index(op.f("ix_scenarios_spec_name"), "scenarios", ["spec_name"], unique=False)
