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

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Float,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeDecorator

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
    "recording_tags",
    "recordings",
    "retention_rules",
    "tenants",
    "utc_now",
    "webhook_endpoints",
]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class UtcTime(TypeDecorator[datetime]):
    """A moment: an aware datetime here, microseconds since 1970 there."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        """Return the integer of a datetime; a naive one is an error."""
        return None if value is None else (value - _EPOCH) // timedelta(microseconds=1)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        """Return the datetime of an integer."""
        return None if value is None else _EPOCH + timedelta(microseconds=value)


def utc_now() -> datetime:
    """Return the time in UTC."""
    return datetime.now(UTC)


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite numbers rows by itself only where the column is its INTEGER PRIMARY KEY.
_Sequence = BigInteger().with_variant(Integer, "sqlite")
_Json = JSON().with_variant(JSONB, "postgresql")


def _id(name: str = "id") -> Column[str]:
    return Column(name, Text, primary_key=True)


def _text(name: str, default: str = "") -> Column[str]:
    return Column(name, Text, nullable=False, server_default=default)


def _count(name: str, default: int = 0) -> Column[int]:
    return Column(name, BigInteger, nullable=False, server_default=text(str(default)))


def _flag(name: str) -> Column[bool]:
    return Column(name, Boolean, nullable=False, server_default=false())


def _time(name: str, *, required: bool = False) -> Column[datetime]:
    return Column(name, UtcTime, nullable=not required)


def _json(name: str, default: str = "{}") -> Column[Any]:
    return Column(name, _Json, nullable=False, server_default=text(f"'{default}'"))


tenants = Table(
    "tenants",
    metadata,
    _id(),
    _text("name"),
    Column("retention_days", Integer, nullable=False, server_default=text("30")),  # 0: for ever
    _time("created_at", required=True),
)

principals = Table(
    "principals",
    metadata,
    _id(),
    Column("tenant_id", Text, nullable=False),
    _text("name"),
    _text("role"),
    _time("created_at", required=True),
    _time("disabled_at"),
    UniqueConstraint("tenant_id", "name"),
)

keys = Table(
    "keys",
    metadata,
    _id(),
    Column("tenant_id", Text, nullable=False),
    Column("principal_id", Text, nullable=False),
    _text("name"),
    Column("prefix", Text, nullable=False, unique=True),
    Column("hash", Text, nullable=False),  # SHA-256 of the whole key, which is 256 random bits
    _json("scopes", "[]"),
    _time("created_at", required=True),
    _time("expires_at"),
    _time("used_at"),
    _time("revoked_at"),
    Index(None, "tenant_id", "id"),
)

nodes = Table(
    "nodes",
    metadata,
    _id("name"),
    _text("app_name"),
    _text("version"),
    _time("started_at", required=True),
    _time("seen_at", required=True),
    _json("facts"),
)

calls = Table(
    "calls",
    metadata,
    _id(),
    Column("tenant_id", Text, nullable=False),
    _text("node"),
    _text("direction"),
    _text("caller"),
    _text("callee"),
    _text("state"),
    _text("queue"),
    _text("agent"),
    _json("tags", "[]"),
    _json("metadata"),
    _time("created_at", required=True),
    _time("answered_at"),
    _time("ended_at"),
    Column("end_cause", Integer, nullable=False, server_default=text("0")),
    _text("end_reason"),
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
    _text("direction"),
    _text("endpoint"),
    _time("created_at", required=True),
    _time("answered_at"),
    _time("ended_at"),
    Column("end_cause", Integer, nullable=False, server_default=text("0")),
    PrimaryKeyConstraint("id", "call_id"),  # one that was transferred belongs to both calls
    Index(None, "call_id"),
)

conferences = Table(
    "conferences",
    metadata,
    _id(),  # the bridge's
    Column("tenant_id", Text, nullable=False),
    _text("node"),
    _text("name"),
    _text("state"),
    _json("metadata"),
    _time("created_at", required=True),
    _time("ended_at"),
    _text("end_reason"),
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
    _id(),
    Column("tenant_id", Text, nullable=False),
    Column("conference_id", Text, nullable=False),
    Column("call_id", Text, nullable=False),
    _time("joined_at", required=True),
    _time("left_at"),
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
    _id(),
    Column("tenant_id", Text, nullable=False),
    _text("node"),  # the process that owns it while it is live
    Column("version", Integer, nullable=False, server_default=text("0")),
    Column("name", Text, nullable=False),
    _text("call_id"),
    _text("conference_id"),
    _text("holder_id"),
    Column("target", Text, nullable=False),
    _text("target_id"),
    Column("format", Text, nullable=False),
    Column("layout", Text, nullable=False),
    _json("tracks", "[]"),
    _count("max_duration"),
    _count("max_silence"),
    _text("terminate_on", "none"),
    _text("sink"),
    _text("source", "recorded"),
    # who
    _text("direction"),
    _text("caller"),
    _text("callee"),
    _text("queue"),
    _text("agent"),
    _json("tags", "[]"),
    _text("note"),
    # what is true
    Column("state", Text, nullable=False),
    _flag("paused"),
    _flag("muted"),
    _json("pauses", "[]"),
    _time("requested_at", required=True),
    _time("started_at"),
    _time("ended_at"),
    _time("available_at"),
    _text("end_reason"),
    _text("cause"),
    _json("extra"),
    # what the file says
    Column("duration_ms", BigInteger),
    Column("samples", BigInteger),
    Column("sample_rate", Integer),
    Column("channels", Integer),
    Column("size", BigInteger),
    _text("sha256"),
    Column("silence_ratio", Float),
    Column("peak_dbfs", Float),
    Column("lost_ms", BigInteger),
    _text("blob_key"),
    _text("peaks_key"),
    # how long it stays
    Column("retention_days", Integer),  # NULL: by rule or tenant; 0: for ever
    _time("expires_at"),
    _flag("held"),
    _time("deleted_at"),
    _text("deleted_by"),
    _text("delete_reason"),
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

recording_tags = Table(
    "recording_tags",
    metadata,
    Column("tenant_id", Text, nullable=False),
    Column("tag", Text, nullable=False),
    Column("recording_id", Text, nullable=False),
    PrimaryKeyConstraint("tenant_id", "tag", "recording_id"),
    Index(None, "recording_id"),
)

events = Table(
    "events",
    metadata,
    Column("seq", _Sequence, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("tenant_id", Text, nullable=False),
    Column("type", Text, nullable=False),
    _text("session_id"),
    _text("recording_id"),
    _json("data"),
    _time("at", required=True),
    Index(None, "tenant_id", "seq"),
    Index(None, "session_id", "seq"),
    Index(None, "recording_id", "seq"),
    sqlite_autoincrement=True,  # or numbers of deleted rows at the end would be used again
)

jobs = Table(
    "jobs",
    metadata,
    _id(),
    Column("tenant_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("subject_id", Text, nullable=False),
    Column("state", Text, nullable=False),  # waiting, done, dead
    _json("payload"),
    _json("progress"),
    _count("attempts"),
    _time("run_at", required=True),
    _text("leased_by"),
    _time("leased_until"),
    _flag("again"),  # asked for once more while somebody is at it
    _text("problem"),
    _time("created_at", required=True),
    _time("finished_at"),
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
    _id(),
    Column("tenant_id", Text, nullable=False),
    Column("url", Text, nullable=False),
    _json("events", "[]"),  # empty: all
    _text("secret"),
    _text("old_secret"),  # signs as well until its time is over
    _time("old_secret_until"),
    _text("description"),
    _time("created_at", required=True),
    _time("rests_until"),  # the receiver asked for it: Retry-After
    _time("disabled_at"),
    _text("disabled_reason"),
    _time("deleted_at"),
    Index(None, "tenant_id", "id"),
)

deliveries = Table(
    "deliveries",
    metadata,
    # in the order of their events
    Column("seq", _Sequence, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("message_id", Text, nullable=False),  # the webhook-id, the same in every try and replay
    Column("tenant_id", Text, nullable=False),
    Column("kind", Text, nullable=False),  # webhook, sink
    _text("endpoint_id"),  # of a webhook
    _text("node"),  # of a sink, which lives in the process that made the recording
    _text("lane"),  # what is kept in order: a call with its recordings
    Column("type", Text, nullable=False),
    _text("session_id"),
    _text("recording_id"),
    Column("body", Text, nullable=False),
    Column("state", Text, nullable=False),  # waiting, delivered, dead
    _count("attempts"),
    _time("created_at", required=True),
    # When it is due; while a worker has it, when that lease runs out. NULL: an earlier one of its
    # lane comes first, and makes it due.
    _time("next_at"),
    _text("leased_by"),
    Column("last_status", Integer, nullable=False, server_default=text("0")),
    _text("problem"),
    _time("finished_at"),
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
    _time("at", required=True),
    Column("status", Integer, nullable=False, server_default=text("0")),
    _text("problem"),
    Column("duration_ms", Integer, nullable=False, server_default=text("0")),
    PrimaryKeyConstraint("delivery_id", "number"),
)

exports = Table(
    "exports",
    metadata,
    _id(),
    Column("tenant_id", Text, nullable=False),
    Column("state", Text, nullable=False),  # waiting, running, available, failed, expired
    _json("wanted"),  # {"recording_ids": [...]} or {"filter": {...}}
    _text("created_by"),
    _count("total"),
    _count("done"),
    _count("failed"),
    Column("size", BigInteger),
    _text("sha256"),
    _text("blob_key"),
    _text("cause"),
    _time("created_at", required=True),
    _time("finished_at"),
    _time("expires_at"),
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
    _id(),
    Column("tenant_id", Text, nullable=False),
    Column("position", Integer, nullable=False),  # the first that fits decides
    _text("direction"),  # empty: any
    _text("queue"),
    _text("tag"),
    Column("days", Integer, nullable=False),  # 0: for ever
    _time("created_at", required=True),
    Index(None, "tenant_id", "position"),
)

holds = Table(
    "holds",
    metadata,
    _id(),
    Column("tenant_id", Text, nullable=False),
    Column("recording_id", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("placed_by", Text, nullable=False),
    _time("placed_at", required=True),
    _text("released_by"),
    _text("release_reason"),
    _time("released_at"),
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
    Column("seq", _Sequence, primary_key=True, autoincrement=True),
    Column("tenant_id", Text, nullable=False),
    _time("at", required=True),
    Column("actor", Text, nullable=False),  # a principal's id, or "retention", "cli" ...
    Column("action", Text, nullable=False),
    _text("subject_kind"),
    _text("subject_id"),
    _text("request_id"),
    _text("remote"),
    _json("detail"),
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
    _json("headers"),
    _text("body"),
    _time("created_at", required=True),
    PrimaryKeyConstraint("principal_id", "key"),
    Index(None, "created_at"),
)

commands = Table(
    "commands",
    metadata,
    _id(),
    Column("tenant_id", Text, nullable=False),
    Column("node", Text, nullable=False),
    Column("verb", Text, nullable=False),
    Column("subject_id", Text, nullable=False),
    _json("arguments"),
    Column("state", Text, nullable=False),  # waiting, taken, done
    _json("outcome"),
    _time("created_at", required=True),
    _time("finished_at"),
    Index(
        "ix_commands_waiting",
        "node",
        sqlite_where=text("state = 'waiting'"),
        postgresql_where=text("state = 'waiting'"),
    ),
)
