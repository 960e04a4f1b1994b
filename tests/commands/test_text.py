"""What the commands show: nothing that does something to a terminal."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxtra.commands.text import local, long, printable, sized


@given(st.text())
def test_a_text_of_others_is_printed_on_one_line_and_moves_nothing(text: str) -> None:
    """Whatever comes, every character of the outcome is a visible one."""
    assert printable(text).isprintable()


def test_what_can_be_seen_stays_and_what_acts_is_named() -> None:
    """Escape sequences, line ends and marks of direction are written as their escapes."""
    assert printable("Jürgen 李 +49") == "Jürgen 李 +49"
    assert printable("\x1b[2J\r\n\x9b\u202e\ud800") == "\\x1b[2J\\r\\n\\x9b\\u202e\\ud800"


def test_times_are_local() -> None:
    """A moment is shown where the reader is."""
    at = datetime(2026, 3, 1, 12, 0, 5, tzinfo=UTC)
    assert local(at) == f"{at.astimezone():%Y-%m-%d %H:%M:%S}"
    assert local(None) == ""


@pytest.mark.parametrize(
    ("milliseconds", "shown"),
    [(None, ""), (0, "0:00"), (59_499, "0:59"), (3_599_500, "1:00:00"), (90_061_000, "25:01:01")],
)
def test_lengths(milliseconds: int | None, shown: str) -> None:
    """Hours only where there are some."""
    assert long(milliseconds) == shown


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (None, ""),
        (999, "999 bytes"),
        (1_500, "1.5 kB"),
        (2_000_000, "2.0 MB"),
        (10**16, "10000.0 TB"),
    ],
)
def test_sizes(size: int | None, shown: str) -> None:
    """In units of a thousand."""
    assert sized(size) == shown
