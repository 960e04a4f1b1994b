"""`voxtra migrate`: the database is brought to this version, and it is said from where."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from tests.commandline import complaint, run
from tests.commands.office import Office


def test_an_empty_database_gets_its_tables(
    empty_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From nothing to the newest revision, with a word of it and an act in the audit; once more
    changes nothing.
    """
    office = Office(empty_url, tmp_path, capsys)
    office.write_config()
    first = office.run("migrate", "--check")
    assert first.code == 1
    assert "Run voxtra migrate" in first.out
    assert not json.loads(office.run("migrate", "--check", "--json").out)["ok"]
    done = office.run("migrate")
    assert done.code == 0, done
    assert done.out.startswith("the database was empty and is now at revision ")
    assert done.err == ""  # what migrates has much to say, and nobody asked
    [again] = office.lines("migrate")
    assert again["from"] == again["to"]
    assert office.run("migrate").out.endswith(" already\n")
    checked = office.run("migrate", "--check")
    assert (checked.code, "as this version needs" in checked.out) == (0, True)
    assert office.acts() == [("cli", "database.migrated", "")]


def test_a_database_of_a_newer_version_is_left_alone(office: Office) -> None:
    """The other commands refuse it, too."""

    async def tomorrow(connection: AsyncConnection) -> None:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))

    office.write(tomorrow)
    for command in (["migrate"], ["recordings", "ls"], ["keys", "ls"]):
        assert "a newer one has migrated it" in office.run(*command).complaint


def test_a_database_that_is_not_there_is_not_made_by_looking(tmp_path: Path) -> None:
    """The wrong configuration is found out, and leaves no empty database behind."""
    (tmp_path / "voxtra.yaml").write_text("service: {data_dir: ./data}\n")
    line = complaint(run("recordings", "ls", folder=tmp_path))
    assert "voxtra.db is not there" in line
    assert "voxtra migrate" in line
    assert not (tmp_path / "data").exists()


def test_a_server_that_is_away_is_one_line(tmp_path: Path) -> None:
    """No traceback, and no password."""
    (tmp_path / "voxtra.yaml").write_text(
        "database: {url: 'postgresql://voxtra:geheim@127.0.0.1:1/voxtra'}\n"
    )
    line = complaint(run("recordings", "ls", folder=tmp_path))
    assert line.startswith("the database can't be used: ")
    assert "geheim" not in line
