"""Offices for the tests of the commands."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.commands.office import Office, office_on


@pytest.fixture
def office(sqlite_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Office:
    """Return an office on SQLite."""
    return office_on(sqlite_url, tmp_path, capsys)


@pytest.fixture
def any_office(database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Office:
    """Return an office on each kind of database in turn."""
    return office_on(database_url, tmp_path, capsys)
