"""Whose files a command makes, and what is said when it can't be begun."""

from __future__ import annotations

import os

import pytest

from tests.commands.office import Office


def test_root_does_not_work_on_what_the_service_owns(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files that root makes would be out of the service's reach; what to type is told."""
    data = office.folder / "data"
    data.mkdir(exist_ok=True)
    if os.geteuid() == 0:
        os.chown(data, 65534, -1)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    line = office.run("recordings", "ls").complaint
    assert line.startswith("service.data_dir: ")
    assert "sudo -u" in line


def test_a_wrong_configuration_names_the_field(office: Office) -> None:
    """As everywhere else."""
    office.config.write_text("databse: {}\n")
    assert "databse" in office.run("recordings", "ls").complaint
    office.config.unlink()
    assert str(office.config) in office.run("recordings", "ls").complaint
    office.config.write_text("database: {url: 'mysql://x'}\n")
    assert office.run("keys", "ls").complaint.startswith("database.url: ")


def test_a_file_that_is_no_database_is_one_line(office: Office) -> None:
    """What SQLite says of it, without a traceback."""
    other = office.folder / "other.db"
    other.write_bytes(b"this is no database" * 100)
    office.config.write_text(f"database: {{url: 'sqlite:///{other}'}}\n")
    line = office.run("recordings", "ls").complaint
    assert line.startswith("the database can't be used: ")
