"""What the commands have in common: options, and how moments are written."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

import click

__all__ = ["config", "json_lines", "json_object", "moment", "reason", "tenant"]

F = TypeVar("F", bound=Callable[..., Any])

_SPAN: Final = re.compile(r"([0-9]{1,5})([mhdw])")
_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

_LONGEST_REASON: Final = 500


def config(command: F) -> F:
    """Add `-c`, the configuration file, as `path`."""
    return click.option(
        "-c",
        "--config",
        "path",
        default="voxtra.yaml",
        show_default=True,
        type=click.Path(path_type=Path),
        help="The configuration file.",
    )(command)


json_object: Final = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")

json_lines: Final = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON, one object on a line."
)

tenant: Final = click.option(
    "--tenant", "tenant_id", default="default", show_default=True, help="Whose things these are."
)


def _stated(_ctx: click.Context, _param: click.Parameter, value: str) -> str:
    if not value.strip() or len(value) > _LONGEST_REASON or "\0" in value:
        raise click.BadParameter(
            f"say why in 1 to {_LONGEST_REASON} characters, for those who ask in years"
        )
    return value


reason: Final = click.option(
    "--reason", required=True, callback=_stated, help="Why, for those who ask in years."
)


def moment(name: str, said: str, *, ahead: bool = False) -> Callable[[F], F]:
    """Add an option that takes a moment: `2026-03-01`, `2026-03-01T09:15` (local, unless it ends in
    Z or an offset), or a span such as `90d`, which leads into the past unless `ahead`.
    """
    what = "from now" if ahead else "ago"

    def convert(_ctx: click.Context, _param: click.Parameter, value: str | None) -> datetime | None:
        if value is None:
            return None
        try:
            if span := _SPAN.fullmatch(value):
                length = timedelta(**{_UNITS[span[2]]: int(span[1])})
                return datetime.now(UTC) + (length if ahead else -length)
            return datetime.fromisoformat(value).astimezone(UTC)
        except (ValueError, OverflowError):
            raise click.BadParameter(
                f"{value!r} is no time; write 2026-03-01, 2026-03-01T09:15, or 90d for 90 days "
                f"{what} (m, h, d, w)"
            ) from None

    return click.option(name, metavar="TIME", callback=convert, help=said)
