"""Pages of lists by id or number: how many, from where, and the token that leads to the next."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Final, TypeAlias

from fastapi import Query

from voxtra.web.problems import Problem

__all__ = ["PageSize", "PageToken", "number_of", "position_of", "token_of"]

_MARK: Final = b"p1:"
"""What every token begins with: a later form can be told from this one."""

PageSize: TypeAlias = Annotated[int, Query(ge=1, le=100, description="How many, at most.")]
PageToken: TypeAlias = Annotated[
    str,
    Query(max_length=2048, description="`next_page_token` of the page before; empty: the first."),
]


def token_of(position: str | int) -> str:
    """Return the token of the page that comes after a position in a list."""
    return base64.urlsafe_b64encode(_MARK + str(position).encode()).decode().rstrip("=")


def position_of(token: str) -> str:
    """Return the id that a token was made of, "" for none. Raises `Problem` for no token."""
    if not token:
        return ""
    try:
        raw = base64.urlsafe_b64decode(token.encode() + b"=" * (-len(token) % 4))
        text = raw.removeprefix(_MARK).decode("ascii")
    except (binascii.Error, ValueError):
        raise _refusal() from None
    if not raw.startswith(_MARK) or not text.isalnum():
        raise _refusal()
    return text


def number_of(token: str) -> int | None:
    """Return the number that a token was made of, None for none. Raises `Problem` for no token."""
    text = position_of(token)
    if not text:
        return None
    if not text.isdecimal() or len(text) > 18:
        raise _refusal()
    return int(text)


def _refusal() -> Problem:
    return Problem(
        "invalid_request",
        "page_token: Is none that this list gave; leave it out to begin anew.",
        field="page_token",
    )
