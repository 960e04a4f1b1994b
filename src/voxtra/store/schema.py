"""Every table, once, for SQLite and PostgreSQL.

Rules of this file:

1. Times are integers, microseconds since 1970 in UTC (`UtcTime` gives datetimes): exact, comparable
   and indexed alike on both databases. Ids are text; those that we choose sort by time
   (`voxtra.ids`).
2. What must hold is a constraint or a unique index here, not an `if` elsewhere.
3. A list is paged by (tenant, column, id) in the order of an index; there is no OFFSET anywhere.
4. A migration brings a database to this; a test compares the two.

What only one database has (full-text search) is in `voxtra.store.search`.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from voxtra.store.columns import (
    Sequence,
    UtcTime,
    count,
    flag,
    identity,
    json,
    metadata,
    string,
    time,
    utc_now,
)

__all__ = [
    "UtcTime",
    "audit",
    "calls",
    "commands",
    "conferences",
    "deliveries",
    "delivery_attempts",
    "events",
    "export_items",
    "exports",
    "holds",
    "idempotency",
    "jobs",
    "keys",
    "legs",
    "metadata",
    "nodes",
    "participants",
    "principals",
    "recordings",
    "retention_rules",
    "tenants",
    "utc_now",
    "webhook_endpoints",
]

tenants = Table(
    "tenants",
    metadata,
    identity(),
    string("name"),
    Column("retention_days", Integer, nullable=False, server_default=text("30")),  # 0: for ever
    time("created_at", required=True),
)

principals = Table(
    "principals",
    metadata,
    identity(),
    Column("tenant_id", Text, nullable=False),
    string("name"),
    string("role"),
    time("created_at", required=True),
    time("disabled_at"),
    UniqueConstraint("tenant_id", "name"),
)

keys = Table(
    "keys",
    metadata,
    identity(),
    Column("tenant_id", Text, nullable=False),
    Column("principal_id", Text, nullable=False),
    string("name"),
    Column("prefix", Text, nullable=False, unique=True),
    Column("hash", Text, nullable=False),  # SHA-256 of the whole key, which is 256 random bits
    json("scopes", "[]"),
    time("created_at", required=True),
    time("expires_at"),
    time("used_at"),
    time("revoked_at"),
    Index(None, "tenant_id", "id"),
)

nodes = Table(
    "nodes",
    metadata,
    identity("name"),
    string("app_name"),
    string("version"),
    time("started_at", required=True),
    time("seen_at", required=True),
    json("facts"),
)

calls = Table(
    "calls",
    metadata,
    identity(),
    Column("tenant_id", Text, nullable=False),
    string("node"),
    string("direction"),
    string("caller"),
    string("callee"),
    string("state"),
    string("queue"),
    string("agent"),
    json("tags", "[]"),
    json("metadata"),
    time("created_at", required=True),
    time("answered_at"),
    time("ended_at"),
    Column("end_cause", Integer, nullable=False, server_default=text("0")),
    string("end_reason"),
    Index(None, "tenant_id", "created_at", "id"),
    Index(
        "ix_calls_active",
        "node",
        sqlite_where=text("ended_at IS NULL"),
        postgresql_where=text("ended_at IS NULL"),
    ),
)

legs = Table(
    "legs",
    metadata,
    Column("id", Text, nullable=False),  # the channel's
    Column("call_id", Text, nullable=False),
    Column("tenant_id", Text, nullable=False),
    string("direction"),
    string("endpoint"),
    time("created_at", required=True),
    time("answered_at"),
    time("ended_at"),
    Column("end_cause", Integer, nullable=False, server_default=text("0")),
    PrimaryKeyConstraint("id", "call_id"),  # one that was transferred belongs to both calls
    Index(None, "call_id"),
)

conferences = Table(
    "conferences",
    metadata,
    identity(),  # the bridge's
    Column("tenant_id", Text, nullable=False),
    string("node"),
    string("name"),
    string("state"),
    json("metadata"),
    time("created_at", required=True),
    time("ended_at"),
    string("end_reason"),
    Index(None, "tenant_id", "created_at", "id"),
    Index(
        "ix_conferences_active",
        "node",
        sqlite_where=text("ended_at IS NULL"),
        postgresql_where=text("ended_at IS NULL"),
    ),
)

participants = Table(
    "participants",
    metadata,
    identity(),
    Column("tenant_id", Text, nullable=False),
    Column("conference_id", Text, nullable=False),
    Column("call_id", Text, nullable=False),
    time("joined_at", required=True),
    time("left_at"),
    UniqueConstraint("conference_id", "call_id", "joined_at"),
    Index(
        "uq_participants_present",
        "conference_id",
        "call_id",
        unique=True,
        sqlite_where=text("left_at IS NULL"),
        postgresql_where=text("left_at IS NULL"),
    ),
)

recordings = Table(
    "recordings",
    metadata,
    # what was asked
    identity(),
    Column("tenant_id", Text, nullable=False),
    string("node"),  # the process that owns it while it is live
    Column("version", Integer, nullable=False, server_default=text("0")),
    Column("name", Text, nullable=False),
    string("call_id"),
    string("conference_id"),
    string("holder_id"),
    Column("target", Text, nullable=False),
    string("target_id"),
    Column("format", Text, nullable=False),
    Column("layout", Text, nullable=False),
    json("tracks", "[]"),
    count("max_duration"),
    count("max_silence"),
    string("terminate_on", "none"),
    string("sink"),
    string("source", "recorded"),
    # who
    string("direction"),
    string("caller"),
    string("callee"),
    string("queue"),
    string("agent"),
    json("tags", "[]"),
    string("note"),
    # what is true
    Column("state", Text, nullable=False),
    flag("paused"),
    flag("muted"),
    json("pauses", "[]"),
    time("requested_at", required=True),
    time("started_at"),
    time("ended_at"),
    time("available_at"),
    string("end_reason"),
    string("cause"),
    json("extra"),
    # what the file says
    Column("duration_ms", BigInteger),
    Column("samples", BigInteger),
    Column("sample_rate", Integer),
    Column("channels", Integer),
    Column("size", BigInteger),
    string("sha256"),
    Column("silence_ratio", Float),
    Column("peak_dbfs", Float),
    Column("lost_ms", BigInteger),
    string("blob_key"),
    string("peaks_key"),
    # how long it stays
    Column("retention_days", Integer),  # NULL: by rule or tenant; 0: for ever
    time("expires_at"),
    flag("held"),
    time("deleted_at"),
    string("deleted_by"),
    string("delete_reason"),
    Index(
        "uq_recordings_active_target",
        "target_id",
        unique=True,
        sqlite_where=text("ended_at IS NULL"),
        postgresql_where=text("ended_at IS NULL"),
    ),
    Index(
        "uq_recordings_active_holder",
        "holder_id",
        unique=True,
        sqlite_where=text("ended_at IS NULL"),
        postgresql_where=text("ended_at IS NULL"),
    ),
    Index(
        "ix_recordings_unfinished",
        "node",
        sqlite_where=text("state IN ('starting', 'recording', 'stopping')"),
        postgresql_where=text("state IN ('starting', 'recording', 'stopping')"),
    ),
    Index("ix_recordings_name", "name"),
    Index(
        "ix_recordings_expiry",
        "expires_at",
        sqlite_where=text("deleted_at IS NULL"),
        postgresql_where=text("deleted_at IS NULL"),
    ),
    Index(None, "tenant_id", "id"),
    Index(None, "tenant_id", "call_id", "id"),
    Index(None, "tenant_id", "conference_id", "id"),
    # Lists without a filter. All others are served by the words of `voxtra.store.search`.
    Index(
        "ix_recordings_listed",
        "tenant_id",
        "id",
        sqlite_where=text("deleted_at IS NULL"),
        postgresql_where=text("deleted_at IS NULL"),
    ),
    Index(
        "ix_recordings_tombstones",
        "tenant_id",
        "id",
        sqlite_where=text("deleted_at IS NOT NULL"),
        postgresql_where=text("deleted_at IS NOT NULL"),
    ),
)

events = Table(
    "events",
    metadata,
    Column("seq", Sequence, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("tenant_id", Text, nullable=False),
    Column("type", Text, nullable=False),
    string("session_id"),
    string("recording_id"),
    json("data"),
    time("at", required=True),
    Index(None, "tenant_id", "seq"),
    Index(None, "session_id", "seq"),
    Index(None, "recording_id", "seq"),
    sqlite_autoincrement=True,  # or numbers of deleted rows at the end would be used again
)

jobs = Table(
    "jobs",
    metadata,
    identity(),
    Column("tenant_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("subject_id", Text, nullable=False),
    Column("state", Text, nullable=False),  # waiting, done, dead
    json("payload"),
    json("progress"),
    count("attempts"),
    time("run_at", required=True),
    string("leased_by"),
    time("leased_until"),
    flag("again"),  # asked for once more while somebody is at it
    string("problem"),
    time("created_at", required=True),
    time("finished_at"),
    UniqueConstraint("kind", "subject_id"),
    Index(
        "ix_jobs_waiting",
        "kind",
        "run_at",
        sqlite_where=text("state = 'waiting'"),
        postgresql_where=text("state = 'waiting'"),
    ),
)

webhook_endpoints = Table(
    "webhook_endpoints",
    metadata,
    identity(),
    Column("tenant_id", Text, nullable=False),
    Column("url", Text, nullable=False),
    json("events", "[]"),  # empty: all
    string("secret"),
    string("old_secret"),  # signs as well until its time is over
    time("old_secret_until"),
    string("description"),
    time("created_at", required=True),
    time("rests_until"),  # the receiver asked for it: Retry-After
    time("disabled_at"),
    string("disabled_reason"),
    time("deleted_at"),
    Index(None, "tenant_id", "id"),
)

deliveries = Table(
    "deliveries",
    metadata,
    # in the order of their events
    Column("seq", Sequence, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("message_id", Text, nullable=False),  # the webhook-id, the same in every try and replay
    Column("tenant_id", Text, nullable=False),
    Column("kind", Text, nullable=False),  # webhook, sink
    string("endpoint_id"),  # of a webhook
    string("node"),  # of a sink, which lives in the process that made the recording
    string("lane"),  # what is kept in order: a call with its recordings
    Column("type", Text, nullable=False),
    string("session_id"),
    string("recording_id"),
    Column("body", Text, nullable=False),
    Column("state", Text, nullable=False),  # waiting, delivered, dead
    count("attempts"),
    time("created_at", required=True),
    # When it is due; while a worker has it, when that lease runs out. NULL: an earlier one of its
    # lane comes first, and makes it due.
    time("next_at"),
    string("leased_by"),
    Column("last_status", Integer, nullable=False, server_default=text("0")),
    string("problem"),
    time("finished_at"),
    Index(
        "ix_deliveries_waiting",
        "endpoint_id",
        "lane",
        "seq",
        sqlite_where=text("state = 'waiting'"),
        postgresql_where=text("state = 'waiting'"),
    ),
    Index(
        "ix_deliveries_due",
        "endpoint_id",
        "node",
        "next_at",
        "seq",
        sqlite_where=text("state = 'waiting' AND next_at IS NOT NULL"),
        postgresql_where=text("state = 'waiting' AND next_at IS NOT NULL"),
    ),
    Index(None, "tenant_id", "seq"),
    Index(None, "tenant_id", "state", "seq"),
    Index(None, "tenant_id", "endpoint_id", "seq"),
    Index(None, "recording_id", "seq"),
    sqlite_autoincrement=True,
)

delivery_attempts = Table(
    "delivery_attempts",
    metadata,
    Column("delivery_id", Text, nullable=False),
    Column("number", Integer, nullable=False),
    time("at", required=True),
    Column("status", Integer, nullable=False, server_default=text("0")),
    string("problem"),
    Column("duration_ms", Integer, nullable=False, server_default=text("0")),
    PrimaryKeyConstraint("delivery_id", "number"),
)

exports = Table(
    "exports",
    metadata,
    identity(),
    Column("tenant_id", Text, nullable=False),
    Column("state", Text, nullable=False),  # waiting, running, available, failed, expired
    json("wanted"),  # {"recording_ids": [...]} or {"filter": {...}}
    string("created_by"),
    count("total"),
    count("done"),
    count("failed"),
    Column("size", BigInteger),
    string("sha256"),
    string("blob_key"),
    string("cause"),
    time("created_at", required=True),
    time("finished_at"),
    time("expires_at"),
    Index(None, "tenant_id", "id"),
)

export_items = Table(
    "export_items",
    metadata,
    Column("export_id", Text, nullable=False),
    Column("recording_id", Text, nullable=False),  # as it was asked for: there may be none
    PrimaryKeyConstraint("export_id", "recording_id"),
    Index(None, "recording_id"),
)

retention_rules = Table(
    "retention_rules",
    metadata,
    identity(),
    Column("tenant_id", Text, nullable=False),
    Column("position", Integer, nullable=False),  # the first that fits decides
    string("direction"),  # empty: any
    string("queue"),
    string("tag"),
    Column("days", Integer, nullable=False),  # 0: for ever
    time("created_at", required=True),
    Index(None, "tenant_id", "position"),
)

holds = Table(
    "holds",
    metadata,
    identity(),
    Column("tenant_id", Text, nullable=False),
    Column("recording_id", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("placed_by", Text, nullable=False),
    time("placed_at", required=True),
    string("released_by"),
    string("release_reason"),
    time("released_at"),
    Index(
        "uq_holds_active",
        "recording_id",
        unique=True,
        sqlite_where=text("released_at IS NULL"),
        postgresql_where=text("released_at IS NULL"),
    ),
    Index(None, "recording_id", "placed_at"),
)

audit = Table(
    "audit",
    metadata,
    Column("seq", Sequence, primary_key=True, autoincrement=True),
    Column("tenant_id", Text, nullable=False),
    time("at", required=True),
    Column("actor", Text, nullable=False),  # a principal's id, or "retention", "cli" ...
    Column("action", Text, nullable=False),
    string("subject_kind"),
    string("subject_id"),
    string("request_id"),
    string("remote"),
    json("detail"),
    Index(None, "tenant_id", "seq"),
    Index(None, "subject_id", "seq"),
    sqlite_autoincrement=True,
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("principal_id", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("fingerprint", Text, nullable=False),  # of method, path and body
    Column("status", Integer, nullable=False, server_default=text("0")),  # 0: under way
    json("headers"),
    string("body"),
    time("created_at", required=True),
    PrimaryKeyConstraint("principal_id", "key"),
    Index(None, "created_at"),
)

commands = Table(
    "commands",
    metadata,
    identity(),
    Column("tenant_id", Text, nullable=False),
    Column("node", Text, nullable=False),
    Column("verb", Text, nullable=False),
    Column("subject_id", Text, nullable=False),
    json("arguments"),
    Column("state", Text, nullable=False),  # waiting, taken, done
    json("outcome"),
    time("created_at", required=True),
    time("finished_at"),
    Index(
        "ix_commands_waiting",
        "node",
        sqlite_where=text("state = 'waiting'"),
        postgresql_where=text("state = 'waiting'"),
    ),
)
