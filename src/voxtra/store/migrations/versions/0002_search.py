"""The words of recordings, by which they are listed and searched."""

from __future__ import annotations

from voxtra.store.migrations.ddl import run_file

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the indexes of words, which each database keeps in its own way."""
    run_file("0002_search")
