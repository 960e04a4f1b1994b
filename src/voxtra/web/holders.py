"""What calls and conferences have in common: how they are recorded, listed and waited for.

Their rows are written by the process that has them, a moment after it happened there. What was done
by a request is in the row by the time that the request is answered, as long as that process and the
database keep up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime
from typing import Annotated, Any, Final, Literal, TypeVar

from fastapi import Query, Request
from pydantic import Field, field_validator
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from voxtra.audio.formats import lookup
from voxtra.exceptions import ConfigurationError
from voxtra.model import Layout
from voxtra.record_options import MAX_DURATION, RecordOptions
from voxtra.spool import check_format
from voxtra.store import library
from voxtra.store.database import Database
from voxtra.web.auth import Principal, note
from voxtra.web.bodies import Body, example
from voxtra.web.paging import position_of, token_of
from voxtra.web.problems import Problem
from voxtra.web.site import service_of

__all__ = ["VERBS", "Active", "Start", "Verb", "moment_of", "record", "settled", "token_of_moment"]

PATIENCE: Final = 5.0
"""Seconds that an answer waits for a row."""

LOOK: Final = 0.25
"""Seconds after which the row is looked at without a signal: another process may give none."""

T = TypeVar("T")

Active = Annotated[
    bool | None, Query(description="true: those that are not over; false: those that are.")
]

Verb = Literal["start", "stop", "pause", "resume"]

VERBS: Final[dict[Verb, str]] = {
    "start": "recording.started",
    "stop": "recording.stopped",
    "pause": "recording.paused",
    "resume": "recording.resumed",
}
"""Every verb, with what the audit calls it."""


class Start(Body):
    """How to record; everything has a default, and so may the body be missing."""

    model_config = example({"format": "wav", "duration": 3600, "end_of_key": "#", "beep": True})

    format: str = Field(
        default="wav", max_length=20, description="wav, wav16, ulaw, gsm, ...: what the PBX knows."
    )
    layout: Literal["mono", "stereo"] = Field(
        default="mono", description="stereo: the caller left, everything they hear right."
    )
    duration: Annotated[int, Field(ge=0, le=MAX_DURATION)] = Field(
        default=0, description="Seconds after which it ends; 0: the longest there is, 24 hours."
    )
    end_of_silence: Annotated[int, Field(ge=0, le=MAX_DURATION)] = Field(
        default=0, description="Seconds of silence that end it; 0: none do. Mono only."
    )
    end_of_key: str = Field(
        default="none",
        pattern=r"^(|none|any|[0-9A-D*#])$",
        description="The key that ends it: none, any, or one of 0-9, A-D, * and #.",
    )
    beep: bool = Field(default=False, description="Whether everybody hears a tone before it.")

    @field_validator("format")
    @classmethod
    def _known(cls, value: str) -> str:
        try:
            lookup(value)
        except ConfigurationError as error:
            raise ValueError(f"{error.problem}. {error.fix}") from error
        return value

    def options(self, *, of_call: bool) -> RecordOptions:
        """Return what is asked of the recorder. Raises `Problem` for what can't go together."""
        if self.layout == "stereo":
            self._check_stereo(of_call=of_call)
        return RecordOptions(
            fmt=self.format,
            layout=self.layout,
            max_duration=self.duration,
            max_silence=self.end_of_silence,
            terminate_on=self.end_of_key or "none",
            beep=self.beep,
        )

    def _check_stereo(self, *, of_call: bool) -> None:
        if not of_call:
            raise _refusal("layout", "A conference has no two sides; use mono.")
        if self.end_of_silence:
            raise _refusal("end_of_silence", "Needs the layout mono: each side is silent at times.")
        try:
            check_format(self.format, Layout.STEREO)
        except ConfigurationError:
            raise _refusal(
                "layout", f"{self.format} can't hold two sides; use the format wav or wav16."
            ) from None


async def record(
    request: Request,
    principal: Principal,
    holder_id: str,
    verb: Verb,
    options: RecordOptions | None,
) -> Row[Any]:
    """Carry out a recording verb on a call or conference, and return the recording's row.

    `options` are those of a start.
    """
    service, tenant_id = service_of(request), principal.tenant_id
    control = service.control
    if options is not None:
        recording_id = await control.start_recording(tenant_id, holder_id, options)
    elif verb == "stop":
        recording_id = await control.stop_recording(tenant_id, holder_id)
    else:
        recording_id = await control.pause_recording(tenant_id, holder_id, on=verb == "pause")
    async with service.database.write() as connection:
        await note(connection, request, principal, VERBS[verb], recording_id, holder_id=holder_id)
        return await library.get(connection, tenant_id, recording_id)


async def settled(
    database: Database,
    read: Callable[[AsyncConnection], Awaitable[T]],
    done: Callable[[T], bool],
) -> T:
    """Return what is read as soon as it is as it should be, or as it is after `PATIENCE`."""
    with database.signals.subscribe("events") as signal:
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                while True:
                    signal.clear()
                    async with database.read() as connection:
                        if done(found := await read(connection)):
                            return found
                    with suppress(TimeoutError):
                        async with asyncio.timeout(LOOK):
                            await signal.wait()
        async with database.read() as connection:
            return await read(connection)


def token_of_moment(at: datetime, identity: str) -> str:
    """Return the token of the page after something that is listed by its time."""
    return token_of(f"{at.isoformat()} {identity}".encode().hex())


def moment_of(token: str) -> tuple[datetime, str] | None:
    """Return the time and id of which a token was made, None for none. Raises `Problem`."""
    text = position_of(token)
    if not text:
        return None
    try:
        at, _, identity = bytes.fromhex(text).decode().partition(" ")
        moment = datetime.fromisoformat(at)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise _refusal("page_token", "Is none that this list gave; leave it out to begin anew.")
    return moment, identity


def _refusal(field: str, problem: str) -> Problem:
    return Problem("invalid_request", f"{field}: {problem}", field=field)
