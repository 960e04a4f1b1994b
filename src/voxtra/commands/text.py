"""Text for a terminal: what people far away have chosen, times, lengths and sizes."""

from __future__ import annotations

from datetime import datetime

__all__ = ["local", "long", "printable", "sized"]


def printable(text: object) -> str:
    """Return a text on one line that does nothing to a terminal: what is no visible character
    (escape sequences, line ends, marks that turn the direction) is written as its escape.

    A caller chooses their number and name, a user a note: none of them is ours to trust.
    """
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in str(text)
    )


def local(at: datetime | None) -> str:
    """Return a moment in the time zone of who reads it, to the second; "" for None."""
    return "" if at is None else f"{at.astimezone():%Y-%m-%d %H:%M:%S}"


def long(milliseconds: int | None) -> str:
    """Return a length as 1:02:03 or 2:03; "" for None."""
    if milliseconds is None:
        return ""
    minutes, seconds = divmod(round(milliseconds / 1000), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def sized(size: int | None) -> str:
    """Return bytes in the largest unit that leaves a number of one or more; "" for None."""
    if size is None:
        return ""
    amount, units = float(size), ["bytes", "kB", "MB", "GB", "TB"]
    while amount >= 1000 and len(units) > 1:
        amount /= 1000
        units.pop(0)
    return f"{size} bytes" if units[0] == "bytes" else f"{amount:.1f} {units[0]}"
