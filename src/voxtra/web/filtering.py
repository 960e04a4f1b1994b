"""What recordings are wanted, as a query and as JSON: the same fields for lists and exports."""

from __future__ import annotations

from typing import Annotated

from pydantic import AwareDatetime, Field

from voxtra.model import CallDirection, RecordingState
from voxtra.store.filters import Filter
from voxtra.web.bodies import Body, example

__all__ = ["RecordingFilter", "RecordingQuery"]


class RecordingFilter(Body):
    """Recordings that have all of what is given."""

    model_config = example({"queue": "sales", "since": "2026-03-01T00:00:00Z"})

    call_id: str = ""
    conference_id: str = ""
    state: Annotated[list[RecordingState], Field(max_length=len(RecordingState))] = Field(
        default=[], description="One of these; empty: any."
    )
    direction: CallDirection | None = None
    caller: str = Field(default="", description="The whole number.")
    callee: str = Field(default="", description="The whole number.")
    number: str = Field(
        default="", description="Digits, three or more, that caller or callee contains."
    )
    queue: str = ""
    agent: str = ""
    tag: str = ""
    since: AwareDatetime | None = Field(default=None, description="Asked for then or later.")
    until: AwareDatetime | None = Field(default=None, description="Asked for before that.")
    min_duration: float | None = Field(default=None, description="Seconds, included.")
    max_duration: float | None = Field(default=None, description="Seconds, included.")
    text: str = Field(
        default="",
        description="Three characters or more, somewhere in caller, callee, queue, agent, a tag or "
        "the note; or a whole id.",
    )
    held: bool | None = Field(default=None, description="Whether a legal hold keeps it.")
    deleted: bool = Field(default=False, description="The tombstones, in place of recordings.")

    def filter(self) -> Filter:
        """Return the filter. Raises `ConfigurationError`, naming the field."""
        return Filter(
            call_id=self.call_id,
            conference_id=self.conference_id,
            states=tuple(self.state),
            direction=self.direction,
            caller=self.caller,
            callee=self.callee,
            number=self.number,
            queue=self.queue,
            agent=self.agent,
            tag=self.tag,
            since=self.since,
            until=self.until,
            min_duration=self.min_duration,
            max_duration=self.max_duration,
            text=self.text,
            held=self.held,
            deleted=self.deleted,
        )


class RecordingQuery(RecordingFilter):
    """A page of such recordings."""

    page_size: Annotated[int, Field(ge=1, le=100)] = Field(
        default=50, description="How many, at most."
    )
    page_token: Annotated[str, Field(max_length=2048)] = Field(
        default="", description="`next_page_token` of the page before; empty: the first."
    )
