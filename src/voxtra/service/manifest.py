"""What an export says about itself: each recording that was asked for, with its file and hash, or
with the reason why it is not there; and the names of the files.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Any, Final

import msgspec
from sqlalchemy import Row

__all__ = ["Manifest", "Result", "file_name", "spreadsheet_safe"]


class Result(StrEnum):
    """What became of one recording of an export; `cause` beside it says more."""

    OK = "ok"
    NOT_FOUND = "not_found"
    NOT_READY = "not_ready"
    FAILED = "failed"
    """The recording itself did: there is no audio."""
    EXPIRED = "expired"
    DELETED = "deleted"
    UNREADABLE = "unreadable"
    """Its file is missing, or is not what was stored."""


_FACTS: Final = (
    *("format", "size", "sha256", "duration_ms", "sample_rate", "channels"),
    *("call_id", "conference_id", "direction", "caller", "callee", "queue", "agent"),
    *("tags", "note", "requested_at", "started_at", "ended_at", "end_reason", "held"),
)
"""Columns of a recording that the manifest shows."""

COLUMNS: Final = ("recording_id", "result", "cause", "file", *_FACTS)

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")

_LONGEST: Final = 40
"""Characters of a party's name or number in a file name."""


class Manifest:
    """The entries of an export, encoded as they come: thousands of them stay small."""

    def __init__(self) -> None:
        self._entries: list[bytes] = []
        self._text = io.StringIO()
        self._csv = csv.writer(self._text)
        self._csv.writerow(COLUMNS)
        self._names: set[str] = set()

    def name_for(self, row: Row[Any]) -> str:
        """Return a file name for a recording that no other one of this export has."""
        name = file_name(row)
        if name.lower() in self._names:
            name = file_name(row, whole_id=True)
        self._names.add(name.lower())
        return name

    def add(
        self, recording_id: str, row: Row[Any] | None, result: Result, *, file: str, cause: str
    ) -> None:
        """Add an entry; `row` None: there is no such recording."""
        facts = {name: None if row is None else getattr(row, name) for name in _FACTS}
        entry = {
            "recording_id": recording_id,
            "result": result.value,
            "cause": cause,
            "file": file,
            **{name: _plain(value) for name, value in facts.items()},
        }
        self._entries.append(msgspec.json.encode(entry))
        self._csv.writerow([spreadsheet_safe(_cell(entry[name])) for name in COLUMNS])

    def as_json(self, head: Mapping[str, object]) -> bytes:
        """Return the whole as JSON: `head`, and the entries as `recordings`."""
        encoded = msgspec.json.encode({name: _plain(value) for name, value in head.items()})
        return b"%s,\n" % encoded[:-1] + b'"recordings":[\n%s\n]}\n' % b",\n".join(self._entries)

    def as_csv(self) -> bytes:
        """Return the entries as CSV, with a line of names first."""
        return self._text.getvalue().encode()


def file_name(row: Row[Any], *, whole_id: bool = False) -> str:
    """Return a name by which people know a recording, and which every file system takes:
    `2026-08-22_14.03.07Z_inbound_4155550100_to_200_9f3c21aa.wav`.
    """
    at: datetime = (row.started_at or row.requested_at).astimezone(UTC)
    parties = [_part(row.direction), _part(row.caller), "to" if row.callee else ""]
    parts = [
        f"{at:%Y-%m-%d_%H.%M.%SZ}",
        *parties,
        _part(row.callee),
        row.id if whole_id else row.id[-8:],
    ]
    suffix = PurePosixPath(row.blob_key).suffix or f".{row.format}"
    return "_".join(part for part in parts if part) + suffix


def spreadsheet_safe(text: str) -> str:
    """Return a cell that no spreadsheet takes for a formula: one that begins like it gets a `'`.

    Numbers that begin with `+` do as well; `manifest.json` has them as they are.
    """
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text


def _part(text: str) -> str:
    kept = "".join(letter if letter.isalnum() else "-" for letter in text.strip())
    return "-".join(filter(None, kept.split("-")))[:_LONGEST]


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return value


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "; ".join(map(str, value)) if isinstance(value, list) else str(value)
