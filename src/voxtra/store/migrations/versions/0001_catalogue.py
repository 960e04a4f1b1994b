"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa

from voxtra.store.migrations.ddl import (
    BOOL,
    FLOAT,
    INT,
    JSON,
    LONG,
    SEQUENCE,
    TEXT,
    TIME,
    column,
    index,
    table,
)

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables of an empty database."""
    _access()
    _calls()
    _recordings()
    _work()


def _access() -> None:
    table(
        "tenants",
        column("id", TEXT),
        column("name", TEXT, ""),
        column("retention_days", INT, sa.text("30")),
        column("created_at", TIME),
    )
    table(
        "principals",
        column("id", TEXT),
        column("tenant_id", TEXT),
        column("name", TEXT, ""),
        column("role", TEXT, ""),
        column("created_at", TIME),
        column("disabled_at", TIME, null=True),
        sa.UniqueConstraint("tenant_id", "name", name="uq_principals_tenant_id_name"),
    )
    table(
        "keys",
        column("id", TEXT),
        column("tenant_id", TEXT),
        column("principal_id", TEXT),
        column("name", TEXT, ""),
        column("prefix", TEXT),
        column("hash", TEXT),
        column("scopes", JSON, sa.text("'[]'")),
        column("created_at", TIME),
        column("expires_at", TIME, null=True),
        column("used_at", TIME, null=True),
        column("revoked_at", TIME, null=True),
        sa.UniqueConstraint("prefix", name="uq_keys_prefix"),
    )
    index("ix_keys_tenant_id_id", "keys", "tenant_id", "id")
    table(
        "idempotency",
        column("principal_id", TEXT),
        column("key", TEXT),
        column("fingerprint", TEXT),
        column("status", INT, sa.text("0")),
        column("headers", JSON, sa.text("'{}'")),
        column("body", TEXT, ""),
        column("created_at", TIME),
        key=(
            "principal_id",
            "key",
        ),
    )
    index("ix_idempotency_created_at", "idempotency", "created_at")
    table(
        "audit",
        column("seq", SEQUENCE),
        column("tenant_id", TEXT),
        column("at", TIME),
        column("actor", TEXT),
        column("action", TEXT),
        column("subject_kind", TEXT, ""),
        column("subject_id", TEXT, ""),
        column("request_id", TEXT, ""),
        column("remote", TEXT, ""),
        column("detail", JSON, sa.text("'{}'")),
        sqlite_autoincrement=True,
        key=("seq",),
    )
    index("ix_audit_subject_id_seq", "audit", "subject_id", "seq")
    index("ix_audit_tenant_id_seq", "audit", "tenant_id", "seq")


def _calls() -> None:
    table(
        "nodes",
        column("name", TEXT),
        column("app_name", TEXT, ""),
        column("version", TEXT, ""),
        column("started_at", TIME),
        column("seen_at", TIME),
        column("facts", JSON, sa.text("'{}'")),
        key=("name",),
    )
    table(
        "calls",
        column("id", TEXT),
        column("tenant_id", TEXT),
        column("node", TEXT, ""),
        column("direction", TEXT, ""),
        column("caller", TEXT, ""),
        column("callee", TEXT, ""),
        column("state", TEXT, ""),
        column("queue", TEXT, ""),
        column("agent", TEXT, ""),
        column("tags", JSON, sa.text("'[]'")),
        column("metadata", JSON, sa.text("'{}'")),
        column("created_at", TIME),
        column("answered_at", TIME, null=True),
        column("ended_at", TIME, null=True),
        column("end_cause", INT, sa.text("0")),
        column("end_reason", TEXT, ""),
    )
    index("ix_calls_active", "calls", "node", where="ended_at IS NULL")
    index("ix_calls_tenant_id_created_at_id", "calls", "tenant_id", "created_at", "id")
    table(
        "legs",
        column("id", TEXT),
        column("call_id", TEXT),
        column("tenant_id", TEXT),
        column("direction", TEXT, ""),
        column("endpoint", TEXT, ""),
        column("created_at", TIME),
        column("answered_at", TIME, null=True),
        column("ended_at", TIME, null=True),
        column("end_cause", INT, sa.text("0")),
        key=(
            "id",
            "call_id",
        ),
    )
    index("ix_legs_call_id", "legs", "call_id")
    table(
        "conferences",
        column("id", TEXT),
        column("tenant_id", TEXT),
        column("node", TEXT, ""),
        column("name", TEXT, ""),
        column("state", TEXT, ""),
        column("metadata", JSON, sa.text("'{}'")),
        column("created_at", TIME),
        column("ended_at", TIME, null=True),
        column("end_reason", TEXT, ""),
    )
    index("ix_conferences_active", "conferences", "node", where="ended_at IS NULL")
    index("ix_conferences_tenant_id_created_at_id", "conferences", "tenant_id", "created_at", "id")
    table(
        "participants",
        column("id", TEXT),
        column("tenant_id", TEXT),
        column("conference_id", TEXT),
        column("call_id", TEXT),
        column("joined_at", TIME),
        column("left_at", TIME, null=True),
        sa.UniqueConstraint(
            "conference_id",
            "call_id",
            "joined_at",
            name="uq_participants_conference_id_call_id_joined_at",
        ),
    )
    index(
        "uq_participants_present",
        "participants",
        "conference_id",
        "call_id",
        unique=True,
        where="left_at IS NULL",
    )
    table(
        "commands",
        column("id", TEXT),
        column("tenant_id", TEXT),
        column("node", TEXT),
        column("verb", TEXT),
        column("subject_id", TEXT),
        column("arguments", JSON, sa.text("'{}'")),
        column("state", TEXT),
        column("outcome", JSON, sa.text("'{}'")),
        column("created_at", TIME),
        column("finished_at", TIME, null=True),
    )
    index("ix_commands_waiting", "commands", "node", where="state = 'waiting'")


def _recordings() -> None:
    table(
        "recordings",
        column("id", TEXT),
        column("tenant_id", TEXT),
        column("node", TEXT, ""),
        column("version", INT, sa.text("0")),
        column("name", TEXT),
        column("call_id", TEXT, ""),
        column("conference_id", TEXT, ""),
        column("holder_id", TEXT, ""),
        column("target", TEXT),
        column("target_id", TEXT, ""),
        column("format", TEXT),
        column("layout", TEXT),
        column("tracks", JSON, sa.text("'[]'")),
        column("max_duration", LONG, sa.text("0")),
        column("max_silence", LONG, sa.text("0")),
        column("terminate_on", TEXT, "none"),
        column("sink", TEXT, ""),
        column("source", TEXT, "recorded"),
        column("direction", TEXT, ""),
        column("caller", TEXT, ""),
        column("callee", TEXT, ""),
        column("queue", TEXT, ""),
        column("agent", TEXT, ""),
        column("tags", JSON, sa.text("'[]'")),
        column("note", TEXT, ""),
        column("state", TEXT),
        column("paused", BOOL, sa.false()),
        column("muted", BOOL, sa.false()),
        column("pauses", JSON, sa.text("'[]'")),
        column("requested_at", TIME),
        column("started_at", TIME, null=True),
        column("ended_at", TIME, null=True),
        column("available_at", TIME, null=True),
        column("end_reason", TEXT, ""),
        column("cause", TEXT, ""),
        column("extra", JSON, sa.text("'{}'")),
        column("duration_ms", LONG, null=True),
        column("samples", LONG, null=True),
        column("sample_rate", INT, null=True),
        column("channels", INT, null=True),
        column("size", LONG, null=True),
        column("sha256", TEXT, ""),
        column("silence_ratio", FLOAT, null=True),
        column("peak_dbfs", FLOAT, null=True),
        column("lost_ms", LONG, null=True),
        column("blob_key", TEXT, ""),
        column("peaks_key", TEXT, ""),
        column("retention_days", INT, null=True),
        column("expires_at", TIME, null=True),
        column("held", BOOL, sa.false()),
        column("deleted_at", TIME, null=True),
        column("deleted_by", TEXT, ""),
        column("delete_reason", TEXT, ""),
    )
    index("ix_recordings_expiry", "recordings", "expires_at", where="deleted_at IS NULL")
    index("ix_recordings_listed", "recordings", "tenant_id", "id", where="deleted_at IS NULL")
    index("ix_recordings_name", "recordings", "name")
    index("ix_recordings_tenant_id_call_id_id", "recordings", "tenant_id", "call_id", "id")
    index(
        "ix_recordings_tenant_id_conference_id_id", "recordings", "tenant_id", "conference_id", "id"
    )
    index("ix_recordings_tenant_id_id", "recordings", "tenant_id", "id")
    index(
        "ix_recordings_tombstones", "recordings", "tenant_id", "id", where="deleted_at IS NOT NULL"
    )
    index(
        "ix_recordings_unfinished",
        "recordings",
        "node",
        where="state IN ('starting', 'recording', 'stopping')",
    )
    index(
        "uq_recordings_active_holder",
        "recordings",
        "holder_id",
        unique=True,
        where="ended_at IS NULL",
    )
    index(
        "uq_recordings_active_target",
        "recordings",
        "target_id",
        unique=True,
        where="ended_at IS NULL",
    )
    table(
        "retention_rules",
        column("id", TEXT),
        column("tenant_id", TEXT),
        column("position", INT),
        column("direction", TEXT, ""),
        column("queue", TEXT, ""),
        column("tag", TEXT, ""),
        column("days", INT),
        column("created_at", TIME),
    )
    index("ix_retention_rules_tenant_id_position", "retention_rules", "tenant_id", "position")
    table(
        "holds",
        column("id", TEXT),
        column("tenant_id", TEXT),
        column("recording_id", TEXT),
        column("reason", TEXT),
        column("placed_by", TEXT),
        column("placed_at", TIME),
        column("released_by", TEXT, ""),
        column("release_reason", TEXT, ""),
        column("released_at", TIME, null=True),
    )
    index("ix_holds_recording_id_placed_at", "holds", "recording_id", "placed_at")
    index("uq_holds_active", "holds", "recording_id", unique=True, where="released_at IS NULL")
    table(
        "exports",
        column("id", TEXT),
        column("tenant_id", TEXT),
        column("state", TEXT),
        column("wanted", JSON, sa.text("'{}'")),
        column("created_by", TEXT, ""),
        column("total", LONG, sa.text("0")),
        column("done", LONG, sa.text("0")),
        column("failed", LONG, sa.text("0")),
        column("size", LONG, null=True),
        column("sha256", TEXT, ""),
        column("blob_key", TEXT, ""),
        column("cause", TEXT, ""),
        column("created_at", TIME),
        column("finished_at", TIME, null=True),
        column("expires_at", TIME, null=True),
    )
    index("ix_exports_tenant_id_id", "exports", "tenant_id", "id")
    table(
        "export_items",
        column("export_id", TEXT),
        column("recording_id", TEXT),
        key=(
            "export_id",
            "recording_id",
        ),
    )
    index("ix_export_items_recording_id", "export_items", "recording_id")


def _work() -> None:
    table(
        "events",
        column("seq", SEQUENCE),
        column("id", TEXT),
        column("tenant_id", TEXT),
        column("type", TEXT),
        column("session_id", TEXT, ""),
        column("recording_id", TEXT, ""),
        column("data", JSON, sa.text("'{}'")),
        column("at", TIME),
        sa.UniqueConstraint("id", name="uq_events_id"),
        sqlite_autoincrement=True,
        key=("seq",),
    )
    index("ix_events_recording_id_seq", "events", "recording_id", "seq")
    index("ix_events_session_id_seq", "events", "session_id", "seq")
    index("ix_events_tenant_id_seq", "events", "tenant_id", "seq")
    table(
        "jobs",
        column("id", TEXT),
        column("tenant_id", TEXT),
        column("kind", TEXT),
        column("subject_id", TEXT),
        column("state", TEXT),
        column("payload", JSON, sa.text("'{}'")),
        column("progress", JSON, sa.text("'{}'")),
        column("attempts", LONG, sa.text("0")),
        column("run_at", TIME),
        column("leased_by", TEXT, ""),
        column("leased_until", TIME, null=True),
        column("again", BOOL, sa.false()),
        column("problem", TEXT, ""),
        column("created_at", TIME),
        column("finished_at", TIME, null=True),
        sa.UniqueConstraint("kind", "subject_id", name="uq_jobs_kind_subject_id"),
    )
    index("ix_jobs_waiting", "jobs", "kind", "run_at", where="state = 'waiting'")
    table(
        "webhook_endpoints",
        column("id", TEXT),
        column("tenant_id", TEXT),
        column("url", TEXT),
        column("events", JSON, sa.text("'[]'")),
        column("secret", TEXT, ""),
        column("old_secret", TEXT, ""),
        column("old_secret_until", TIME, null=True),
        column("description", TEXT, ""),
        column("created_at", TIME),
        column("rests_until", TIME, null=True),
        column("disabled_at", TIME, null=True),
        column("disabled_reason", TEXT, ""),
        column("deleted_at", TIME, null=True),
    )
    index("ix_webhook_endpoints_tenant_id_id", "webhook_endpoints", "tenant_id", "id")
    table(
        "deliveries",
        column("seq", SEQUENCE),
        column("id", TEXT),
        column("message_id", TEXT),
        column("tenant_id", TEXT),
        column("kind", TEXT),
        column("endpoint_id", TEXT, ""),
        column("node", TEXT, ""),
        column("lane", TEXT, ""),
        column("type", TEXT),
        column("session_id", TEXT, ""),
        column("recording_id", TEXT, ""),
        column("body", TEXT),
        column("state", TEXT),
        column("attempts", LONG, sa.text("0")),
        column("created_at", TIME),
        column("next_at", TIME, null=True),
        column("leased_by", TEXT, ""),
        column("last_status", INT, sa.text("0")),
        column("problem", TEXT, ""),
        column("finished_at", TIME, null=True),
        sa.UniqueConstraint("id", name="uq_deliveries_id"),
        sqlite_autoincrement=True,
        key=("seq",),
    )
    index(
        "ix_deliveries_due",
        "deliveries",
        "endpoint_id",
        "node",
        "next_at",
        "seq",
        where="state = 'waiting' AND next_at IS NOT NULL",
    )
    index("ix_deliveries_recording_id_seq", "deliveries", "recording_id", "seq")
    index(
        "ix_deliveries_tenant_id_endpoint_id_seq", "deliveries", "tenant_id", "endpoint_id", "seq"
    )
    index("ix_deliveries_tenant_id_seq", "deliveries", "tenant_id", "seq")
    index("ix_deliveries_tenant_id_state_seq", "deliveries", "tenant_id", "state", "seq")
    index(
        "ix_deliveries_waiting",
        "deliveries",
        "endpoint_id",
        "lane",
        "seq",
        where="state = 'waiting'",
    )
    table(
        "delivery_attempts",
        column("delivery_id", TEXT),
        column("number", INT),
        column("at", TIME),
        column("status", INT, sa.text("0")),
        column("problem", TEXT, ""),
        column("duration_ms", INT, sa.text("0")),
        key=(
            "delivery_id",
            "number",
        ),
    )
