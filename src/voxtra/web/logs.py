"""Log lines: JSON or for people, with the ids of what they are about, and never with a secret.

Everything in the project writes through the standard library's `logging`; here its records become
lines. What is bound to the context (`request_id`, `tenant_id`, `recording_id` ...) stands in every
line of it.
"""

from __future__ import annotations

import contextlib
import logging
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Final, TextIO

import structlog
from structlog.types import EventDict, Processor

__all__ = ["bound", "configure", "redact"]

_SECRETS: Final = (
    (re.compile(r"\b(vx_[0-9a-z]{8})_[A-Za-z0-9_-]{16,}"), r"\1_[redacted]"),
    (re.compile(r"\bwhsec_[A-Za-z0-9+/=_-]+"), "whsec_[redacted]"),
    (re.compile(r"(?i)\b(token|signing_secret|password|secret)=[^&\s\"'\\]+"), r"\1=[redacted]"),
    (re.compile(r"(?i)\b(bearer|basic) +[A-Za-z0-9._~+/=-]{8,}"), r"\1 [redacted]"),
    (re.compile(r"(://[^\s:/@\"'\\]*):[^\s/@\"'\\]+@"), r"\1:[redacted]@"),
)


_TALKATIVE: Final = ("alembic", "uvicorn", "aiosqlite")
"""Loggers whose INFO says nothing about the service, and whose DEBUG has every value of a row."""


class _Lines(logging.StreamHandler[TextIO]):
    """The one handler of ours."""


def redact(text: str) -> str:
    """Return a text without the secrets in it: keys, tokens, passwords in URLs."""
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return text


def configure(*, json: bool, level: str = "INFO", stream: TextIO | None = None) -> None:
    """Have all log records written to `stream` (standard error), one line each.

    `json` gives one object a line for machines, otherwise text for people. Called again it replaces
    what it did before.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _without_colours,
    ]
    out = stream or sys.stderr
    last: list[Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if json
        else [structlog.dev.ConsoleRenderer(colors=out.isatty())]
    )
    handler = _Lines(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *last,
                _without_secrets,
            ],
        )
    )
    root = logging.getLogger()
    for old in [each for each in root.handlers if isinstance(each, _Lines)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
    # Its lines hold the query, and so the token; ours say the same without it.
    logging.getLogger("uvicorn.access").disabled = True


@contextlib.contextmanager
def bound(**ids: str) -> Iterator[None]:
    """Have ids in every line that is logged inside; what is bound inside ends with it, too."""
    before = structlog.contextvars.get_contextvars()
    structlog.contextvars.bind_contextvars(**ids)
    try:
        yield
    finally:
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(**before)


def _without_colours(_logger: object, _method: str, line: EventDict) -> EventDict:
    line.pop("color_message", None)  # uvicorn's second form of its text
    return line


def _without_secrets(_logger: object, _method: str, line: str | bytes | Mapping[str, Any]) -> str:
    return redact(str(line))
