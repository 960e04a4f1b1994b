"""How the commands show things: tables for people, JSON for programs, progress for who waits."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from voxtra.commands.text import printable

__all__ = ["Bar", "Lines", "facts", "print_json", "progress", "say", "table", "warn"]

WIDE = 10_000
"""Columns of what is no terminal: a line of a table is one line for `grep`."""


def say(line: str) -> None:
    """Print a line on standard output."""
    click.echo(printable(line))


def warn(line: str) -> None:
    """Print a line on standard error."""
    click.echo(printable(line), err=True)


def print_json(value: Any) -> None:
    """Print a value as JSON on a line, its times in UTC. It is ASCII: it does nothing to a terminal
    either.
    """
    click.echo(json.dumps(msgspec.to_builtins(value)))


def table(
    head: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    whole: int = 1,
    to_stderr: bool = False,
) -> None:
    """Print a table, without the columns that are empty in all rows. Where the terminal is too
    narrow the first `whole` columns stay whole and the others are cut, with an ellipsis.
    """
    cells = [[printable(cell) for cell in row] for row in rows]
    shown = [at for at in range(len(head)) if not cells or any(row[at] for row in cells)]
    made = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for at in shown:
        made.add_column(head[at], no_wrap=at < whole)
    for row in cells:
        made.add_row(*(Text(row[at], no_wrap=True, overflow="ellipsis") for at in shown))
    _console(to_stderr=to_stderr).print(made)


def facts(pairs: Iterable[tuple[str, object]]) -> None:
    """Print names and values, one on a line; what is empty is left out."""
    for name, value in pairs:
        if value not in ("", None, [], {}):
            text = ", ".join(map(str, value)) if isinstance(value, list) else value
            click.echo(f"{name:<16} {printable(text)}")


class Bar:
    """How far something is; does nothing where nobody watches."""

    def __init__(self, progress: Progress | None, what: str, total: float | None) -> None:
        self._progress = progress
        self._task = progress.add_task(what, total=total) if progress is not None else None

    def advance(self, amount: float) -> None:
        """Go on by an amount."""
        if self._progress is not None and self._task is not None:
            self._progress.advance(self._task, amount)

    def to(self, done: float, *, total: float) -> None:
        """Go to a place on a way of this length."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=done, total=total)


@contextmanager
def progress(what: str, total: float | None, *, size: bool = False) -> Iterator[Bar]:
    """Show on standard error how far something is while the block runs, if that is a terminal.

    `total` and what the bar is advanced by are bytes with `size`, else things.
    """
    if not sys.stderr.isatty():
        yield Bar(None, what, total)
        return
    unit: ProgressColumn = DownloadColumn() if size else MofNCompleteColumn()
    columns = (TextColumn("{task.description}"), BarColumn(), unit, TimeRemainingColumn())
    console = Console(stderr=True)
    # Its own way with standard output would send that to this console, so to standard error.
    with Progress(*columns, console=console, transient=True, redirect_stdout=False) as shown:
        yield Bar(shown, printable(what), total)


class Lines(logging.Handler):
    """Shows what is logged as lines on standard error, without tracebacks."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record."""
        cause = record.exc_info[1] if record.exc_info else None
        warn(record.getMessage() + (f": {cause}" if cause is not None else ""))


def _console(*, to_stderr: bool) -> Console:
    watched = (sys.stderr if to_stderr else sys.stdout).isatty()
    return Console(stderr=to_stderr, highlight=False, width=None if watched else WIDE)
